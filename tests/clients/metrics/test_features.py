import os
import subprocess
import sys

from tests.sources import ROOT

PROJECTED = """
import numpy as np
from clients.metrics.features import project

features = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
assert project(features, seed=1).shape == (20, 2)
"""


def test_umap_runs_compiled_as_users_have_it() -> None:
    """All other tests have numba leave it as Python, which is faster for a few films."""
    variables = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    subprocess.run([sys.executable, "-c", PROJECTED], cwd=ROOT, env=variables, check=True)

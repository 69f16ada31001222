import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.observe.metrics import forget_dead_workers

WORKER = "from service.observe import metrics; metrics.QUEUE_LENGTH.set({value}); {then}"
SHOW = """
import os, pathlib
from prometheus_client import CollectorRegistry, multiprocess
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(registry.get_sample_value("nanocxr_queue_length"))
"""


def run(code: str, folder: Path) -> str:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def test_worker_that_was_killed_no_longer_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(WORKER.format(value=5, then="import os; os.kill(os.getpid(), 9)"), tmp_path)
    forget = "metrics.forget_dead_workers()\n"
    assert run(WORKER.format(value=2, then="") + SHOW, tmp_path) == "7.0"
    assert run(WORKER.format(value=2, then=forget) + SHOW, tmp_path) == "2.0"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    forget_dead_workers()
    assert not list(tmp_path.glob("gauge_live*.db"))


def test_nothing_to_forget_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    forget_dead_workers()

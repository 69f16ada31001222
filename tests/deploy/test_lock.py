"""The image installs what requirements/serve.txt pins, and checks every file by its hash."""

import re

import pytest

from tests.sources import ROOT

REQUIREMENTS = ROOT / "requirements"
REMEDY = "run `make lock` after a change of requirements/serve.txt"


def pins(name: str) -> dict[str, str]:
    """Name and version of each requirement of a file, names spelt as the index spells them."""
    text = (REQUIREMENTS / name).read_text()
    found = re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", text, flags=re.M)
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}


def test_same_versions_as_without_container() -> None:
    assert pins("serve.lock") == pins("serve.txt"), REMEDY


def test_gpu_differs_in_the_runtime_and_its_libraries() -> None:
    cpu, gpu = pins("serve.txt").items(), pins("serve-gpu.lock").items()
    assert {name for name, _ in cpu - gpu} == {"onnxruntime"}, REMEDY
    more = {name for name, _ in gpu - cpu}
    assert "onnxruntime-gpu" in more
    assert {name for name in more if not name.startswith("nvidia-")} == {"onnxruntime-gpu"}


@pytest.mark.parametrize("name", ["serve.lock", "serve-gpu.lock"])
def test_every_requirement_has_a_hash(name: str) -> None:
    text = (REQUIREMENTS / name).read_text()
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry

"""SBOM and audit from the files of an image; the image itself is tested in tests/container."""

import hashlib
import importlib.metadata
import json
import shutil
from pathlib import Path

import pytest

from deploy.audit import python_problems
from deploy.inventory import DebianPackage, Inventory
from deploy.sbom import write_sbom

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "default" / "1"
STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u14
Description: GNU C Library: Shared libraries
 Contains the standard libraries.

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

"""


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    """The files as they are copied out of an image, with two distributions of this environment."""
    site = tmp_path / "opt/nanocxr/lib/python3.11/site-packages"
    for name in ("starlette", "anyio"):
        source = Path(str(importlib.metadata.distribution(name)._path))  # type: ignore[attr-defined]
        shutil.copytree(source, site / source.name)
    shutil.copytree(SHIPPED, tmp_path / "opt/bento/src/models/default/1")
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    return Inventory(tmp_path)


def test_lists_installed_packages_only(inventory: Inventory) -> None:
    assert inventory.debian == [DebianPackage("libc6", "2.36-9+deb12u14", "amd64")]


def test_sbom_names_python_debian_and_the_model(inventory: Inventory, tmp_path: Path) -> None:
    path = tmp_path / "sbom.json"
    write_sbom(inventory, path)
    bom = json.loads(path.read_text())
    assert bom["metadata"]["component"]["name"] == "nanocxr"
    assert bom["metadata"]["component"]["type"] == "container"
    versions = {name: importlib.metadata.version(name) for name in ("starlette", "anyio")}
    assert {entry.get("purl") for entry in bom["components"]} == {
        None,
        *(f"pkg:pypi/{name}@{version}" for name, version in versions.items()),
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12",
    }
    (model,) = (e for e in bom["components"] if e["type"] == "machine-learning-model")
    graph = (SHIPPED / "model.onnx").read_bytes()
    assert model["hashes"][0]["content"] == hashlib.sha256(graph).hexdigest()
    depends = {entry["ref"]: entry.get("dependsOn", []) for entry in bom["dependencies"]}
    assert depends[f"starlette=={versions['starlette']}"] == [f"anyio=={versions['anyio']}"]


def test_no_debian_no_packages(inventory: Inventory) -> None:
    (inventory.root / "var/lib/dpkg/status").unlink()
    assert inventory.debian == []


def test_what_could_not_be_asked_is_a_problem() -> None:
    clean = {"name": "a", "version": "1", "vulns": []}
    known = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
    skipped = {"name": "c", "skip_reason": "not found"}
    assert python_problems([clean]) == []
    assert python_problems([clean, known]) == ["b 2: PYSEC-1, fixed in ['3']"]
    assert python_problems([clean, skipped]) == ["PyPI gave no advisories for 1 of 2: ['c']"]

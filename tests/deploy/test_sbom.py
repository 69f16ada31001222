"""SBOM from the files of an image; the image itself is tested in tests/container."""

import hashlib
import importlib.metadata
import json
from pathlib import Path

from deploy.inventory import DebianPackage, Inventory
from deploy.sbom import write_sbom
from tests.deploy.conftest import SHIPPED


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

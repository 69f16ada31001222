"""The SBOM of an image, CycloneDX 1.6 JSON: Python, Debian and the model."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from packageurl import PackageURL

from deploy.inventory import Inventory

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def write_sbom(inventory: Inventory, path: Path) -> None:
    """Write the SBOM of an image to ``path``, checked against CycloneDX's schema."""
    bom = python_sbom(inventory)
    bom["metadata"]["component"]["type"] = "container"
    bom["components"] += [model(inventory), *debian(inventory)]
    text = json.dumps(bom, indent=2)
    # A second to load, which the other parts of `deploy` do without.
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"The SBOM is not valid CycloneDX 1.6: {error}")
    path.write_text(text)
    print(f"{path}: SBOM of {len(bom['components'])} components")


def python_sbom(inventory: Inventory) -> dict[str, Any]:
    """Let cyclonedx-py describe the Python distributions and what they depend on."""
    # An interpreter without site sees the copied metadata and the standard library only.
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "-S", sys.executable]
    command += ["--pyproject", str(PYPROJECT), "--spec-version", "1.6", "--output-format", "JSON"]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(inventory.site_packages)},
        check=True,
        stdout=subprocess.PIPE,
    )
    return dict(json.loads(done.stdout))


def model(inventory: Inventory) -> dict[str, Any]:
    """Describe the model by the digest of its graph."""
    manifest = inventory.manifest
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{manifest['name']}/{manifest['version']}",
        "name": manifest["name"],
        "version": manifest["version"],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "hashes": [{"alg": "SHA-256", "content": manifest["sha256"][manifest["graph"]]}],
    }


def debian(inventory: Inventory) -> list[dict[str, Any]]:
    """Describe the packages of a Debian base."""
    release = inventory.release
    components = []
    for package in inventory.debian:
        qualifiers = {
            "arch": package.architecture,
            "distro": f"{release['ID']}-{release['VERSION_ID']}",
        }
        purl = PackageURL("deb", release["ID"], package.name, package.version, qualifiers)
        components.append(
            {
                "type": "library",
                "bom-ref": purl.to_string(),
                "name": package.name,
                "version": package.version,
                "purl": purl.to_string(),
            }
        )
    return components

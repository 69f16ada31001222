"""Files of an image for the tests of what is made of them."""

import importlib.metadata
import shutil
from pathlib import Path

import pytest

from deploy.inventory import Inventory
from service.model.shipped import default_model

SHIPPED = default_model()
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

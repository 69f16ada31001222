"""Type checkers of users believe the annotations: each package says so, in the wheel too."""

import tomllib

import pytest

from tests.sources import ROOT

MARKER = "py.typed"  # PEP 561
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


@pytest.mark.parametrize("package", ["service", "clients", "training"])
def test_package_carries_the_marker(package: str) -> None:
    assert (ROOT / package / MARKER).is_file()
    assert MARKER in SETUPTOOLS["package-data"][package]

"""What the documentation says of the shipped model is what it does, and the same everywhere."""

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from service.model.golden import TOLERANCE
from service.model.manifest import Manifest
from tests.e2e.conftest import sample
from tests.serving import serving
from tests.sources import ROOT

MODEL = ROOT / "models" / "default" / "1"
FILM = "RG1_J2KI.dcm"
SHOWN = re.compile(
    rf"@{re.escape(FILM)} http://localhost:3000/predict.*?(^\{{.+?^\}}$)", re.M | re.S
)
NUMBERS = {4: "four"}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def agrees(said: Any, found: Any) -> bool:
    """Whether both hold the same, numbers within what processors differ by, and rounding."""
    if isinstance(said, dict) and isinstance(found, dict):
        return said.keys() == found.keys() and all(agrees(said[key], found[key]) for key in said)
    if isinstance(said, float):
        return bool(found == pytest.approx(said, abs=TOLERANCE))
    return bool(said == found)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with serving(MODEL) as client:
        yield client


@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_reading_that_is_shown_is_that_of_the_shipped_model(client: TestClient, page: str) -> None:
    (shown,) = SHOWN.findall(text(page))
    answer = client.post("/predict", files={"image": sample(FILM)})
    assert agrees(json.loads(shown), answer.json()), answer.text


DESCRIPTIONS = {
    "README.md": text("README.md").partition("```")[0],
    "pyproject.toml": tomllib.loads(text("pyproject.toml"))["project"]["description"],
    "bentofile.yaml": yaml.safe_load(text("bentofile.yaml"))["description"],
    "deploy/Containerfile": "".join(
        re.findall(r'image\.description="(.+)"', text("deploy/Containerfile"))
    ),
}


@pytest.mark.parametrize("place", DESCRIPTIONS)
def test_descriptions_count_the_networks_that_read(place: str) -> None:
    companions = Manifest.load(MODEL / "manifest.json").provenance["companions"]
    said = " ".join(DESCRIPTIONS[place].split())
    assert f"by a committee of {NUMBERS[len(companions) + 1]} networks" in said
    assert "ResNet" not in said


def test_pages_say_the_same_of_hostile_files() -> None:
    said = re.compile(r"20,000 damaged and malicious files.+?slowest (?:after )?([\d.]+) s", re.S)
    (readme,), (security,) = map(said.findall, (text("README.md"), text("docs/security.md")))
    assert readme == security

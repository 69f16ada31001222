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
from service.model.shipped import default_model
from service.version import VERSION
from tests.serving import serving
from tests.sources import ROOT

MODEL = default_model()
# A command that is to run as it is written, and the reply below it.
SHOWN = re.compile(
    r"curl -F image=@(examples/\S+) http://localhost:3000/predict\n.*?(^\{.+?^\}$)", re.M | re.S
)
# The same with a heatmap, of which the page has the first cells and "...".
MAPPED = re.compile(
    r"@(examples/\S+) \"http://localhost:3000(\S+)\"\n.*?(^\{\"rows.+?\}$)", re.M | re.S
)
NUMBERS = {4: "four"}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def flowing(name: str) -> str:
    """The text of a page, wherever its lines break."""
    return " ".join(text(name).split())


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
def test_reading_that_is_shown_is_that_of_the_shipped_film(client: TestClient, page: str) -> None:
    ((film, reply),) = SHOWN.findall(text(page))
    answer = client.post("/predict", files={"image": (ROOT / film).read_bytes()})
    assert agrees(json.loads(reply), answer.json()), answer.text


def test_heatmap_that_is_shown_is_that_of_the_shipped_film(client: TestClient) -> None:
    """Where this fails, it prints what the page has to say, but for the dots after the cells."""
    ((film, path, reply),) = MAPPED.findall(text("docs/api.md"))
    said = json.loads(reply.replace(", ...]", "]"))
    headers = {"Content-Type": "application/dicom"}
    answer = client.post(path, content=(ROOT / film).read_bytes(), headers=headers)
    found = answer.json()["heatmap"]
    counts = [len(row) for row in said["values"]]
    found["values"] = [row[:count] for row, count in zip(found["values"], counts, strict=False)]
    write = json.dumps({**found, "values": [[f"{cell:.6f}" for cell in found["values"][0]]]})
    near = TOLERANCE / (found["rows"] * found["columns"])  # a cell's share of the logit
    assert counts == [3]
    assert found.pop("values") == [pytest.approx(said.pop("values")[0], abs=near)], write
    assert agrees(said, found), write


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
    assert f"by an ensemble of {NUMBERS[len(companions) + 1]} networks" in said
    assert "ResNet" not in said


@pytest.mark.parametrize("page", ["README.md", "docs/performance.md"])
def test_pages_give_the_areas_of_the_model_card(page: str) -> None:
    rows = re.findall(
        r"^\| (?:kermany|nih-weak|rsna) \| \d+ \| \d+ \| ([\d.]+) \(([\d.]+) to ([\d.]+)\)",
        text("models/default/1/MODEL_CARD.md"),
        re.MULTILINE,
    )
    assert len(rows) == 3
    said = flowing(page).replace("*", "")
    for area, low, high in rows:
        assert f"{area} [{low}, {high}]" in said


def test_pages_say_the_same_of_hostile_files() -> None:
    said = re.compile(r"20,000 damaged and malicious files.+?slowest (?:after )?([\d.]+) s")
    (measured,), (security,) = (
        said.findall(flowing(page)) for page in ("docs/performance.md", "docs/security.md")
    )
    assert measured == security


def test_latest_release_in_the_changelog_is_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", text("CHANGELOG.md"), re.MULTILINE)
    (unreleased, undated), (latest, day), *_ = headings
    assert (unreleased, undated) == ("Unreleased", "")
    assert latest == VERSION
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", day)

"""A site's calibration is used for its own model, and refused where it is wrong."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import CalibrationMismatch, InvalidCalibration
from service.findings.calibration import Calibration, OperatingPoint
from service.model.reader import Reader
from service.model.site import SYNTHETIC, CalibrationIdentity
from tests.factories import png_bytes
from tests.serving import serving
from tests.sites import FILMS, POINT, site_fields, write_site

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def site(tmp_path: Path, tiny_model: Path) -> Path:
    file = tmp_path / "site.json"
    write_site(file, tiny_model)
    return file


def test_reading_has_the_probability_and_call_of_the_site(tiny_model: Path, site: Path) -> None:
    own = Reader.open(tiny_model).read(png_bytes())
    reading = Reader.open(tiny_model, calibration=site).read(png_bytes())
    point = OperatingPoint(**POINT)  # type: ignore[arg-type]
    assert reading.logit == own.logit
    assert reading.probability == Calibration(temperature=3.0, bias=-0.5).probability(own.logit)
    assert reading.probability != own.probability
    assert reading.operating_point == point
    assert reading.call == point.call(reading.probability)
    assert own.calibration == SYNTHETIC
    digest = hashlib.sha256(site.read_bytes()).hexdigest()
    assert reading.calibration == CalibrationIdentity(name="site", sha256=digest, films=FILMS)


def test_service_answers_with_it_and_says_so(tiny_model: Path, site: Path) -> None:
    expected = Reader.open(tiny_model, calibration=site).read(png_bytes())
    reference = {"name": "site", "sha256": expected.calibration.sha256, "films": FILMS}
    with serving(tiny_model, CXR_CALIBRATION=site) as client:
        answer = client.post("/predict", files={"image": png_bytes()}).json()
        model = client.get("/model").json()
    assert answer["probability"] == pytest.approx(expected.probability, abs=1e-6)
    assert answer["operating_point"] == POINT
    assert answer["calibration"] == reference
    in_use = {"temperature": 3.0, "bias": -0.5, "operating_points": [POINT]}
    assert model["calibration"] == reference | in_use
    assert model["manifest"]["calibration"]["temperature"] == 1.5


def test_that_of_another_model_is_refused(tiny_model: Path, site: Path) -> None:
    write_site(site, tiny_model, sha256="0" * 64)
    with pytest.raises(CalibrationMismatch, match=r"000000000000.*cxr calibrate"):
        Reader.open(tiny_model, calibration=site)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("model"), "model"),
        (lambda f: f.update(patient="x"), "patient"),
        (lambda f: f.update(schema_version=2), "schema_version"),
        (lambda f: f.update(films=0), "films"),
        (lambda f: f.update(positives=FILMS), "positive"),
        (lambda f: f.update(operating_points=[]), "operating_points"),
        (lambda f: f.update(operating_points=[POINT, POINT]), "repeat a name"),
        (lambda f: f.update(operating_points=[POINT | {"name": "other"}]), "default"),
        (lambda f: f.update(operating_points=[POINT | {"threshold": 1.5}]), "threshold"),
        (lambda f: f.update(operating_points=[POINT | {"sensitivity": float("nan")}]), "finite"),
        (lambda f: f["calibration"].update(temperature=0.0), "temperature"),
        (lambda f: f["calibration"].update(temperature=-1.0), "temperature"),
        (lambda f: f["calibration"].update(temperature="2"), "temperature"),
        (lambda f: f["calibration"].update(temperature=float("inf")), "finite"),
        (lambda f: f["calibration"].update(bias=float("nan")), "finite"),
        (lambda f: f["model"].update(sha256="short"), "sha256"),
    ],
)
def test_what_cannot_be_is_refused(
    tiny_model: Path, site: Path, change: Change, message: str
) -> None:
    fields = site_fields(tiny_model)
    change(fields)
    site.write_text(json.dumps(fields))
    with pytest.raises(InvalidCalibration, match=message):
        Reader.open(tiny_model, calibration=site)


@pytest.mark.parametrize("content", [None, b"", b"[]", b"\xff\xfe"])
def test_no_such_file_is_refused(tiny_model: Path, site: Path, content: bytes | None) -> None:
    site.unlink()
    if content is not None:
        site.write_bytes(content)
    with pytest.raises(InvalidCalibration, match="calibration"):
        Reader.open(tiny_model, calibration=site)

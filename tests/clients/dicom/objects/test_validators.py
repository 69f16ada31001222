"""Other people's programs find no error in any object of any film, and read it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clients.dicom import KINDS, Kind
from clients.dicom.objects.common import encoded
from service.model.reader import Reader
from tests.clients.dicom.films import DX, FILMS, film, read_by
from tests.clients.dicom.objects.objects import REFUSAL, by_kind
from tests.clients.dicom.tools import dumped, presented, rendered, validated, verified
from tests.factories import chest

Written = dict[Kind, Path]


@pytest.fixture(scope="module", params=FILMS)
def written(
    request: pytest.FixtureRequest, reader: Reader, tmp_path_factory: pytest.TempPathFactory
) -> Written:
    """Every object of one of the films, in files."""
    data = FILMS[request.param]()
    folder = tmp_path_factory.mktemp("objects")
    files = {kind: folder / f"{kind}.dcm" for kind in KINDS}
    for kind, dataset in by_kind(data, *read_by(reader, data)).items():
        files[kind].write_bytes(encoded(dataset))
    return files


def test_dciodvfy_finds_no_error(written: Written) -> None:
    assert {kind: verified(file) for kind, file in written.items()} == {kind: [] for kind in KINDS}


def test_dsrdump_reads_the_report(written: Written) -> None:
    said = dumped(written["sr"])
    assert '(122157,DCM,"Probability")' in said
    assert '(233604007,SCT,"Pneumonia")' in said


def test_dcmj2pnm_draws_the_secondary_capture(written: Written, tmp_path: Path) -> None:
    rendered(written["sc"], tmp_path / "sc.ppm")
    with Image.open(tmp_path / "sc.ppm") as picture:
        assert picture.mode == "RGB"


@pytest.mark.parametrize("kind", ["reading", "refusal"])
def test_pixelmed_finds_no_error_in_a_report_without_region(
    reader: Reader, tmp_path: Path, kind: str
) -> None:
    data = film(**DX)
    answer = read_by(reader, data)[0] if kind == "reading" else REFUSAL
    file = tmp_path / "sr.dcm"
    file.write_bytes(encoded(by_kind(data, answer)["sr"]))
    assert validated(file) == []
    assert verified(file) == []


def test_pixelmed_misses_in_a_region_what_only_its_alternatives_have(
    reader: Reader, tmp_path: Path
) -> None:
    data = film(**DX)
    file = tmp_path / "sr.dcm"
    file.write_bytes(encoded(by_kind(data, *read_by(reader, data))["sr"]))
    errors = validated(file)
    assert len(errors) == 2
    assert all("Template 1410" in error for error in errors)


def test_dciodvfy_tells_of_errors(reader: Reader, tmp_path: Path) -> None:
    data = film(**DX)
    report = by_kind(data, read_by(reader, data)[0])["sr"]
    del report.CompletionFlag
    file = tmp_path / "broken.dcm"
    file.write_bytes(encoded(report))
    assert any("CompletionFlag" in line for line in verified(file))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dcmp2pgm_shows_the_film_in_its_state_as_its_own_window_does(
    reader: Reader, tmp_path: Path, photometric: str
) -> None:
    shape = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
    window = {"WindowCenter": "1500", "WindowWidth": "1200", "PresentationLUTShape": shape}
    data = film(chest(), photometric=photometric, **DX | window)
    (tmp_path / "film.dcm").write_bytes(data)
    (tmp_path / "state.dcm").write_bytes(encoded(by_kind(data, *read_by(reader, data))["gsps"]))
    rendered(tmp_path / "film.dcm", tmp_path / "plain.pgm", "+Wi", "1")
    presented(tmp_path / "film.dcm", tmp_path / "state.dcm", tmp_path / "state.pgm")
    plain, shown = (np.asarray(Image.open(tmp_path / f"{n}.pgm")) for n in ("plain", "state"))
    assert np.ptp(plain) > 200
    np.testing.assert_allclose(plain.astype(int), shown.astype(int), atol=2)

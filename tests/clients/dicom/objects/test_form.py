"""What is filled in is what highdicom makes of that very film."""

from collections.abc import Callable
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from clients import Prediction
from clients.dicom import Heatmap
from clients.dicom.film import Film
from clients.dicom.objects import gsps, sc, sr
from clients.dicom.objects.common import Device, encoded, statement
from clients.dicom.objects.form import Form, entry, nobody
from service.model.reader import Reader
from tests.clients.dicom.films import DX, FILMS, film, read_by
from tests.clients.dicom.objects.objects import REFUSAL

NAMED = film(**DX)
CASES: dict[str, Callable[[], bytes]] = {
    "DX": lambda: NAMED,
    "DX with another spacing": lambda: film(
        **DX | {"ImagerPixelSpacing": ["0.2", "0.21"]}, SOPInstanceUID="1.2.9"
    ),
    "8 bits, MONOCHROME1": FILMS["8 bits, MONOCHROME1"],
    "Japanese": FILMS["Japanese"],
}


@pytest.fixture(scope="module")
def read(reader: Reader) -> tuple[Prediction, Heatmap]:
    return read_by(reader, NAMED)


@pytest.fixture(params=CASES)
def made(
    request: pytest.FixtureRequest, read: tuple[Prediction, Heatmap]
) -> tuple[Film, Prediction, Heatmap]:
    return Film.of(CASES[request.param]()), *read


def sequences(dataset: Dataset) -> dict[str, object]:
    """The sequences of an object, with all that is in them; but who took the film."""
    return {
        element.keyword: element.value
        for element in dataset
        if element.VR == "SQ" and element.keyword != "ContributingEquipmentSequence"
    }


def assert_holds(filled: Dataset, expected: Dataset) -> None:
    """Every sequence that highdicom made is in the object, and the plain elements that it made."""
    found = sequences(filled)
    for keyword, value in sequences(dcmread(BytesIO(encoded(expected)))).items():
        assert found[keyword] == value, keyword
    assert filled.file_meta.TransferSyntaxUID == expected.file_meta.TransferSyntaxUID
    assert set(expected.dir()) <= set(filled.dir())


class TestReport:
    @pytest.mark.parametrize("with_region", [True, False])
    def test_of_a_reading(self, made: tuple[Film, Prediction, Heatmap], with_region: bool) -> None:
        film, reading, heatmap = made
        region = heatmap.outlines[0] if with_region else None
        device = Device.of(reading)
        shape = sr.Shape.of(film, reading, device, region)
        assert_holds(
            sr.structured_report(film, reading, device, region=region, others=[]),
            sr.unsealed(film, shape, reading.probability, region),
        )

    def test_of_a_refusal(self, made: tuple[Film, Prediction, Heatmap]) -> None:
        film, device = made[0], Device.of(REFUSAL)
        shape = sr.Shape.of(film, REFUSAL, device, None)
        assert_holds(
            sr.structured_report(film, REFUSAL, device, region=None, others=[]),
            sr.unsealed(film, shape, sr.result_of(REFUSAL), None),
        )


def test_presentation_state(made: tuple[Film, Prediction, Heatmap]) -> None:
    film, reading, heatmap = made
    device = Device.of(reading)
    text = "\r\n".join(statement(reading, device))
    assert_holds(
        gsps.presentation_state(film, reading, heatmap, device),
        gsps.unsealed(film, device, text, heatmap.outlines),
    )


def test_secondary_capture(made: tuple[Film, Prediction, Heatmap]) -> None:
    film, reading, heatmap = made
    device = Device.of(reading)
    assert_holds(sc.secondary_capture(film, reading, heatmap, device), sc.unsealed(film, device))


def test_nothing_is_left_of_the_film_that_does_not_exist(
    made: tuple[Film, Prediction, Heatmap],
) -> None:
    film, reading, heatmap = made
    device, absent = Device.of(reading), nobody(film.sop_class)
    state = gsps.presentation_state(film, reading, heatmap, device)
    capture = sc.secondary_capture(film, reading, heatmap, device)
    region = heatmap.outlines[0]
    others = [capture, state]
    told = sr.structured_report(film, reading, device, region=region, others=others)
    for one in (*others, told):
        for uid in (absent.sop_instance, absent.series, absent.study):
            assert uid.encode() not in encoded(one), one.Modality


class TestForm:
    def test_leaves_the_object_that_it_is_made_of_as_it_was(self) -> None:
        absent = nobody(ComputedRadiographyImageStorage)
        made = sc.unsealed(absent, Device.of(REFUSAL))
        before = encoded(made)
        Form(made, [entry("ReferencedSOPInstanceUID", absent.sop_instance)])
        assert encoded(made) == before

    def test_says_that_an_entry_stands_nowhere(self) -> None:
        made = sc.unsealed(nobody(ComputedRadiographyImageStorage), Device.of(REFUSAL))
        with pytest.raises(ValueError, match="nowhere"):
            Form(made, [entry("ReferencedSOPInstanceUID", "1.2.3")])

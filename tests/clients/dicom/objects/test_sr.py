"""The structured report: what it says, and what it never says."""

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from clients import Prediction
from clients.dicom import Heatmap
from service.model.reader import Reader
from tests.clients.dicom.films import DX, FILM, film, read_by
from tests.clients.dicom.objects.objects import REFUSAL, by_kind, texts

NAMED = film(**DX)
Read = tuple[Prediction, Heatmap]


@pytest.fixture(scope="module")
def read(reader: Reader) -> Read:
    return read_by(reader, NAMED)


def items(dataset: Dataset, code: str) -> list[Dataset]:
    """Content items, at any level, whose concept name has this code."""
    found = []
    for item in dataset.get("ContentSequence", []):
        if item.ConceptNameCodeSequence[0].CodeValue == code:
            found.append(item)
        found += items(item, code)
    return found


def only(dataset: Dataset, code: str) -> Dataset:
    (item,) = items(dataset, code)
    return item


def coded(item: Dataset) -> tuple[str, str]:
    concept = item.ConceptCodeSequence[0]
    return str(concept.CodeValue), str(concept.CodingSchemeDesignator)


class TestReading:
    def test_is_a_preliminary_unverified_imaging_measurement_report(self, read: Read) -> None:
        found = by_kind(NAMED, read[0])["sr"]
        assert found.SOPClassUID == Comprehensive3DSRStorage
        assert found.ConceptNameCodeSequence[0].CodeValue == "126000"
        assert found.ContentTemplateSequence[0].TemplateIdentifier == "1500"
        flags = (found.CompletionFlag, found.PreliminaryFlag, found.VerificationFlag)
        assert flags == ("COMPLETE", "PRELIMINARY", "UNVERIFIED")

    def test_probability_is_the_very_number_of_the_service(self, read: Read) -> None:
        (value,) = only(by_kind(NAMED, read[0])["sr"], "122157").MeasuredValueSequence
        assert value.FloatingPointValue == 100 * read[0].probability
        assert str(value.NumericValue) == f"{100 * read[0].probability:.2f}"
        assert value.MeasurementUnitsCodeSequence[0].CodeValue == "%"

    @pytest.mark.parametrize(
        ("call", "code"), [("pneumonia", "121053"), ("no pneumonia", "121054")]
    )
    def test_call_is_presence_or_absence(self, read: Read, call: str, code: str) -> None:
        reading = read[0].model_copy(update={"call": call})
        assert coded(only(by_kind(NAMED, reading)["sr"], "121052")) == (code, "DCM")

    def test_finding_lies_in_the_lung_and_names_film_and_algorithm(self, read: Read) -> None:
        found = by_kind(NAMED, read[0])["sr"]
        assert coded(only(found, "121071")) == ("233604007", "SCT")
        assert coded(only(found, "363698007")) == ("39607008", "SCT")
        source = only(found, "121112").ReferencedSOPSequence[0]
        assert source.ReferencedSOPInstanceUID == FILM
        parameters = [item.TextValue for item in items(found, "111002")]
        threshold = read[0].operating_point.threshold
        assert parameters == [
            f"SHA-256 {read[0].model.sha256}", f"threshold {threshold}", "research use only"
        ]  # fmt: skip

    def test_describes_the_film_only_where_it_says_enough(self, read: Read) -> None:
        assert items(by_kind(NAMED, read[0])["sr"], "111028")
        poor = film(**DX | {"PatientOrientation": None})
        assert not items(by_kind(poor, read[0])["sr"], "111028")

    def test_evidence_is_film_and_pictures(self, read: Read) -> None:
        made = by_kind(NAMED, *read)
        (study,) = made["sr"].CurrentRequestedProcedureEvidenceSequence
        named = {
            instance.ReferencedSOPInstanceUID
            for series in study.ReferencedSeriesSequence
            for instance in series.ReferencedSOPSequence
        }
        assert named == {FILM, *(made[k].SOPInstanceUID for k in ("sc", "gsps", "seg"))}


class TestRegion:
    def test_is_a_closed_line_on_the_film_of_class_activation(self, read: Read) -> None:
        found = by_kind(NAMED, *read)["sr"]
        assert coded(items(found, "121071")[1]) == ("130403", "DCM")
        region = only(found, "111030")
        assert region.GraphicType == "POLYLINE"
        line = list(region.GraphicData)
        assert line[:2] == line[-2:]
        assert 0 <= min(line) <= max(line) <= 256
        assert region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == FILM

    def test_is_tracked_by_the_same_uid_in_all_objects(self, read: Read) -> None:
        made = by_kind(NAMED, *read)
        uid = items(made["sr"], "112040")[1].UID
        assert uid == made["seg"].SegmentSequence[0].TrackingUID
        drawn = made["gsps"].GraphicAnnotationSequence[0].GraphicObjectSequence
        assert {item.TrackingUID for item in drawn} == {uid}


class TestRefusal:
    def test_is_undetermined_with_its_code_and_no_number(self, read: Read) -> None:
        found = by_kind(NAMED, REFUSAL)["sr"]
        assert coded(only(found, "121052")) == ("121059", "DCM")
        assert "not_a_chest" in only(found, "121106").TextValue
        assert not items(found, "122157")
        assert "CodeValue=%" not in texts(found)
        assert "CodeValue=%" in texts(by_kind(NAMED, read[0])["sr"])

    def test_is_written_in_ascii_whatever_the_service_says(self) -> None:
        strange = REFUSAL.model_copy(update={"detail": "größer als 2 µm"})
        assert only(by_kind(NAMED, strange)["sr"], "121106").TextValue.isascii()

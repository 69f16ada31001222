"""What all result objects have in common: patient, study, flags, UIDs, times."""

import logging
import warnings
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from clients import Prediction
from clients.dicom import KINDS, FilmError, Heatmap, Kind, report
from clients.dicom.film import PATIENT, STUDY, TYPE_2
from clients.dicom.objects.common import encoded
from clients.dicom.objects.uids import derived_uid
from service.model.reader import Reader
from tests.clients.dicom.films import DX, FILM, FILMS, drawn, film, read_by
from tests.clients.dicom.objects.objects import REFUSAL, by_kind, texts
from tests.factories import chest, png_bytes

Read = tuple[Prediction, Heatmap]
NAMED = film(**DX)
TIMES = ("Date", "Time")


@pytest.fixture(scope="module")
def read(reader: Reader) -> Read:
    return read_by(reader, NAMED)


@pytest.fixture(scope="module")
def made(read: Read) -> dict[Kind, Dataset]:
    return by_kind(NAMED, *read)


def reopened(dataset: Dataset) -> Dataset:
    return pydicom.dcmread(BytesIO(encoded(dataset)))


def without_times(dataset: Dataset) -> bytes:
    copy = reopened(dataset)
    for element in copy:
        if element.VR in ("DA", "TM") and element.keyword not in ("StudyDate", "StudyTime"):
            element.value = None
    return encoded(copy)


class TestPatient:
    @pytest.mark.parametrize("name", FILMS)
    def test_and_study_are_those_of_the_film(self, reader: Reader, name: str) -> None:
        data = FILMS[name]()
        source = pydicom.dcmread(BytesIO(data))
        for dataset in report(data, *read_by(reader, data), KINDS):
            found = reopened(dataset)
            for keyword in (*PATIENT, *STUDY, "SpecificCharacterSet", "TimezoneOffsetFromUTC"):
                assert found.get(keyword) == source.get(keyword) or (
                    keyword in TYPE_2 and found[keyword].is_empty
                ), keyword
            for keyword in TYPE_2:
                assert keyword in found

    @pytest.mark.parametrize("name", ["UTF-8", "Japanese"])
    def test_name_has_the_very_bytes_of_the_film(self, reader: Reader, name: str) -> None:
        data = FILMS[name]()
        start = data.index(b"\x10\x00\x10\x00PN")
        element = data[start : start + 8 + int.from_bytes(data[start + 6 : start + 8], "little")]
        for dataset in report(data, *read_by(reader, data), KINDS):
            assert element in encoded(dataset)

    @pytest.mark.parametrize(
        ("stated", "name"),
        [
            ("ISO_IR 192", b"M\xfcller^Zo\xeb"),
            ("GB18030", "Wang^XiaoDong=王^小东=".encode("gb18030")),
        ],
    )
    def test_name_that_does_not_fit_its_character_set_stays_as_it_is(
        self, reader: Reader, stated: str, name: bytes
    ) -> None:
        data = film(SpecificCharacterSet=stated, PatientName="Z" * len(name))
        data = data.replace(b"Z" * len(name), name)
        for dataset in report(data, *read_by(reader, data), KINDS):
            assert name in encoded(dataset)

    def test_long_comments_are_kept(self, reader: Reader) -> None:
        data = film(PatientComments="Z" * 5000)
        for dataset in report(data, *read_by(reader, data), KINDS):
            assert dataset.PatientComments == "Z" * 5000

    @pytest.mark.parametrize(
        "odd",
        [
            {"PatientName": "DOE^JANE^A^B^C^D^E=X=Y=Z"},
            {"PatientSex": "FEMALE"},
            {"PatientBirthDate": "17.02.1953"},
            {"StudyDate": "2026-01-02", "StudyTime": "noon"},
            {"PatientID": "Z" * 100},
        ],
    )
    def test_odd_values_are_kept_and_never_told(
        self, reader: Reader, odd: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the writer of the film
            data = film(**odd)
        answers = read_by(reader, data)
        with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as said:
            warnings.filterwarnings("default")
            warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")  # as the service has it
            objects = report(data, *answers, KINDS)
            files = [encoded(dataset) for dataset in objects]
        told = caplog.text + "".join(str(warning.message) for warning in said)
        for keyword, value in odd.items():
            assert value not in told
            assert all(value.encode() in file for file in files), keyword


class TestFlags:
    def test_say_research_and_who_made_it(self, made: dict[Kind, Dataset], read: Read) -> None:
        assert made.keys() == KINDS
        model = read[0].model
        for dataset in made.values():
            assert dataset.ContentQualification == "RESEARCH"
            assert dataset.SeriesDescription.startswith("nanocxr RESEARCH ")
            assert 9900 < dataset.SeriesNumber < 10000
            assert dataset.Manufacturer == "nanocxr"
            assert dataset.ManufacturerModelName == f"nanocxr {model.name}"
            assert dataset.DeviceSerialNumber == model.sha256[:12]
            assert dataset.SoftwareVersions[1] == f"{model.version} {model.sha256[:12]}"
            (equipment,) = dataset.ContributingEquipmentSequence
            assert equipment.Manufacturer == "ACME"
        assert len({dataset.SeriesNumber for dataset in made.values()}) == len(KINDS)

    def test_equipment_is_in_the_character_set_of_the_film(self, reader: Reader) -> None:
        data = film(
            SpecificCharacterSet="ISO_IR 192", InstitutionName="Köln", Manufacturer="Müller"
        )
        for dataset in report(data, *read_by(reader, data), KINDS):
            (equipment,) = reopened(dataset).ContributingEquipmentSequence
            assert (equipment.InstitutionName, equipment.Manufacturer) == ("Köln", "Müller")

    def test_film_without_a_maker_has_no_contributing_equipment(self, read: Read) -> None:
        for dataset in report(film(**DX, Manufacturer=None), *read, KINDS):
            assert "ContributingEquipmentSequence" not in dataset


class TestUids:
    def test_same_film_and_reading_give_the_same_object_but_for_its_time(
        self, made: dict[Kind, Dataset], read: Read
    ) -> None:
        again = by_kind(NAMED, *read)
        for kind, dataset in made.items():
            assert dataset.SOPInstanceUID == again[kind].SOPInstanceUID
            assert without_times(dataset) == without_times(again[kind]), kind

    def test_another_probability_gives_other_objects(
        self, made: dict[Kind, Dataset], read: Read
    ) -> None:
        other = read[0].model_copy(update={"probability": read[0].probability / 2})
        again = by_kind(NAMED, other, read[1])
        for kind in KINDS - {"seg"}:  # which holds none
            assert made[kind].SOPInstanceUID != again[kind].SOPInstanceUID

    def test_corrected_name_gives_other_objects(
        self, made: dict[Kind, Dataset], read: Read
    ) -> None:
        again = by_kind(film(**DX, PatientName="ROE^JANE"), *read)
        for kind in KINDS:
            assert made[kind].SOPInstanceUID != again[kind].SOPInstanceUID

    @pytest.mark.parametrize("part", ["film", "model"])
    def test_another_film_or_model_gives_other_objects(
        self, made: dict[Kind, Dataset], read: Read, part: str
    ) -> None:
        reading, heatmap = read
        data = film(**DX, SOPInstanceUID="1.2.9") if part == "film" else NAMED
        if part == "model":
            model = reading.model.model_copy(update={"sha256": "0" * 64})
            reading = reading.model_copy(update={"model": model})
        again = by_kind(data, reading, heatmap)
        for kind in KINDS:
            assert made[kind].SOPInstanceUID != again[kind].SOPInstanceUID
            assert made[kind].SeriesInstanceUID != again[kind].SeriesInstanceUID

    def test_are_valid_and_all_different(self, made: dict[Kind, Dataset]) -> None:
        uids = [uid for d in made.values() for uid in (d.SOPInstanceUID, d.SeriesInstanceUID)]
        assert len(set(uids)) == len(uids)
        assert all(uid.is_valid for uid in uids)
        for dataset in made.values():
            assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID

    def test_parts_do_not_run_into_each_other(self) -> None:
        assert derived_uid("1", "23") != derived_uid("12", "3")


class TestTime:
    @pytest.mark.parametrize("offset", ["+0900", "-0430"])
    def test_is_in_the_zone_that_the_film_states(self, read: Read, offset: str) -> None:
        before = datetime.now(UTC)
        for dataset in report(film(**DX, TimezoneOffsetFromUTC=offset), *read, KINDS):
            stated = f"{dataset.InstanceCreationDate}{dataset.InstanceCreationTime}"
            moment = datetime.strptime(stated + offset, "%Y%m%d%H%M%S.%f%z")
            assert before <= moment <= datetime.now(UTC) + timedelta(seconds=1)
            assert dataset.TimezoneOffsetFromUTC == offset


class TestWhatThereIs:
    def test_only_what_is_asked_for(self, read: Read) -> None:
        for kind in KINDS:
            assert by_kind(NAMED, *read, frozenset({kind})).keys() == {kind}

    def test_without_a_heatmap_a_report_alone(self, read: Read) -> None:
        assert by_kind(NAMED, read[0]).keys() == {"sr"}

    def test_without_any_heat_no_segmentation(self, read: Read) -> None:
        empty = drawn(png_bytes(np.zeros((256, 240), np.uint8)), read[1].overlay)
        assert by_kind(NAMED, read[0], empty).keys() == {"sr", "sc", "gsps"}

    def test_heatmap_of_another_size_is_not_drawn_on_the_film(self, read: Read) -> None:
        made = by_kind(film(chest(300, 200)), *read)
        assert made.keys() == {"sr", "sc"}
        assert "GraphicType=POLYLINE" not in texts(made["sr"])

    def test_refused_film_has_a_report_alone(self, read: Read) -> None:
        assert by_kind(NAMED, REFUSAL, read[1]).keys() == {"sr"}
        assert report(NAMED, REFUSAL, None, KINDS - {"sr"}) == []

    def test_coloured_film_has_no_grey_presentation_state(self, reader: Reader) -> None:
        colour = np.repeat(chest(bits=8)[..., np.newaxis], 3, axis=2)
        data = film(colour, photometric="RGB")
        assert by_kind(data, *read_by(reader, data)).keys() == {"sr", "sc", "seg"}

    def test_no_dicom_no_result(self, read: Read) -> None:
        with pytest.raises(FilmError, match="no study"):
            report(png_bytes(), *read, KINDS)

    def test_each_names_the_film(self, made: dict[Kind, Dataset]) -> None:
        for kind, dataset in made.items():
            assert f"ReferencedSOPInstanceUID={FILM}" in texts(dataset), kind

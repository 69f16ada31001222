"""De-identified films: nobody in them, references that still lead somewhere, the same reading."""

import struct
import warnings
from io import BytesIO

import pydicom
import pytest
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from clients.dicom.deidentify import EDITION, DeidentificationError, Deidentifier
from clients.dicom.objects.common import encoded
from service.model.reader import Reader
from tests.clients.dicom.films import DX, FILM, STUDY, film, nema
from tests.clients.dicom.objects.objects import REFUSAL, by_kind
from tests.e2e.marked import NEEDLES, marked
from tests.factories import png_bytes

KEY = bytes(range(32))
TABLE = {tuple(tag) for tag in dicom_anonymization_database_selector(EDITION)["ALL_TAGS"]}


def cleaned(data: bytes, key: bytes = KEY) -> Dataset:
    return pydicom.dcmread(BytesIO(Deidentifier(key)(data).data))


def nested() -> bytes:
    """A film that names the patient and other objects within sequences."""
    person, source, inner = Dataset(), Dataset(), Dataset()
    inner.PatientName, inner.PatientComments = "DOE^JANE", "ask DOE"
    person.CodeMeaning, person.ReferencedPatientSequence = "meaning", [inner]
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = (
        SecondaryCaptureImageStorage,
        FILM,
    )
    private = Dataset()
    private.add_new((0x0009, 0x0010), "LO", "DOE'S")
    private.add_new((0x0009, 0x1001), "LO", "DOE")
    source.ViewCodeSequence = [private]
    return film(
        ProcedureCodeSequence=[person], SourceImageSequence=[source], BurnedInAnnotation="NO"
    )


class TestPatient:
    @pytest.mark.parametrize(
        "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
    )
    def test_is_in_no_element_of_the_table(self, syntax: str) -> None:
        whole = pydicom.dcmread(BytesIO(marked(syntax)))
        named = [e for e in whole.iterall() if _names(e)]
        assert len(named) > 300
        found = [
            str(element.tag)
            for element in cleaned(marked(syntax)).iterall()
            if _names(element) and (element.tag.group, element.tag.element) in TABLE
        ]
        assert not found

    def test_is_in_no_name_and_no_description_of_a_patient_that_the_table_lacks(self) -> None:
        whole, found = pydicom.dcmread(BytesIO(marked())), cleaned(marked())
        lacking = [e for e in whole.iterall() if _is_about_somebody(e) and e.tag not in TABLE]
        assert len(lacking) > 5
        assert not [e.keyword for e in found.iterall() if _is_about_somebody(e) and _names(e)]

    @pytest.mark.parametrize("group", [0x6000, 0x601E])
    def test_is_in_no_overlay_whose_data_are_gone(self, group: int) -> None:
        whole = pydicom.dcmread(BytesIO(film()))
        whole.add_new((group, 0x0010), "US", 8)
        whole.add_new((group, 0x0022), "LO", "DOE")
        whole.add_new((group, 0x1500), "LO", "DOE")
        whole.add_new((group, 0x3000), "OW", b"\0" * 8)
        found = cleaned(encoded(whole))
        assert not [element for element in found.iterall() if element.tag.group == group]

    def test_is_in_no_private_element_and_in_no_meta_information(self) -> None:
        found = cleaned(marked())
        assert not [element for element in found.iterall() if element.tag.is_private]
        assert not [element for element in found.file_meta if _names(element)]
        assert not any(found.preamble)

    def test_is_in_no_item_of_a_sequence(self) -> None:
        data = nested()
        assert data.count(b"DOE") == 5
        assert b"DOE" not in Deidentifier(KEY)(data).data

    @pytest.mark.parametrize("tag", [(0x0008, 0x1140), (0x0008, 0x2228), (0x0008, 0x9FF1)])
    @pytest.mark.parametrize("length", [100, 70_000])
    def test_is_in_no_element_whose_kind_is_unknown(
        self, tag: tuple[int, int], length: int
    ) -> None:
        """Of a sequence in references, one that the table lacks, and one of tomorrow."""
        value = struct.pack("<HHLHHL", 0xFFFE, 0xE000, length + 8, 0x0010, 0x0010, length)
        value += b"DOE^JANE".ljust(length)
        unknown = struct.pack("<HH2sHL", *tag, b"UN", 0, len(value)) + value
        whole = film(PatientName=None)
        at = whole.index(b"\x10\x00\x20\x00LO")
        data = whole[:at] + unknown + whole[at:]
        assert b"DOE" not in Deidentifier(KEY)(data).data

    def test_is_gone_from_a_film_of_a_hospital(self) -> None:
        whole, found = pydicom.dcmread(BytesIO(nema())), cleaned(nema())
        assert whole.PatientName
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate"):
            assert found.get(keyword) != whole.get(keyword), keyword

    def test_flags_say_so(self) -> None:
        found = cleaned(film())
        assert found.PatientIdentityRemoved == "YES"
        assert found.LongitudinalTemporalInformationModified == "REMOVED"
        (method,) = found.DeidentificationMethodCodeSequence
        assert (method.CodeValue, method.CodingSchemeDesignator) == ("113100", "DCM")
        assert "2026c" in found.DeidentificationMethod


class TestUids:
    def test_of_one_study_stay_together_and_are_others(self) -> None:
        one, two = cleaned(film()), cleaned(film(SOPInstanceUID="1.2.9"))
        assert one.StudyInstanceUID == two.StudyInstanceUID != STUDY
        assert one.SOPInstanceUID != two.SOPInstanceUID
        assert one.SOPInstanceUID.is_valid
        assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
        assert one.SOPClassUID == pydicom.dcmread(BytesIO(film())).SOPClassUID

    def test_depend_on_the_key_alone(self) -> None:
        assert cleaned(film()).StudyInstanceUID == cleaned(film()).StudyInstanceUID
        assert cleaned(film()).StudyInstanceUID != cleaned(film(), KEY[::-1]).StudyInstanceUID

    def test_references_follow(self) -> None:
        found = cleaned(nested())
        assert found.SourceImageSequence[0].ReferencedSOPInstanceUID == found.SOPInstanceUID

    def test_short_key_is_refused(self) -> None:
        with pytest.raises(DeidentificationError, match="16 bytes"):
            Deidentifier(b"secret")


class TestFilm:
    @pytest.mark.parametrize("data", [film(**DX), nema()], ids=["DX", "RG1_J2KI"])
    def test_is_read_as_before(self, reader: Reader, data: bytes) -> None:
        after = Deidentifier(KEY)(data).data
        assert reader.read(after).probability == reader.read(data).probability

    @pytest.mark.parametrize(("stated", "told"), [("NO", 0), ("YES", 1), (None, 1)])
    def test_burned_in_text_is_warned_of(self, stated: str | None, told: int) -> None:
        assert len(Deidentifier(KEY)(film(BurnedInAnnotation=stated)).warnings) == told


class TestRefusals:
    def test_png(self) -> None:
        with pytest.raises(DeidentificationError, match="no DICOM file"):
            Deidentifier(KEY)(png_bytes())

    def test_report(self) -> None:
        report = encoded(by_kind(film(), REFUSAL)["sr"])
        with pytest.raises(DeidentificationError, match="only films"):
            Deidentifier(KEY)(report)

    @pytest.mark.parametrize("share", [0.01, 0.3, 0.6])
    def test_cut_header_never_gives_a_film_with_a_patient(self, share: float) -> None:
        whole = marked()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(DeidentificationError) as refusal:
                Deidentifier(KEY)(whole[: int(whole.index(b"\xe0\x7f\x10\x00") * share)])
        assert not any(needle in str(refusal.value).lower().encode() for needle in NEEDLES)


def _is_about_somebody(element: pydicom.DataElement) -> bool:
    return element.VR == "PN" or element.tag.group in (0x0010, 0x0038)


def _names(element: pydicom.DataElement) -> bool:
    text = str(element.value).lower().encode() if element.VR != "SQ" else b""
    return any(needle in text for needle in NEEDLES)

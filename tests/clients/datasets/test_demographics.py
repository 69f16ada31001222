"""Sex and age band, and nothing else, come from a header."""

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from clients.datasets.demographics import age_band, sex_and_age_band
from tests.factories import bare_dicom_bytes, dicom_bytes, png_bytes


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("047Y", "40-49"),
        ("51", "50-59"),  # RSNA 2018 leaves the unit out
        ("009Y", "0-9"),
        ("018M", "0-9"),
        ("003W", "0-9"),
        ("012D", "0-9"),
        ("089Y", "80-89"),
        ("090Y", "90+"),
        ("104Y", "90+"),
        ("148Y", None),  # a typing error of ChestX-ray14
        ("", None),
        ("old", None),
        ("-5", None),
    ],
)
def test_age_becomes_a_decade(age: str, band: str | None) -> None:
    assert age_band(age) == band


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_encoding_is_read(syntax: str) -> None:
    content = dicom_bytes(transfer_syntax=syntax, PatientSex="M", PatientAge="033Y")
    assert sex_and_age_band(content) == ("M", "30-39")


def test_file_without_preamble_is_read() -> None:
    assert sex_and_age_band(bare_dicom_bytes(PatientSex="F", PatientAge="7")) == ("F", "0-9")


def test_what_the_standard_does_not_define_is_dropped() -> None:
    assert sex_and_age_band(dicom_bytes(PatientSex="Doe", PatientAge="Jane")) == (None, None)


def test_absent_elements_and_other_formats_have_none() -> None:
    assert sex_and_age_band(dicom_bytes()) == (None, None)
    assert sex_and_age_band(png_bytes()) == (None, None)


@pytest.mark.parametrize("length", [10, 133, 150, 300, 400])
def test_cut_file_raises_nothing(length: int) -> None:
    content = dicom_bytes(PatientSex="F", PatientAge="047Y")
    assert sex_and_age_band(content[:length]) in {(None, None), ("F", None), ("F", "40-49")}

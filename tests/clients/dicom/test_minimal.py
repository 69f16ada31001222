"""The service reads what it is sent as it would have read the whole film, and sees no patient."""

from collections.abc import Iterator
from io import BytesIO

import pydicom
import pytest
from pydicom.datadict import keyword_for_tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from clients.dicom.minimal import minimal
from service.errors import NoPixelData, NotAnImage, ReadingError, TruncatedImage
from service.imaging.decode import Limits
from service.imaging.dicom.elements import HEADER_KEYWORDS
from service.imaging.prepare import prepare
from service.model.reader import Reader
from tests.clients.dicom.films import FILMS, film
from tests.e2e.marked import COMPRESSED, NEEDLES, marked
from tests.factories import chest, png_bytes
from tests.films.film import Version
from tests.films.grey import grey_stages
from tests.films.structure import structure
from tests.tiny_model import SPEC

EVERY = 16  # of the files that state one film in hundreds of ways: seconds, not minutes


def versions() -> Iterator[Version]:
    """One film with many display pipelines and structures, and two syntaxes beside them."""
    small = chest(64, 64, bits=8)
    yield from list(grey_stages(small))[::EVERY]
    yield from structure(small)


def seen(data: bytes) -> tuple[bytes, tuple[str, ...]] | str:
    """What the network gets of a file and what is said of it, or why it is refused."""
    try:
        prepared = prepare(data, Limits(), SPEC)
    except ReadingError as refusal:
        return refusal.code
    return prepared.tensor.tobytes(), prepared.warnings


@pytest.mark.parametrize("name", FILMS)
def test_probability_is_the_same(reader: Reader, name: str) -> None:
    whole = FILMS[name]()
    sent = minimal(whole)
    assert len(sent) <= len(whole)
    assert reader.read(sent).probability == reader.read(whole).probability


def test_every_structure_and_display_pipeline_is_read_alike() -> None:
    films = list(versions())
    assert len(films) > 150
    different = [v.name for v in films if seen(minimal(v.data)) != seen(v.data)]
    assert not different


def test_bytes_behind_the_pixels_are_told_of_and_not_sent() -> None:
    whole = film() + b"DOE^JANE and more"
    sent = minimal(whole)
    assert b"JANE" not in sent
    assert seen(sent) == seen(whole)
    assert any("other bytes" in warning for warning in seen(sent)[1])


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, *COMPRESSED]
)
def test_no_text_of_a_patient_is_in_it(syntax: str) -> None:
    whole = (
        marked(syntax)
        if syntax not in (*COMPRESSED, ExplicitVRBigEndian)
        else film(chest(bits=8), transfer_syntax=syntax, PatientName="ZQXJANE^DOE")
    )
    assert any(needle in whole.lower() for needle in NEEDLES)
    sent = minimal(whole).lower()
    assert not [needle for needle in NEEDLES if needle in sent]


def test_holds_no_element_that_is_not_read() -> None:
    allowed = {*HEADER_KEYWORDS, "SpecificCharacterSet", "PixelData"}
    sent = pydicom.dcmread(BytesIO(minimal(marked())))
    assert {keyword_for_tag(element.tag) for element in sent} <= allowed
    assert [element.keyword for element in sent.file_meta] == ["TransferSyntaxUID"]


def test_meaning_of_a_code_is_left_out() -> None:
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "399348003", "SCT"
    code.CodeMeaning = "DOE^JANE"
    whole = film(view=None, ViewCodeSequence=[code])
    sent = pydicom.dcmread(BytesIO(minimal(whole)))
    assert [element.keyword for element in sent.ViewCodeSequence[0]] == ["CodeValue"]
    assert seen(minimal(whole)) == seen(whole)


def test_what_has_no_pixels_is_refused_at_once() -> None:
    with pytest.raises(NotAnImage):
        minimal(png_bytes())
    with pytest.raises(TruncatedImage):
        minimal(film()[:-2000])
    with pytest.raises(NoPixelData):
        minimal(film()[: film().index(b"\xe0\x7f\x10\x00")])

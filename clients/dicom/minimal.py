"""What the service sees of a film: the elements that it reads, the pixels, and nothing else.

film -> [minimal] -> service
An allow-list, also within sequences: name, dates, UIDs, comments, private elements and whatever
follows the pixels stay where the film is. The pixels are the same bytes.
"""

import struct
from contextlib import suppress
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from service.errors import CorruptImage, NotAnImage
from service.imaging.decode import Limits
from service.imaging.dicom.encapsulation import ITEM
from service.imaging.dicom.file import UNDEFINED_LENGTH, DicomFile, is_dicom, parse
from service.imaging.dicom.header import MALFORMED, code, first_item, values
from service.imaging.dicom.lut import read_lut
from service.imaging.dicom.terms import compact

PREAMBLE = 128  # bytes, PS3.10 7.1
DELIMITER = (0xFFFE, 0xE0DD)  # PS3.5 A.4
LUTS: Final = ("ModalityLUTSequence", "VOILUTSequence")
CODES: Final = {
    "AnatomicRegionSequence": (),
    "ViewCodeSequence": ("ViewModifierCodeSequence",),
}  # sequence -> sequences within its item
TERMS: Final = {
    "ImageType": {"ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "LOCALIZER"},
    "PresentationIntentType": {"FORPRESENTATION", "FORPROCESSING"},
    "PresentationLUTShape": {"IDENTITY", "INVERSE"},
    "VOILUTFunction": {"LINEAR", "LINEAREXACT", "SIGMOID"},
}  # any other value means nothing to the service, and may be anybody's text
NO_ELEMENT = b"\xff" * 8  # the service warns of bytes behind the pixels; which ones, is not its own


def minimal(film: bytes) -> bytes:
    """Rebuild a DICOM file with nothing but what a reading needs.

    Parameters
    ----------
    film
        A DICOM file.

    Returns
    -------
    bytes
        A DICOM file in the same transfer syntax (a deflated one is inflated) that is read alike,
        warnings included. A sequence that cannot be parsed becomes one that cannot be used.

    Raises
    ------
    ReadingError
        If the file has no header that can be parsed, or ends before its pixels do.
    """
    if not is_dicom(film):
        raise NotAnImage("This is no DICOM file. Send the film as the archive gives it.")
    try:
        return _rebuilt(parse(film, Limits().max_bytes))
    except MALFORMED as error:
        raise CorruptImage(
            f"the DICOM data set cannot be parsed ({type(error).__name__}). Send it again."
        ) from None


def _rebuilt(file: DicomFile) -> bytes:
    out = DicomBytesIO()
    out.write(b"\0" * PREAMBLE + b"DICM")
    _write_meta(out, file)
    implicit, little = file.header.original_encoding
    out.is_implicit_VR, out.is_little_endian = bool(implicit), bool(little)
    _write_header(out, file.header)
    out.write(_pixel_element(file))
    return out.getvalue()


def _write_meta(out: DicomBytesIO, file: DicomFile) -> None:
    deflated = file.transfer_syntax == DeflatedExplicitVRLittleEndian
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if deflated else file.transfer_syntax
    write_file_meta_info(out, meta, enforce_standard=False)


def _write_header(out: DicomBytesIO, header: Dataset) -> None:
    for keyword, terms in TERMS.items():
        if keyword in header:
            stated = values(header, keyword)
            setattr(header, keyword, [value for value in stated if compact(value) in terms])
    for keyword in LUTS:
        _replace(header, keyword, _lut_items(header, keyword))
    for keyword, inner in CODES.items():
        _replace(header, keyword, _code_items(header, keyword, inner))
    for tag in sorted(header.keys()):
        write_data_element(out, header.get_item(tag))  # bytes as they are, or ASCII


def _replace(dataset: Dataset, keyword: str, items: list[Dataset]) -> None:
    if keyword in dataset:
        setattr(dataset, keyword, Sequence(items))


def _lut_items(header: Dataset, keyword: str) -> list[Dataset]:
    item = Dataset()
    with suppress(*MALFORMED):
        found = first_item(header, keyword)
        if found is None:
            return []
        lut = read_lut(found, "LUTDescriptor", "LUTData")
        facts = [len(lut.entries) % 65536, lut.first, lut.white.bit_length()]
        words = "<u2" if header.original_encoding[1] else ">u2"
        item.add_new("LUTDescriptor", "US", facts)
        item.add_new("LUTData", "OW", lut.entries.astype(words).tobytes())
    return [item]


def _code_items(dataset: Dataset, keyword: str, inner: tuple[str, ...] = ()) -> list[Dataset]:
    item = Dataset()
    with suppress(*MALFORMED):
        found = first_item(dataset, keyword)
        if found is None:
            return []
        item.add_new("CodeValue", "SH", code(found, "CodeValue"))
        for name in inner:
            if name in found:
                setattr(item, name, Sequence(_code_items(found, name)))
    return [item]


def _pixel_element(file: DicomFile) -> bytes:
    """The element from its tag to its last byte, as it is in the file."""
    value = file.pixel_value()
    start = file.pixel_offset
    implicit, little = file.header.original_encoding
    order = "<" if little else ">"
    begin = start + (8 if implicit else 12)
    (length,) = struct.unpack_from(f"{order}L", file.body, begin - 4)
    if length == UNDEFINED_LENGTH:
        end = _end_of_items(file.body, begin, order)
    else:
        end = begin + len(value)
    tail = NO_ELEMENT if file.end_warning(value) else b""
    return file.body[start:end] + tail


def _end_of_items(body: bytes, position: int, order: str) -> int:
    """Where encapsulated pixels end: behind the delimiter, or where something else stands."""
    while position + 8 <= len(body):
        *tag, length = struct.unpack_from(f"{order}HHL", body, position)
        if tuple(tag) == DELIMITER:
            return position + 8
        if tuple(tag) != ITEM:
            return position
        position += 8 + length
    return len(body)

"""What the node itself has to know of a film: whose it is, and where its results go.

Hostile files are taken apart in the process that receives, so the service's bounds hold here too,
and nothing is read beyond the last element of interest.
"""

import re
import zlib
from dataclasses import dataclass

from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from service.errors import CorruptImage
from service.imaging.bounds.dicom import BoundedReader
from service.imaging.bounds.unknown_vr import byte_order
from service.imaging.dicom.file import PREFIX_END
from service.imaging.dicom.header import MALFORMED, code

KEYWORDS = {
    "sop_class": "SOPClassUID",
    "sop": "SOPInstanceUID",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "modality": "Modality",
    "body_part": "BodyPartExamined",
    "manufacturer": "Manufacturer",
}
DESCRIPTIONS = ("SeriesDescription", "StudyDescription")
TAGS: list[BaseTag | int] = [Tag(keyword) for keyword in (*KEYWORDS.values(), *DESCRIPTIONS)]
LAST = Tag("SeriesInstanceUID")
META = 0x0002  # group of the file meta information
PREFIX_BYTES = 1 << 20  # of a deflated data set; what is looked at comes first
UID_TEXT = re.compile(r"[0-9][0-9.]{0,63}")


class HeaderError(ValueError):
    """A film whose header cannot be read, or that lacks what results refer to; no values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Some elements of a film, as text; empty where absent.

    Attributes
    ----------
    sop_class, sop, study, series
        UIDs of class, instance, study and series.
    modality, body_part, manufacturer
        (0008,0060), (0018,0015), (0008,0070).
    descriptions
        Series Description (0008,103E) and Study Description (0008,1030).
    start
        Where in the file the data set begins, behind the file meta information.
    """

    sop_class: str
    sop: str
    study: str
    series: str
    modality: str
    body_part: str
    manufacturer: str
    descriptions: tuple[str, ...]
    start: int


def read_header(film: bytes) -> Header:
    """Read the header of a DICOM file with preamble and file meta information.

    Raises
    ------
    HeaderError
        If it cannot be read, or has not all four UIDs.
    """
    try:
        header = _header(film)
    except (*MALFORMED, CorruptImage, zlib.error) as error:
        raise HeaderError("the data set cannot be read") from error
    for uid in (header.sop_class, header.sop, header.study, header.series):
        if not UID_TEXT.fullmatch(uid):
            raise HeaderError(
                "SOP Class (0008,0016), SOP Instance (0008,0018), Study (0020,000D) or Series "
                "Instance UID (0020,000E) is missing or no UID"
            )
    return header


def _header(film: bytes) -> Header:
    stream = BoundedReader(film, "<")
    stream.seek(PREFIX_END)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != META)  # noqa: FBT003 - pydicom's
    start = stream.tell()
    syntax = UID(code(meta, "TransferSyntaxUID"))
    if syntax == DeflatedExplicitVRLittleEndian:
        inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        stream = BoundedReader(inflater.decompress(film[start:], PREFIX_BYTES))
    stream.order = byte_order(syntax)
    found = read_dataset(
        stream,
        syntax == ImplicitVRLittleEndian,
        syntax != ExplicitVRBigEndian,
        stop_when=lambda tag, *_: tag > LAST,
        specific_tags=TAGS,
    )
    return Header(
        start=start,
        descriptions=tuple(code(found, keyword) for keyword in DESCRIPTIONS),
        **{name: code(found, keyword) for name, keyword in KEYWORDS.items()},
    )

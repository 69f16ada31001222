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

KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "Manufacturer",
    "StudyDescription",
    "SeriesDescription",
    "BodyPartExamined",
    "StudyInstanceUID",
    "SeriesInstanceUID",
)
TAGS: list[BaseTag | int] = [Tag(keyword) for keyword in KEYWORDS]
LAST = Tag("SeriesInstanceUID")
PREFIX_BYTES = 1 << 20  # of a deflated data set; what is looked at comes first
# The mark of own results, as clients.dicom.objects writes it; importing that costs highdicom.
OWN_MAKER, OWN_SERIES = "nanocxr", "nanocxr RESEARCH"
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
    """

    sop_class: str
    sop: str
    study: str
    series: str
    modality: str
    body_part: str
    manufacturer: str
    descriptions: tuple[str, ...]


def read_header(film: bytes) -> Header:
    """Read the header of a DICOM file with preamble and file meta information.

    Raises
    ------
    HeaderError
        If it cannot be read, or has not all four UIDs.
    """
    try:
        found = _texts(film)
    except (*MALFORMED, CorruptImage, zlib.error) as error:
        raise HeaderError("the data set cannot be read") from error
    header = Header(
        sop_class=found["SOPClassUID"],
        sop=found["SOPInstanceUID"],
        study=found["StudyInstanceUID"],
        series=found["SeriesInstanceUID"],
        modality=found["Modality"],
        body_part=found["BodyPartExamined"],
        manufacturer=found["Manufacturer"],
        descriptions=(found["SeriesDescription"], found["StudyDescription"]),
    )
    for uid in (header.sop_class, header.sop, header.study, header.series):
        if not UID_TEXT.fullmatch(uid):
            raise HeaderError(
                "SOP Class (0008,0016), SOP Instance (0008,0018), Study (0020,000D) or Series "
                "Instance UID (0020,000E) is missing or no UID"
            )
    return header


def _texts(film: bytes) -> dict[str, str]:
    stream = BoundedReader(film, "<")
    stream.seek(PREFIX_END)
    meta = read_dataset(stream, False, True, stop_when=_after_meta)  # noqa: FBT003 - pydicom's
    syntax = UID(code(meta, "TransferSyntaxUID"))
    if syntax == DeflatedExplicitVRLittleEndian:
        inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        stream = BoundedReader(inflater.decompress(film[stream.tell() :], PREFIX_BYTES))
    stream.order = byte_order(syntax)
    header = read_dataset(
        stream,
        syntax == ImplicitVRLittleEndian,
        syntax != ExplicitVRBigEndian,
        stop_when=_after_last,
        specific_tags=TAGS,
    )
    return {keyword: code(header, keyword) for keyword in KEYWORDS}


def _after_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != 0x0002


def _after_last(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return bool(tag > LAST)

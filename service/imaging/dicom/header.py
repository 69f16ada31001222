"""Values of a DICOM header, even if absent, malformed, too long or of another VR.

file structure -> [values] -> acceptance, body part, view, grey
No rule is here, and no message: a value that cannot be read is none.
"""

import struct
from collections.abc import Sequence

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.filereader import read_sequence
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from service.imaging.bounds.dicom import MAX_VALUE_BYTES, BoundedReader
from service.imaging.bounds.unknown_vr import ByteOrder

MALFORMED = (  # what a parser raises on malformed content
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    EOFError,
    OSError,
    NotImplementedError,
    RecursionError,
    struct.error,
    BytesLengthException,
)


def code(header: Dataset, keyword: str) -> str:
    """Return the first value of an element as text; empty where absent, empty or malformed."""
    return next(iter(values(header, keyword)), "")


def values(header: Dataset, keyword: str) -> list[str]:
    """Return the values of an element as text; none where absent, empty or malformed."""
    if byte_length(header, keyword) > MAX_VALUE_BYTES:  # within an item
        return []
    try:
        value = header.get(keyword)
    except MALFORMED:
        return []
    several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return ["" if one is None else str(one).strip() for one in (value if several else [value])]


def is_stated(header: Dataset, keyword: str) -> bool:
    """Whether any value of an element is not empty, be it the first or not."""
    return any(values(header, keyword))


def unsigned(header: Dataset, keyword: str, default: int = 0) -> int:
    """Return the first value of an element that is a number without a sign, or the default."""
    text = code(header, keyword)
    return int(text) if text.isdecimal() else default


def integer(header: Dataset, element: str | tuple[int, int]) -> int | None:
    """The first value of an element with the VR US or SS; None where there is none."""
    tag = Tag(element)
    if tag not in header or byte_length(header, tag) > MAX_VALUE_BYTES:
        return None
    try:
        value = header[tag].value
        if isinstance(value, bytes):  # written as OW or UN
            little = header.original_encoding[1] is not False
            return int.from_bytes(value[:2], "little" if little else "big")
        return int(value[0] if isinstance(value, MultiValue) else value)
    except MALFORMED:
        return None


def pixel_spacing(header: Dataset) -> tuple[float, float] | None:
    """Row and column spacing in millimetres: at the detector (0018,1164), else (0028,0030)."""
    for keyword in ("ImagerPixelSpacing", "PixelSpacing"):
        try:
            row, column = (float(value) for value in header.get(keyword) or ())
        except MALFORMED:
            continue
        if 0 < row < 10 and 0 < column < 10:
            return row, column
    return None


def coded_value(header: Dataset, *keywords: str) -> str:
    """Return Code Value (0008,0100) of the first item of a sequence; empty where there is none.

    More keywords name sequences within the item of the one before.
    """
    item = header
    try:
        for keyword in keywords:
            found = first_item(item, keyword)
            if found is None:
                return ""
            item = found
    except MALFORMED:
        return ""
    return code(item, "CodeValue")


def first_item(header: Dataset, keyword: str) -> Dataset | None:
    """Return the first item of a sequence, None where there is none.

    pydicom parses a sequence of defined length when it is first asked for, all its items at once;
    here it does so within bounds.

    Raises
    ------
    Exception
        Of ``MALFORMED``, where the sequence cannot be parsed.
    """
    element = _unparsed(header, keyword)
    if element is not None:
        value = element.value or b""
        items = read_sequence(
            BoundedReader(value, None if element.is_implicit_VR else _order(element)),
            element.is_implicit_VR,
            element.is_little_endian,
            len(value),
            header.original_character_set,
        )
        header[element.tag] = DataElement(element.tag, "SQ", items)
    sequence = header.get(keyword)
    return sequence[0] if sequence else None


def byte_length(dataset: Dataset, keyword: str | BaseTag) -> int:
    """Length of a value that is not parsed yet; 0 where it is, or is absent."""
    element = _unparsed(dataset, keyword)
    return 0 if element is None else len(element.value or b"")


def _unparsed(dataset: Dataset, keyword: str | BaseTag) -> RawDataElement | None:
    element: object = dataset.get_item(keyword) if keyword in dataset else None
    return element if isinstance(element, RawDataElement) else None


def _order(element: RawDataElement) -> ByteOrder:
    return "<" if element.is_little_endian else ">"

"""Bounds on what pydicom does with a header before the first pixel.

bytes -> [bounded reading] -> file structure -> acceptance
pydicom takes a header apart in Python, element by element, and parses whole sequences and values
when they are first asked for. 64 MiB of empty items would keep it busy for minutes and fill
gigabytes; a radiograph has a few hundred elements.
"""

from io import BytesIO

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_sequence
from pydicom.tag import BaseTag

from service.errors import CorruptImage

MAX_READS = 30_000  # an element of a data set costs one to three
MAX_VALUE_BYTES = 4096  # of an element whose value is looked at, lookup tables excepted
CHARACTER_SET = (b"\x08\x00\x05\x00", b"\x00\x08\x00\x05")  # (0008,0005), in both byte orders


class BoundedReader(BytesIO):
    """The bytes of a data set, for pydicom; raises CorruptImage where it reads too often.

    The value of Specific Character Set (0008,0005) is bounded here: pydicom splits it as soon as it
    is read, wherever it is nested.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads = 0
        self._head = b""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as BytesIO does."""
        self._reads += 1
        if self._reads > MAX_READS:
            raise CorruptImage("the data set has too many elements. Send the image as acquired.")
        if size is not None and size > MAX_VALUE_BYTES and self._head[:4] in CHARACTER_SET:
            raise CorruptImage("Specific Character Set (0008,0005) is too long. Send it again.")
        data = super().read(size)
        if size == 8:  # tag, VR and length of the next element
            self._head = data
        return data


def first_item(header: Dataset, keyword: str) -> Dataset | None:
    """Return the first item of a sequence, None where there is none.

    pydicom parses a sequence of defined length when it is first asked for, all its items at once;
    here it does so within bounds.

    Raises
    ------
    Exception
        Of ``dicom_file.MALFORMED``, where the sequence cannot be parsed.
    """
    element = _unparsed(header, keyword)
    if element is not None:
        value = element.value or b""
        items = read_sequence(
            BoundedReader(value),
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

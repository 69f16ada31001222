"""Bounds on what pydicom does with a header before the first pixel.

bytes -> [bounded reading] -> file structure -> acceptance
pydicom takes a header apart in Python, element by element, and parses whole sequences and values
when they are first asked for. 64 MiB of empty items would keep it busy for minutes and fill
gigabytes; a radiograph has a few hundred elements.
"""

from io import BytesIO

from service.errors import CorruptImage
from service.imaging.bounds.unknown_vr import ITEM_TAGS, ByteOrder, known_vr, value_of

MAX_READS = 30_000  # an element of a data set costs one to three
MAX_VALUE_BYTES = 4096  # of an element whose value is looked at, lookup tables excepted
CHARACTER_SET = (b"\x08\x00\x05\x00", b"\x00\x08\x00\x05")  # (0008,0005), in both byte orders


class BoundedReader(BytesIO):
    """The bytes of a data set, for pydicom; raises CorruptImage where it reads too often.

    The value of Specific Character Set (0008,0005) is bounded here: pydicom splits it as soon as it
    is read, wherever it is nested.

    Value representations that the standard does not define are replaced here by ones with the same
    form of length, wherever they are nested: pydicom would lose its way after them.

    Parameters
    ----------
    data
        The data set.
    order
        ``"<"`` or ``">"``, the byte order of Explicit VR; None where VRs are implicit.
    """

    def __init__(self, data: bytes, order: ByteOrder | None = None) -> None:
        super().__init__(data)
        self.order: ByteOrder | None = order
        self._data = data
        self._reads = 0
        self._head = b""
        self._value = (0, 0)  # where that of the last element starts, and its length
        self._tag_at = -1  # of an element of which the tag alone has been read

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as BytesIO does."""
        self._reads += 1
        if self._reads > MAX_READS:
            raise CorruptImage("the data set has too many elements. Send the image as acquired.")
        if size is not None and size > MAX_VALUE_BYTES and self._head[:4] in CHARACTER_SET:
            raise CorruptImage("Specific Character Set (0008,0005) is too long. Send it again.")
        start = self.tell()
        data = super().read(size)
        if size == 8:  # tag, VR and length of the next element, or a value
            self._head = data
        return data if self.order is None else self._with_known_vr(data, start, self.order)

    def _with_known_vr(self, data: bytes, start: int, order: ByteOrder) -> bytes:
        """Replace the VR in what was read: an element's first 8 bytes, or 2 after its tag."""
        if (start, len(data)) == self._value:
            return data
        tag_at, self._tag_at = self._tag_at, start if len(data) == 4 else -1
        if len(data) == 2 and tag_at == start - 4:
            return known_vr(self._data, tag_at, order) or data
        if len(data) != 8 or data[:4] in ITEM_TAGS:
            return data
        vr = known_vr(self._data, start, order)
        data = data if vr is None else data[:4] + vr + data[6:]
        self._value = value_of(self._data, start, data[4:6], order)
        return data

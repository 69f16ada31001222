"""Lookup tables of a header, read whatever way they were written.

pixels -> [lookup tables] -> grey
Descriptor and data are written with the wrong VR, in bytes or words, shorter or deeper than they
say (PS3.3 C.11.1.1, C.11.2.1.1, C.7.6.3.1.5). What can be read with certainty is; all else is an
error, and the caller decides what to do without.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from service.imaging.bounds.dicom import MAX_VALUE_BYTES
from service.imaging.dicom.header import byte_length

BYTE = 8  # bits
MAX_ENTRIES = 65536
MAX_DATA_BYTES = 2 * MAX_ENTRIES


class UnusableLut(ValueError):
    """A table that does not say what the values become."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lut:
    """A lookup table.

    Attributes
    ----------
    first
        The value that becomes ``entries[0]``, as 16 bits without sign.
    entries
        int64 of shape (N,).
    white
        Largest value an entry can have.
    """

    first: int
    entries: NDArray[np.int64]
    white: int

    def map(self, values: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Look up values; those before the first and behind the last entry get that.

        Parameters
        ----------
        values
            Shape (K,), rounded to integers here.
        present
            Which of them occur: they tell whether ``first`` has a sign.

        """
        whole = np.rint(values).astype(np.int64)
        first = self.signed_first(whole[present].min(), whole[present].max())
        places = np.clip(whole - first, 0, len(self.entries) - 1)
        return self.entries[places].astype(np.float64)

    def signed_first(self, low: float, high: float) -> int:
        """Tell ``first`` with its sign: with which the table holds most of the values in between.

        Parameters
        ----------
        low, high
            The smallest and the largest value that is looked up.

        """
        return max(
            (self.first, self.first - MAX_ENTRIES),
            key=lambda start: min(high, start + len(self.entries) - 1) - max(low, start),
        )


def read_lut(dataset: Dataset, descriptor: str, data: str) -> Lut:
    """Read a table from its descriptor and data elements.

    Parameters
    ----------
    dataset
        An item of a LUT sequence, or the header itself.
    descriptor, data
        Keywords, such as ``"LUTDescriptor"`` and ``"LUTData"``.

    Raises
    ------
    UnusableLut
        If an element is missing, longer than a table can be, or says something else than the other.
    Exception
        Of ``header.MALFORMED``, where an element cannot be parsed.
    """
    if descriptor not in dataset or data not in dataset:
        raise UnusableLut("an element is missing")
    if (
        byte_length(dataset, descriptor) > MAX_VALUE_BYTES
        or byte_length(dataset, data) > MAX_DATA_BYTES
    ):
        raise UnusableLut("more than 65,536 entries")
    count, first, bits = (int(value) & 0xFFFF for value in dataset[descriptor].value)
    entries = _entries(dataset, data, count or MAX_ENTRIES, packed=bits <= BYTE)
    bits = max(bits, int(entries.max(initial=0)).bit_length())  # deeper than said
    if not 1 <= bits <= 16:
        raise UnusableLut("no bits")
    return Lut(first=first, entries=entries, white=(1 << bits) - 1)


def _entries(dataset: Dataset, keyword: str, count: int, *, packed: bool) -> NDArray[np.int64]:
    element: object = dataset.get_item(keyword)
    big = isinstance(element, RawDataElement) and not element.is_little_endian
    value = dataset[keyword].value
    if isinstance(value, bytes):
        words = np.frombuffer(value[: len(value) // 2 * 2], ">u2" if big else "<u2")
    else:
        words = np.atleast_1d(np.asarray(value, np.int64)) & 0xFFFF
    if len(words) == count:
        return words.astype(np.int64)
    if packed and len(words) == (count + 1) // 2:  # a byte an entry, low half first
        return words.astype("<u2").view(np.uint8)[:count].astype(np.int64)
    raise UnusableLut("another number of entries than the descriptor says")

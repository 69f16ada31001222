"""Objects as forms: made by highdicom once for a model, filled in for each film.

stand-in film -> highdicom -> [form]; film -> entries -> [form] -> sr, sc, gsps
Most of an object is the same for all films: codes, device, templates. To make and check it takes
highdicom a fifth of the time of a reading. So it is made of a film that does not exist and kept as
bytes, and a film's entries are put in where the other's stand.
"""

import re
from collections.abc import Sequence
from copy import deepcopy
from io import BytesIO
from itertools import chain
from typing import cast

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import Tag

from clients.dicom.film import Film
from clients.dicom.objects.common import encoded

KEPT = 64  # forms of a kind: shapes, models; 20 kB each
Entries = Sequence[bytes]  # what differs from film to film, each as :func:`entry` writes it

_Value = str | int | float | Sequence[int] | NDArray[np.float32]
_Element = tuple[RawDataElement, list[bytes], list[int]]  # with what is around its blanks


def nobody(sop_class: str, **elements: object) -> Film:
    """Give the film that does not exist, of a class of films, with elements of the header."""
    header = Dataset()
    header.Rows, header.Columns = 54_321, 54_320
    for keyword, value in elements.items():
        setattr(header, keyword, value)
    return Film(
        header=header,
        sop_class=sop_class,
        sop_instance="2.25.1000000000000000000000000000000000001",
        series="2.25.1000000000000000000000000000000000002",
        study="2.25.1000000000000000000000000000000000003",
    )


def entry(keyword: str, value: _Value) -> bytes:
    """Write an element as it stands in an object; an array holds the values of its VR."""
    tag = Tag(keyword)
    vr = dictionary_VR(tag)
    element: DataElement | RawDataElement = (
        RawDataElement(tag, vr, value.nbytes, value.tobytes(), 0, False, True)  # noqa: FBT003
        if isinstance(value, np.ndarray)
        else DataElement(tag, vr, value)
    )
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, False
    write_data_element(out, element)
    return out.getvalue()


class Form:
    """An object with blanks, each within a sequence.

    Parameters
    ----------
    made
        The object of the film that does not exist.
    entries
        What it holds of that film, all different.

    Raises
    ------
    ValueError
        If it does not hold one of them.
    """

    def __init__(self, made: Dataset, entries: Entries) -> None:
        opened = dcmread(BytesIO(encoded(made)))  # a copy: highdicom's codes are shared
        _leave_lengths_open(opened)
        read = dcmread(BytesIO(encoded(opened)))
        blank = re.compile(b"|".join(re.escape(one) for one in entries) or b"(?!)", re.DOTALL)
        self._meta = read.file_meta
        self._elements: list[_Element] = []
        for tag in read.keys():  # noqa: SIM118 - iterating over a data set parses its elements
            raw = cast("RawDataElement", read.get_item(tag))  # nothing has been parsed yet
            blanks = [entries.index(found) for found in blank.findall(raw.value or b"")]
            self._elements.append((raw, blank.split(raw.value or b""), blanks))
        if {number for *_, blanks in self._elements for number in blanks} != set(
            range(len(entries))
        ):
            raise ValueError("an entry stands nowhere in the form")

    def filled(self, entries: Entries) -> Dataset:
        """Make the object of a film.

        Parameters
        ----------
        entries
            The film's, in the order of those of the form.

        Returns
        -------
        pydicom.Dataset
            Its elements are parsed when they are asked for.
        """
        made = Dataset()
        made.file_meta = deepcopy(self._meta)
        for raw, parts, blanks in self._elements:
            made[raw.tag] = raw if not blanks else _filled(raw, parts, [entries[n] for n in blanks])
        return made


def _filled(raw: RawDataElement, parts: list[bytes], entries: Entries) -> RawDataElement:
    value = b"".join(chain.from_iterable(zip(parts, [*entries, b""], strict=True)))
    return raw._replace(value=value, length=len(value))


def _leave_lengths_open(dataset: Dataset) -> None:
    """Give sequences within sequences no stated length, which would change with the entries."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                _leave_lengths_open(item)
                for inner in item:
                    inner.is_undefined_length = inner.VR == "SQ"

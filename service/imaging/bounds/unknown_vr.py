"""Elements whose value representation (VR) the standard does not define.

bytes -> [known VR] -> bounded reading -> file structure
Software that does not know an element writes ``??``, blanks or NULs for its VR, and a length of 2
bytes. The standard gives every VR to come a length of 4 bytes (PS3.5 7.1.2). Where the next element
begins tells one from the other.
"""

import struct
from typing import Final, Literal

from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

ByteOrder = Literal["<", ">"]

SHORT_VRS: Final = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_16)
LONG_VRS: Final = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
KNOWN_VRS: Final = SHORT_VRS | LONG_VRS
PLACEHOLDERS: Final = frozenset({b"??", b"  "})
FIRST_TAG: Final = 0x00080000
SHORT_TEXT, UNKNOWN_BYTES = b"LO", b"UN"
ITEM_TAGS: Final = tuple(  # items and delimiters (PS3.5 7.5): no VR in any syntax
    struct.pack(f"{order}HH", 0xFFFE, element)
    for order in "<>"
    for element in (0xE000, 0xE00D, 0xE0DD)
)
# A VR that is no VR may be the length of an element that is written as in Implicit VR: taken for
# that where the length is one of a header's values.
IMPLICIT_LENGTH = 4096


def byte_order(syntax: UID) -> ByteOrder | None:
    """Byte order of a data set in which VRs are explicit; None where they are implicit."""
    if syntax == ImplicitVRLittleEndian:
        return None
    return ">" if syntax == ExplicitVRBigEndian else "<"


def known_vr(data: bytes, at: int, order: ByteOrder) -> bytes | None:
    """Return a known VR to read an element with, whose own is unknown; None where it has to stay.

    Parameters
    ----------
    data
        A data set in Explicit VR.
    at
        Where in it the element starts.
    order
        Byte order of ``data``.

    Returns
    -------
    bytes or None
        A VR with a length of 2 or 4 bytes: with that, the next element or the end of the data
        follows. As in other software, letters are expected to have the long form, everything else
        the short one; the other form is tried next. None where neither leads anywhere, where the
        element looks like one in Implicit VR, and where its VR is known.
    """
    head = data[at : at + 12]
    vr = head[4:6]
    if len(head) < 8 or vr in KNOWN_VRS or head[:4] in ITEM_TAGS:
        return None
    if struct.unpack(f"{order}L", head[4:8])[0] <= IMPLICIT_LENGTH:
        return None
    forms = [SHORT_TEXT, UNKNOWN_BYTES]
    for form in reversed(forms) if vr.isalpha() else forms:
        if form == UNKNOWN_BYTES and (head[6:8] != b"\0\0" or len(head) < 12):
            continue
        start, length = value_of(data, at, form, order)
        if _element_starts(data, start + length, head, order):
            return _short_vr(head, order) if form == SHORT_TEXT else form
    return None


def value_of(data: bytes, at: int, vr: bytes, order: ByteOrder) -> tuple[int, int]:
    """Return where the value of the element at ``at`` starts, and its length, if this is its VR."""
    if vr in LONG_VRS:
        length = data[at + 8 : at + 12]
        return at + 12, struct.unpack(f"{order}L", length)[0] if len(length) == 4 else 0
    if vr in SHORT_VRS or b"AA" <= vr <= b"ZZ":
        return at + 8, struct.unpack(f"{order}H", data[at + 6 : at + 8])[0]
    return at + 8, struct.unpack(f"{order}L", data[at + 4 : at + 8])[0]


def _element_starts(data: bytes, at: int, before: bytes, order: ByteOrder) -> bool:
    """Whether an element can follow here: a known VR, or a larger tag with an unknown one."""
    if at == len(data):
        return True
    head = data[at : at + 8]
    if len(head) < 8:
        return False
    if head[:4] in ITEM_TAGS:
        return True
    tag = _tag(head, order)
    if head[4:6] in KNOWN_VRS:
        return tag >= FIRST_TAG  # not every writer sorts
    return head[4:6] in PLACEHOLDERS | {before[4:6]} and tag > _tag(before, order)


def _short_vr(head: bytes, order: ByteOrder) -> bytes:
    """Return the element's VR by the dictionary where its length has 2 bytes."""
    try:
        vr = dictionary_VR(Tag(_tag(head, order))).encode()
    except KeyError:
        return SHORT_TEXT
    return vr if vr in SHORT_VRS else SHORT_TEXT


def _tag(head: bytes, order: ByteOrder) -> int:
    group, element = struct.unpack(f"{order}HH", head[:4])
    return int(group << 16 | element)

"""The codestream in the items of encapsulated Pixel Data.

bytes -> file structure -> [items] -> codestreams
One frame is declared, so every fragment belongs to it: offset tables, which writers get wrong, are
not needed, nor is a delimiter at the end of the file. Whether the codestream is whole, its decoder
finds out.

References
----------
DICOM PS3.5 A.4.
"""

import struct

from service.errors import CorruptImage, TruncatedImage

MAX_ITEMS = 20_000  # fragments of one frame; encoders write one, or one a few KiB
MAX_OFFSETS_BYTES = 65_536  # of the Basic Offset Table; one frame needs 4
ITEM = (0xFFFE, 0xE000)  # PS3.5 7.5
STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")  # JPEG, JPEG 2000, JP2


def codestream_of(value: memoryview, order: str = "<", length: int = 0) -> bytes:
    """Join the fragments of one frame.

    Parameters
    ----------
    value
        Of Pixel Data (7FE0,0010), from its first item on; it may go on behind the last one.
    order
        Of the bytes in tags and lengths, ``"<"`` or ``">"``.
    length
        Of the frame, where it is known: items that have it together hold no offset table.

    Raises
    ------
    CorruptImage
        If there is no fragment, or more of them than any encoder writes.
    TruncatedImage
        If the file ends within one.
    """
    items = _items(value, order)
    alone = len(items) == 1 or sum(map(len, items)) == length
    if items and not alone and not bytes(items[0][:8]).startswith(STARTS):
        if len(items[0]) > MAX_OFFSETS_BYTES:
            raise CorruptImage("the Basic Offset Table in Pixel Data (7FE0,0010) is too long.")
        items = items[1:]
    if not any(items):
        raise CorruptImage(
            "Pixel Data (7FE0,0010) is not a sequence of items with an image. Send it again."
        )
    return b"".join(items)


def _items(value: memoryview, order: str) -> list[memoryview]:
    items: list[memoryview] = []
    position = 0
    while position + 8 <= len(value):
        *tag, length = struct.unpack_from(f"{order}HHL", value, position)
        if tuple(tag) != ITEM:  # the delimiter, or what stands there instead
            break
        if len(items) == MAX_ITEMS:
            raise CorruptImage(f"Pixel Data (7FE0,0010) has more than {MAX_ITEMS:,} fragments.")
        position += 8
        if position + length > len(value):
            raise TruncatedImage(
                "Pixel Data (7FE0,0010) ends within an item. Send the complete file."
            )
        items.append(value[position : position + length])
        position += length
    return items

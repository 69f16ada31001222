"""Bounds on the chunks of a PNG before a decoder reads them one by one.

bytes -> [bounds] -> raster
"""

import struct
from collections import Counter

from service.errors import CorruptImage

MAX_CHUNKS = 1000  # besides the pixels; Pillow inflates a profile or text of up to 1 MiB for each
MAX_PIXEL_CHUNKS = 100_000  # 8 KiB each, as libpng writes them, would be 800 MiB


def check_png(data: bytes) -> None:
    """Count the chunks of a PNG, which Pillow reads one by one.

    Raises
    ------
    CorruptImage
        If there are more than any film needs.

    References
    ----------
    W3C PNG specification, 5.3 (chunk layout).
    """
    kinds: Counter[bytes] = Counter()
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">L4s", data, position)
        kinds[kind if kind in {b"IDAT", b"iCCP"} else b""] += 1
        if kinds[b""] > MAX_CHUNKS or kinds[b"IDAT"] > MAX_PIXEL_CHUNKS or kinds[b"iCCP"] > 1:
            raise CorruptImage("the PNG has too many chunks. Save it again.")
        position += 12 + length

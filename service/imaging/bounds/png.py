"""Bounds on the chunks of a PNG before a decoder reads them one by one.

bytes -> [bounds] -> raster
"""

import struct
from collections import Counter

from service.errors import CorruptImage

MAX_CHUNKS = 1000  # besides the pixels; Pillow inflates a profile or text of up to 1 MiB for each
MAX_OTHER_BYTES = 1 << 20  # in all of these: Pillow holds text twenty times while it reads it
MAX_PIXEL_CHUNKS = 100_000  # 8 KiB each, as libpng writes them, would be 800 MiB


def check_png(data: bytes) -> None:
    """Count the chunks of a PNG, which Pillow reads one by one and keeps, but for the pixels.

    Raises
    ------
    CorruptImage
        If there are more than any film needs.

    References
    ----------
    W3C PNG specification, 5.3 (chunk layout).
    """
    kinds: Counter[bytes] = Counter()
    position, other, ended = 8, 0, False
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">L4s", data, position)
        kinds[kind if kind in {b"IDAT", b"iCCP"} else b""] += 1
        if kinds[b""] > MAX_CHUNKS or kinds[b"IDAT"] > MAX_PIXEL_CHUNKS or kinds[b"iCCP"] > 1:
            raise CorruptImage("the PNG has too many chunks. Save it again.")
        ended = ended or kind == b"IEND"  # what may follow, nobody reads
        if kind != b"IDAT" and not ended:
            other += min(length, len(data) - position)
        if other > MAX_OTHER_BYTES:
            raise CorruptImage(
                f"the PNG has more than {MAX_OTHER_BYTES:,} bytes besides its pixels. Save it "
                "without text and profiles."
            )
        position += 12 + length

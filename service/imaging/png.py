"""Write and inflate PNG, fast.

Most of drawing a heatmap is compressing it. Pillow tries every filter on every row and takes 48 ms
for a film of 1024 x 1024 in colour; one filter for all rows and Intel's deflate take 5.5 ms for a
file of the same size. Most of reading a PNG is inflating it: by ISA-L, Intel's again, and Pillow
for the rest, reading takes half as long as by Pillow alone (benchmarks/decode.py).
"""

import struct

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LEVEL = 1
SUB = 1  # filter: each byte less that of the pixel to the left
COLOUR_TYPES = {1: 0, 3: 2}  # channels -> grey, RGB
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> channels (PNG specification, table 11.1)
ZLIB_HEADER = b"\x78\x01"  # RFC 1950, 2.2
STORED = 65_535  # bytes of a stored block at most (RFC 1951, 3.2.4)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a picture.

    Parameters
    ----------
    pixels
        Shape (H, W), grey, or (H, W, 3), RGB.

    References
    ----------
    W3C PNG specification, 5 (chunks), 9 (filtering) and 11.2 (IHDR, IDAT, IEND).
    """
    rows, columns = pixels.shape[:2]
    channels = pixels.size // (rows * columns)
    flat = pixels.reshape(rows, columns * channels)
    filtered = np.empty((rows, 1 + columns * channels), np.uint8)
    filtered[:, 0] = SUB
    filtered[:, 1 : 1 + channels] = flat[:, :channels]
    np.subtract(flat[:, channels:], flat[:, :-channels], out=filtered[:, 1 + channels :])
    header = struct.pack(">IIBBBBB", columns, rows, 8, COLOUR_TYPES[channels], 0, 0, 0)
    return b"".join(
        (
            SIGNATURE,
            *_chunk(b"IHDR", header),
            *_chunk(b"IDAT", isal_zlib.compress(filtered, LEVEL)),
            *_chunk(b"IEND", b""),
        )
    )


def inflated(data: bytes) -> bytes:
    """Store the pixels of a PNG uncompressed, and all else as it is.

    Parameters
    ----------
    data
        A PNG file, whose size has been checked: its pixels are held in memory.

    Returns
    -------
    bytes
        A PNG that decodes to the same image. The file itself where its pixels are interlaced, or
        where anything is wrong with them: what, the decoder says better.

    References
    ----------
    W3C PNG specification, 5 (chunks), 7.2 (scanlines); RFC 1950; RFC 1951, 3.2.4 (stored blocks).
    """
    if len(data) < 33 or data[12:16] != b"IHDR":
        return data
    columns, rows, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    found = _pixel_chunks(data)
    if found is None or interlaced or colour not in CHANNELS:
        return data
    start, end, compressed = found
    expected = rows * (1 + (columns * CHANNELS[colour] * depth + 7) // 8)
    inflator = isal_zlib.decompressobj()
    try:
        lines = inflator.decompress(compressed, expected + 1)
    except isal_zlib.error:  # type: ignore[misc]  # its stub takes the class for an instance
        return data
    if len(lines) != expected or not inflator.eof:
        return data
    return b"".join((data[:start], *_chunk(b"IDAT", _stored(lines)), data[end:]))


def _pixel_chunks(data: bytes) -> tuple[int, int, bytes] | None:
    """Where the IDAT chunks begin and end, and what they hold; None unless they are in one run."""
    view, parts = memoryview(data), list[memoryview]()
    position, start, end = len(SIGNATURE), 0, 0
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        after = position + 12 + length
        if kind == b"IDAT":
            if after > len(data) or (parts and position != end):
                return None
            start, end = start or position, after
            parts.append(view[position + 8 : after - 4])
        position = after
    return (start, end, b"".join(parts)) if parts else None


def _stored(content: bytes) -> bytes:
    """A zlib stream of blocks that are not compressed."""
    view, parts = memoryview(content), list[bytes | memoryview]((ZLIB_HEADER,))
    for start in range(0, len(content), STORED):
        block = view[start : start + STORED]
        last = start + STORED >= len(content)
        parts += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    return b"".join((*parts, struct.pack(">I", isal_zlib.adler32(content))))


def _chunk(kind: bytes, content: bytes) -> tuple[bytes, ...]:
    check = isal_zlib.crc32(content, isal_zlib.crc32(kind))
    return struct.pack(">I", len(content)), kind, content, struct.pack(">I", check)

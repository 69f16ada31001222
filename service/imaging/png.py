"""Write and inflate PNG, fast.

Most of drawing a heatmap is compressing it. Pillow tries every filter on every row and takes 48 ms
for a film of 1024 x 1024 in colour; one filter for all rows and Intel's deflate take 5.5 ms for a
file of the same size. Most of reading a PNG is inflating it: by ISA-L, Intel's again, and Pillow
for the rest, reading takes half as long as by Pillow alone (benchmarks/decode.py).
"""

import struct
from collections.abc import Iterable, Iterator

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image

from service.errors import CorruptImage, TruncatedImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"  # PNG specification (W3C), 5.2
LEVEL = 1
SUB = 1  # filter: each byte less that of the pixel to the left
COLOUR_TYPES = {1: 0, 3: 2}  # channels -> grey, RGB
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> channels (PNG specification, table 11.1)
# Interlaced: first row and column of each pass, and the distance of its rows and columns.
PASSES = (
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4),
    (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
)  # fmt: skip
ZLIB_HEADER = b"\x78\x01"  # RFC 1950, 2.2
Part = bytes | memoryview
STORED = 65_535  # bytes of a stored block at most (RFC 1951, 3.2.4)


def png(blocks: Iterable[NDArray[np.uint8]], rows: int) -> bytes:
    """Encode a picture that comes in blocks of rows: nobody has to hold it as a whole.

    Parameters
    ----------
    blocks
        Each of shape (h, W), grey, or (h, W, 4), RGB and a byte that is left out.
    rows
        Of all blocks together.

    References
    ----------
    W3C PNG specification, 5 (chunks), 9 (filtering) and 11.2 (IHDR, IDAT, IEND).
    """
    filtered, row = np.empty((rows, 0), np.uint8), 0
    for block in blocks:
        lines = _filtered(block)
        if row == 0:
            columns, channels = block.shape[1], lines.shape[1] // block.shape[1]
            filtered = np.empty((rows, 1 + lines.shape[1]), np.uint8)
            filtered[:, 0] = SUB
        filtered[row : row + len(lines), 1:] = lines
        row += len(lines)
    header = struct.pack(">IIBBBBB", columns, rows, 8, COLOUR_TYPES[channels], 0, 0, 0)
    pixels = isal_zlib.compress(filtered, LEVEL)
    del filtered
    return b"".join(
        (SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", pixels), *_chunk(b"IEND"))
    )


def _filtered(block: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each byte less that of the pixel to the left, shape (h, W) or (h, 3 W)."""
    rows, columns = block.shape[:2]
    flat = block.reshape(rows, -1)
    pixel = flat.shape[1] // columns
    less = np.empty_like(flat)
    less[:, :pixel] = flat[:, :pixel]
    np.subtract(flat[:, pixel:], flat[:, :-pixel], out=less[:, pixel:])
    if pixel == 1:
        return less
    packed = Image.frombuffer("RGBX", (columns, rows), less, "raw", "RGBX", 0, 1)
    return np.frombuffer(packed.tobytes("raw", "RGB"), np.uint8).reshape(rows, 3 * columns)


def inflated(data: bytes) -> bytes:
    """Store the pixels of a PNG uncompressed, and all else as it is.

    Parameters
    ----------
    data
        A PNG file, whose size has been checked: its pixels are held in memory.

    Returns
    -------
    bytes
        A PNG that decodes to the same image. The file itself where something is wrong that every
        decoder finds: what, that one says better.

    Raises
    ------
    TruncatedImage
        If there are fewer scanlines than the header says: decoders leave the rest black.
    CorruptImage
        If there are more, if a chunk of pixels is damaged, or not with the others.

    References
    ----------
    W3C PNG specification, 5 (chunks), 7.2 (scanlines), 8 (interlacing); RFC 1950; RFC 1951, 3.2.4
    (stored blocks).
    """
    if len(data) < 33 or data[12:16] != b"IHDR":
        return data
    columns, rows, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    found = _pixel_chunks(data)
    if found is None or colour not in CHANNELS:
        return data
    start, end, compressed = found
    expected = _scanline_bytes(rows, columns, CHANNELS[colour] * depth, interlaced=interlaced == 1)
    inflator = isal_zlib.decompressobj()
    try:
        lines = inflator.decompress(compressed, expected + 1)
    except isal_zlib.error:  # type: ignore[misc]  # its stub takes the class for an instance
        return data
    if len(lines) > expected:
        raise CorruptImage("the PNG holds more scanlines than its header says. Save it again.")
    if len(lines) < expected or not inflator.eof:
        raise TruncatedImage("the PNG holds fewer scanlines than its header says. Send all of it.")
    view = memoryview(data)
    return b"".join((view[:start], *_chunk(b"IDAT", *_stored(lines)), view[end:]))


def _scanline_bytes(rows: int, columns: int, bits: int, *, interlaced: bool) -> int:
    """Length of all scanlines with their filter bytes; ``bits`` are those of a pixel."""
    total = 0
    for top, left, down, across in PASSES if interlaced else ((0, 0, 1, 1),):
        height, width = -((top - rows) // down), -((left - columns) // across)
        if height > 0 and width > 0:
            total += height * (1 + (width * bits + 7) // 8)
    return total


def _pixel_chunks(data: bytes) -> tuple[int, int, bytes] | None:
    """Where the IDAT chunks begin and end, and their content; None where one is cut or none is."""
    view, parts = memoryview(data), list[memoryview]()
    position, start, end = len(SIGNATURE), 0, 0
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        after = position + 12 + length
        if kind == b"IDAT":
            if after > len(data):
                return None
            if parts and position != end:
                raise CorruptImage("the PNG's pixels are in several places. Save it again.")
            if isal_zlib.crc32(view[position + 4 : after - 4]) != int.from_bytes(
                view[after - 4 : after]
            ):
                raise CorruptImage("the PNG's pixels are damaged (CRC). Send it again.")
            start, end = start or position, after
            parts.append(view[position + 8 : after - 4])
        position = after
    return (start, end, b"".join(parts)) if parts else None


def _stored(content: bytes) -> Iterator[Part]:
    """A zlib stream of blocks that are not compressed, in parts: no copy of the content."""
    view = memoryview(content)
    yield ZLIB_HEADER
    for start in range(0, len(content), STORED):
        block = view[start : start + STORED]
        last = start + STORED >= len(content)
        yield struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF)
        yield block
    yield struct.pack(">I", isal_zlib.adler32(content))


def _chunk(kind: bytes, *content: Part) -> Iterator[Part]:
    check = isal_zlib.crc32(kind)
    for part in content:
        check = isal_zlib.crc32(part, check)
    yield struct.pack(">I", sum(map(len, content)))
    yield kind
    yield from content
    yield struct.pack(">I", check)

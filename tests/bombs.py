"""Files whose bytes ask for far more work or memory than an image does.

BOMBS["empty items"](1 << 20)     a DICOM file of about 1 MiB; service.imaging refuses it
"""

import struct
import zlib
from collections.abc import Callable

import numpy as np
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    JPEGLosslessSV1,
)

from tests.encoders import chunk, jpeg_lossless_bytes, segment
from tests.factories import (
    chest,
    dicom_bytes,
    jpeg_bytes,
    png_bytes,
)

ITEM = b"\xfe\xff\x00\xe0"
EMPTY_ITEM = ITEM + bytes(4)
OPEN_ITEM = ITEM + b"\xff\xff\xff\xff"
SEQUENCE_END = b"\xfe\xff\xdd\xe0" + bytes(4)
PRIVATE_SEQUENCE = struct.pack("<HH", 0x0019, 0x1001) + b"SQ\0\0"
OPEN_SEQUENCE = PRIVATE_SEQUENCE + b"\xff\xff\xff\xff"
SAMPLES_PER_PIXEL = b"\x28\x00\x02\x00US"
PIXEL_DATA = b"\xe0\x7f\x10\x00O"


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    """One data element, explicit VR, little endian."""
    head = struct.pack("<HH", group, number) + vr
    if vr in {b"OB", b"OW", b"SQ", b"OV", b"UN", b"UT"}:
        return head + struct.pack("<2xL", len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def with_elements(elements: bytes, before: bytes = SAMPLES_PER_PIXEL) -> bytes:
    """An honest DICOM file with these bytes among its elements."""
    data = dicom_bytes()
    place = data.index(before)
    return data[:place] + elements + data[place:]


def with_items(items: bytes) -> bytes:
    """An encapsulated DICOM file whose Pixel Data starts with these bytes."""
    data = dicom_bytes(transfer_syntax=JPEGLosslessSV1)
    place = data.index(PIXEL_DATA) + 12
    return data[:place] + items + data[place + 12 :]  # 12: the Basic Offset Table of one frame


def with_chunks(chunks: bytes) -> bytes:
    """An honest PNG with these chunks after its header."""
    data = png_bytes()
    return data[:33] + chunks + data[33:]


def with_segments(segments: bytes) -> bytes:
    """An honest JPEG with these bytes after SOI."""
    data = jpeg_bytes()
    return data[:2] + segments + data[2:]


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = jpeg_bytes(chest(64, 64, bits=8), progressive=True)
    tables = data.rindex(b"\xff\xc4")
    return data[:-2] + data[tables:-2] * count + data[-2:]


def j2k(
    side: int, *, tile: int = 0, layers: int = 1, levels: int = 0, block: int = 4, precinct: int = 0
) -> bytes:
    """A DICOM file of a JPEG 2000 image without a single bit of content.

    ``block`` is the exponent of a code-block's side less 2, ``precinct`` both of a precinct's (0
    is the whole image).
    """
    tile = tile or side
    size = struct.pack(">H8LH3B", 0, side, side, 0, 0, tile, tile, 0, 0, 1, 7, 1, 1)
    style = struct.pack(">BBHB5B", precinct > 0, 0, layers, 0, levels, block, block, 0, 1)
    if precinct:
        style += bytes([precinct * 0x11]) * (levels + 1)
    quantisation = b"\x40" + b"\x40" * (3 * levels + 1)
    tile_part = struct.pack(">BBHHLBB", 0xFF, 0x90, 10, 0, 78, 0, 1) + b"\xff\x93" + bytes(64)
    head = b"".join(
        segment(kind, content)
        for kind, content in [(0x51, size), (0x52, style), (0x5C, quantisation)]
    )
    return dicom_bytes(
        np.zeros((8, 8), np.uint8),
        transfer_syntax=JPEG2000,
        codestream=b"\xff\x4f" + head + tile_part + b"\xff\xd9",
        Rows=side,
        Columns=side,
    )


def exif(length: int) -> bytes:
    """Exif data of many entries that all point at the same bytes."""
    entries = min(60_000, length // 24)
    head = b"MM\0*\0\0\0\x08" + struct.pack(">H", entries)
    entry = struct.pack(">HHLL", 0x9000, 7, length // 2, 8)
    return (head + entry * entries).ljust(length, b"\0")


def deflated(plain: bytes) -> bytes:
    """A deflated DICOM file that holds these bytes instead of a data set."""
    data = dicom_bytes(transfer_syntax=DeflatedExplicitVRLittleEndian)
    (length,) = struct.unpack("<L", data[140:144])
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return data[: 144 + length] + deflater.compress(plain) + deflater.flush()


def lossless(between: bytes) -> bytes:
    """A DICOM file in JPEG Lossless with these bytes after SOI."""
    code = jpeg_lossless_bytes(chest())
    return dicom_bytes(transfer_syntax=JPEGLosslessSV1, codestream=code[:2] + between + code[2:])


def huge_png(side: int) -> bytes:
    """A PNG header of side x side pixels, and few of them."""
    head = struct.pack(">LLBBBBB", side, side, 16, 0, 0, 0, 0)
    return png_bytes()[:8] + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))


def huge_jpeg(side: int) -> bytes:
    """A JPEG header of side x side pixels, and few of them."""
    data = bytearray(jpeg_bytes())
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", side, side)
    return bytes(data)


INFLATED = zlib.compress(bytes(1_000_000), 9)

# Each takes about how many bytes it may have; the bounds of service.imaging refuse it.
BOMBS: dict[str, Callable[[int], bytes]] = {
    "empty items": lambda n: with_elements(OPEN_SEQUENCE + EMPTY_ITEM * (n // 8) + SEQUENCE_END),
    "empty items of a lookup table": lambda n: with_elements(
        element(0x0028, 0x3010, b"SQ", EMPTY_ITEM * (n // 8)), PIXEL_DATA
    ),
    "lookup table descriptor": lambda n: with_elements(
        element(0x0028, 0x3010, b"SQ", _item(element(0x0028, 0x3002, b"UN", bytes(n)))), PIXEL_DATA
    ),
    "character sets": lambda n: with_elements(
        element(0x0008, 0x0005, b"UT", b"\\" * n), b"\x08\x00\x16\x00"
    ),
    "nested character sets": lambda n: with_elements(
        OPEN_SEQUENCE + _item(element(0x0008, 0x0005, b"UT", b"\\" * n)) + SEQUENCE_END
    ),
    "values of a window": lambda n: with_elements(
        element(0x0028, 0x1050, b"UT", b"\\" * n), PIXEL_DATA
    ),
    "elements of file meta": lambda n: with_elements(
        element(0x0002, 0x0099, b"SH", b"") * (n // 8), b"\x08\x00\x16\x00"
    ),
    "elements": lambda n: with_elements(element(0x0019, 0x1001, b"LO", b"") * (n // 8)),
    "nested sequences": lambda n: with_elements((OPEN_SEQUENCE + OPEN_ITEM) * (n // 20)),
    "fragments": lambda n: with_items(EMPTY_ITEM * (n // 8)),
    "offsets": lambda n: with_items(ITEM + struct.pack("<L", n // 4 * 4) + bytes(n // 4 * 4)),
    "deflated data set": lambda n: deflated(bytes(40 * n)),
    "fill bytes in a codestream": lambda n: lossless(b"\xff" * n),
    "segments in a codestream": lambda n: lossless(segment(0xE5, b"") * (n // 4)),
    "text chunks": lambda n: with_chunks(
        chunk(b"zTXt", b"k\0\0" + INFLATED) * (n // len(INFLATED) + 1)
    ),
    "profiles": lambda n: with_chunks(
        chunk(b"iCCP", b"k\0\0" + INFLATED) * (n // len(INFLATED) + 1)
    ),
    "private chunks": lambda n: with_chunks(chunk(b"prVt", b"") * (n // 12)),
    "pixel chunks": lambda n: with_chunks(chunk(b"IDAT", b"") * (n // 12)),
    "Exif of a PNG": lambda n: with_chunks(chunk(b"eXIf", exif(n))),
    "Exif of a JPEG": lambda n: with_segments(
        b"".join(segment(0xE1, b"Exif\0\0" + exif(n)[i : i + 60_000]) for i in range(0, n, 60_000))
    ),
    "segments": lambda n: with_segments(segment(0xE5, b"") * (n // 4)),
    "fill bytes": lambda n: with_segments(b"\xff" * n),
    "bytes between segments": lambda n: with_segments(segment(0xE5, b"") + b"\x01" * n),
    "hidden segments": lambda n: with_segments(
        segment(0xF5, segment(0xE5, b"") * 100) * (n // 404)
    ),
    "scans": lambda _: scans(500),
    "tiles": lambda _: j2k(6000, tile=25),
    "precincts": lambda _: j2k(6000, precinct=1),
    "packets": lambda _: j2k(6000, layers=65_535, levels=5, precinct=7),
    "code-blocks": lambda _: j2k(6000, block=0),
    "60,000 x 60,000, DICOM": lambda _: dicom_bytes(Rows=60_000, Columns=60_000),
    "60,000 x 60,000, PNG": lambda _: huge_png(60_000),
    "60,000 x 60,000, JPEG": lambda _: huge_jpeg(60_000),
}


def _item(content: bytes) -> bytes:
    return ITEM + struct.pack("<L", len(content)) + content

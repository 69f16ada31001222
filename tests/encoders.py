"""Encoders of what no package at hand writes: JPEG Lossless, JPEG of 12 bits, any layout of PNG.

    jpeg_lossless_bytes(pixels, predictor=4, point_transform=2)
    jpeg_extended_bytes(pixels, precision=12)
    png_file(pixels, interlaced=True)

Simple rather than small: Huffman codes of one length, PNG rows without a filter.
"""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
Integers = NDArray[np.int64]

ADAM7 = (  # first row, first column, and their steps (W3C PNG specification, 8.2)
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4),
    (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
)  # fmt: skip
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> grey, grey alpha, RGB, RGBA


def jpeg_lossless_bytes(
    pixels: Pixels,
    *,
    precision: int | None = None,
    predictor: int = 1,
    point_transform: int = 0,
    modulo: int = 16,
) -> bytes:
    """Write a JPEG Lossless codestream, process 14; pydicom has no encoder of it.

    One Huffman table whose 17 codes all have 5 bits.

    Parameters
    ----------
    pixels
        (H, W) uint8 or uint16.
    precision
        Bits of a sample; those of the type by default.
    predictor
        Selection value, 1 to 7.
    point_transform
        Low bits that are left out.
    modulo
        Exponent of the modulus of differences: the standard's 16, or the precision as some
        encoders take it.

    References
    ----------
    ITU-T T.81, annex H.
    """
    rows, columns = pixels.shape
    precision = precision or pixels.dtype.itemsize * 8
    values = pixels.astype(np.int64) >> point_transform
    predicted = _predicted(values, predictor)
    predicted[0, 0] = 1 << (precision - point_transform - 1)
    half = 1 << (modulo - 1)
    difference = ((values - predicted + half - 1) % (2 * half) - half + 1).ravel()
    category = _size(difference)  # 0 to 16
    extra_bits = np.where(category == 16, 0, category)
    code = (category << extra_bits) | _extra(difference, extra_bits)
    table = bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xC3, struct.pack(">BHHB3B", precision, rows, columns, 1, 1, 0x11, 0)),
            segment(0xC4, table),
            segment(0xDA, bytes([1, 1, 0, predictor, 0, point_transform])),
            _scan(code, extra_bits + 5),
            b"\xff\xd9",
        ]
    )


def _predicted(values: Integers, predictor: int) -> Integers:
    """Predict from the left, above and above left (ITU-T T.81, table H.1)."""
    left, above, corner = values[1:, :-1], values[:-1, 1:], values[:-1, :-1]
    inner = {
        1: left,
        2: above,
        3: corner,
        4: left + above - corner,
        5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1),
        7: (left + above) >> 1,
    }[predictor]
    predicted = np.empty_like(values)
    predicted[0, 1:] = values[0, :-1]  # the first row from the left, the first column from above
    predicted[1:, 0] = values[:-1, 0]
    predicted[1:, 1:] = inner
    return predicted


def jpeg_extended_bytes(pixels: Pixels, *, precision: int = 12, step: int = 1) -> bytes:
    """Write a sequential DCT JPEG of 8 or 12 bits; Pillow writes 8 alone.

    Parameters
    ----------
    pixels
        (H, W) of unsigned integers, H and W multiples of 8.
    precision
        8 or 12 bits of a sample.
    step
        Of quantisation, for all coefficients: 1 keeps each pixel within about 1.

    References
    ----------
    ITU-T T.81, annexes A, B and F; SOF1.
    """
    rows, columns = pixels.shape
    codes, lengths = _dct_codes(_coefficients(pixels - 2.0 ** (precision - 1), step))
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xDB, bytes([0, *[step] * 64])),
            segment(0xC1, struct.pack(">BHHB3B", precision, rows, columns, 1, 1, 0x11, 0)),
            segment(0xC4, bytes([0, 0, 0, 0, 0, 16, *[0] * 11, *range(16)])),
            segment(0xC4, bytes([0x10, *[0] * 7, len(_AC_SYMBOLS), *[0] * 8, *_AC_SYMBOLS])),
            segment(0xDA, bytes([1, 1, 0, 0, 63, 0])),
            _scan(codes, lengths),
            b"\xff\xd9",
        ]
    )


# End of block, a run of 16 zeros, and each run of 0 to 15 zeros before a value of 1 to 14 bits.
_AC_SYMBOLS = [0, 0xF0, *(run * 16 + size for run in range(16) for size in range(1, 15))]
_AC_CODES = np.zeros(256, np.int64)
_AC_CODES[_AC_SYMBOLS] = np.arange(len(_AC_SYMBOLS))


def _dct_codes(blocks: Integers) -> tuple[Integers, Integers]:
    """Codes and their lengths in the order of the scan (ITU-T T.81, F.1.2)."""
    first = np.diff(blocks[:, 0], prepend=0)
    size = _size(first)
    dc = np.arange(len(blocks)) * 64.0, (size << size) | _extra(first, size), size + 5
    block, place = np.nonzero(blocks[:, 1:])
    previous = np.where(np.diff(block, prepend=-1) > 0, -1, np.roll(place, 1))
    run, values = place - previous - 1, blocks[block, place + 1]
    size, at = _size(values), block * 64.0 + place + 1
    codes = (_AC_CODES[(run % 16) * 16 + size] << size) | _extra(values, size)
    unfinished = np.flatnonzero(blocks[:, 63] == 0) * 64.0 + 63.5
    parts = [
        dc,
        (at, codes, size + 8),
        *(_plain(0xF0, at[run // 16 > times] - 0.25) for times in range(3)),
        _plain(0, unfinished),
    ]
    order = np.argsort(np.concatenate([places for places, _, _ in parts]), kind="stable")
    return (
        np.concatenate([codes for _, codes, _ in parts])[order],
        np.concatenate([lengths for _, _, lengths in parts])[order],
    )


def _plain(symbol: int, places: NDArray[Any]) -> tuple[NDArray[Any], Integers, Integers]:
    """A symbol without further bits at each place."""
    count = len(places)
    return places, np.full(count, _AC_CODES[symbol]), np.full(count, 8, np.int64)


def _size(values: Integers) -> Integers:
    """Number of bits of each value."""
    return np.asarray(np.frexp(np.abs(values))[1].astype(np.int64))


def _coefficients(pixels: NDArray[np.float64], step: int) -> Integers:
    """Quantised DCT coefficients of each block in zigzag order, shape (blocks, 64)."""
    k = np.arange(8)
    basis = np.cos((2 * k + 1) * k[:, np.newaxis] * np.pi / 16) / 2
    basis[0] /= np.sqrt(2)
    rows, columns = pixels.shape
    blocks = pixels.reshape(rows // 8, 8, columns // 8, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    zigzag = sorted(
        range(64), key=lambda i: (i // 8 + i % 8, i % 8 if (i // 8 + i % 8) % 2 == 0 else i // 8)
    )
    quantised = np.rint(basis @ blocks @ basis.T / step).astype(np.int64)
    return np.asarray(quantised.reshape(-1, 64)[:, zigzag])


def _extra(values: Integers, size: Integers) -> Integers:
    """The bits that follow a category (ITU-T T.81, F.1.2.1)."""
    return np.asarray(np.where(values < 0, values - 1, values) & ((1 << size) - 1))


def _scan(codes: Integers, lengths: Integers) -> bytes:
    """Join codes to bytes, filled up with ones and stuffed (ITU-T T.81, F.1.2.3)."""
    places = np.arange(lengths.max())
    bits = (codes[:, np.newaxis] >> np.maximum(lengths[:, np.newaxis] - 1 - places, 0)) & 1
    stream = bits[places < lengths[:, np.newaxis]].astype(np.uint8)
    scan = np.packbits(np.append(stream, np.ones(-stream.size % 8, np.uint8))).tobytes()
    return scan.replace(b"\xff", b"\xff\x00")


def segment(kind: int, content: bytes) -> bytes:
    """One marker segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, kind, len(content) + 2) + content


def png_file(
    pixels: Pixels,
    *,
    palette: Pixels | None = None,
    interlaced: bool = False,
    chunks: bytes = b"",
    idat: int | None = None,
) -> bytes:
    """Write a PNG in a layout that Pillow does not write.

    Parameters
    ----------
    pixels
        (H, W), (H, W, 2) LA, (H, W, 3) RGB or (H, W, 4) RGBA; uint8 or uint16.
    palette
        (entries, 3) uint8: ``pixels`` are its indices.
    interlaced
        Adam7.
    chunks
        Ready chunks between header and pixels.
    idat
        Bytes an IDAT chunk, all in one by default.
    """
    rows, columns = pixels.shape[:2]
    image = pixels.reshape(rows, columns, -1)
    colour = COLOUR_TYPES[image.shape[2]] if palette is None else 3
    depth = pixels.dtype.itemsize * 8
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    lines = b"".join(
        b"\0" + line.astype(line.dtype.newbyteorder(">")).tobytes()
        for top, left, down, right in passes
        for line in image[top::down, left::right]
    )
    packed = zlib.compress(lines, 1)
    step = idat or len(packed)
    header = struct.pack(">LLBBBBB", columns, rows, depth, colour, 0, 0, interlaced)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunks,
            b"" if palette is None else chunk(b"PLTE", palette.astype(np.uint8).tobytes()),
            *(chunk(b"IDAT", packed[i : i + step]) for i in range(0, len(packed), step)),
            chunk(b"IEND", b""),
        ]
    )


def chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG."""
    check = zlib.crc32(kind + content)
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", check)

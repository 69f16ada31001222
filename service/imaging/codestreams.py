"""Decode one compressed frame: whole, or not at all.

items -> [codestreams] -> stored values
A decoder that runs out of data paints the rest grey and at most warns. Such a picture would be read
like any other, so here a stream that is short, or longer than its picture, is an error. Decoders
were chosen by correctness first, then by speed (benchmarks/decode.py).
"""

import logging
import re
from itertools import islice
from typing import Any, Final, NamedTuple

import imagecodecs
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from pydicom.uid import (
    JPEG2000MC,
    UID,
    JPEG2000MCLossless,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from service.errors import CorruptImage, MultipleFrames, TruncatedImage
from service.imaging.bounds.jpeg import (
    END_MARKER,
    Frame,
    check_jpeg,
    colours_of,
    frame_of,
    missing_parts,
)
from service.imaging.bounds.jpeg2000 import check_jpeg2000

logging.getLogger("imagecodecs").setLevel(logging.CRITICAL)

Samples = NDArray[Any]  # uint8, uint16 or int16; (H, W) or (H, W, 3)

JPEG: Final = frozenset(JPEGTransferSyntaxes)
JPEG_LS: Final = frozenset(JPEGLSTransferSyntaxes)
JPEG_2000: Final = frozenset(JPEG2000TransferSyntaxes) - {JPEG2000MC, JPEG2000MCLossless}

TEXTURE = bytes(range(1, 17))  # where a stream holds none
NO_MARKER = re.compile(rb"[^\xff]{16}")
VARIED = 12  # different bytes in a piece that is not of a constant part of the picture
PIECES = 4  # one may decode to what is there: codes begin in the middle of its bytes
TAIL = 4  # bytes that encoders may leave between the last pixel and the end marker
BEYOND = "The lossless JPEG leaves its precision: some encoders write it so, or it is damaged."
ZEROED = "The JPEG 2000 codestream holds a long run of zeros: a part of it may be lost."
ZEROS = bytes(16)  # arithmetic coding does not write as many
START_OF_DATA = b"\xff\x93"  # of a tile-part (ITU-T T.800 A.4.3)
J2K_START = b"\xff\x4f\xff\x51"  # SOC, SIZ (ITU-T T.800 A.4.1, A.5.1)


class Codestream(NamedTuple):
    """What a codestream itself says it holds."""

    rows: int
    columns: int
    samples: int
    precision: int  # bits
    signed: bool = False
    colours: str | None = None  # Photometric Interpretation, where the stream tells


def read_header(stream: bytes, syntax: UID) -> Codestream:
    """Check the structure of a codestream, and read its size, before a decoder allocates for it.

    Raises
    ------
    TruncatedImage
        If it has no end marker, or less than its own parts announce.
    MultipleFrames
        If there is another image behind it.
    CorruptImage
        If there is no size in it, or taking it apart would cost far more than an image does.
    """
    if syntax in JPEG_2000:
        header = _jpeg2000_header(stream)
    else:
        check_jpeg(stream, jpeg_ls=syntax in JPEG_LS)
        frame = frame_of(stream)
        told = frame.components == 3 and not frame.lossless and syntax in JPEG
        header = Codestream(
            rows=frame.rows,
            columns=frame.columns,
            samples=frame.components,
            precision=frame.precision,
            colours=colours_of(stream) if told else None,  # lossless ones are RGB, also in JFIF
        )
    if not stream.endswith(END_MARKER):
        raise TruncatedImage("the codestream has no end marker. Send the complete file.")
    if END_MARKER + b"\xff\xd8\xff" in stream:
        raise MultipleFrames("Pixel Data (7FE0,0010) holds several images. Send a single one.")
    return header


def decode_codestream(stream: bytes, syntax: UID) -> tuple[Samples, tuple[str, ...]]:
    """Decode a codestream for which :func:`read_header` passed.

    Returns
    -------
    pixels
        Shape (H, W) or (H, W, 3): the components as stored, colours not converted; of JPEG 2000
        the inverse of the codestream's own colour transformation.
    warnings
        What may be a sign of damage.

    Raises
    ------
    TruncatedImage
        If the stream ends before its picture does.
    CorruptImage
        If it goes on behind its picture, or the decoder rejects it.
    """
    if syntax in JPEG_2000:
        view = memoryview(stream)[stream.find(J2K_START) :]
        pixels = _by_imagecodecs(imagecodecs.jpeg2k_decode, view)
        zeroed = stream.find(ZEROS, stream.find(START_OF_DATA)) >= 0
        return pixels, (ZEROED,) if zeroed else ()
    if syntax in JPEG_LS:
        return _by_imagecodecs(imagecodecs.jpegls_decode, stream), ()
    frame = frame_of(stream)
    if frame.precision == 8 and frame.components == 1 and not frame.lossless:
        return decode_jpeg(stream, "GRAY")[..., 0], ()
    pixels = _probed(stream, frame)
    if not frame.lossless:
        return pixels, ()
    # Predictions add up modulo 2^16 (ITU-T T.81 H.1.2.1); some encoders subtract modulo 2^P.
    reduced: Samples = pixels & pixels.dtype.type((1 << frame.precision) - 1)
    return reduced, () if np.array_equal(reduced, pixels) else (BEYOND,)


def decode_jpeg(stream: bytes, colours: str) -> NDArray[np.uint8]:
    """Decode a JPEG of 8 bits, lossless ones excepted.

    Parameters
    ----------
    stream
        For which :func:`service.imaging.bounds.jpeg.check_jpeg` passed.
    colours
        ``"GRAY"`` or ``"RGB"``, as libjpeg converts to them.

    Returns
    -------
    numpy.ndarray
        uint8 (H, W, 1) or (H, W, 3).

    Raises
    ------
    TruncatedImage, CorruptImage
        Also of what libjpeg only warns of: it goes on with a picture that is not the one stored.
    """
    _check_parts(stream)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            stream, colorspace=colours, fastdct=False, fastupsample=False, strict=True
        )
    except (ValueError, RuntimeError) as error:
        if "remature end" in str(error):
            raise TruncatedImage("the JPEG ends before its picture does. Send it again.") from None
        raise CorruptImage("the JPEG is damaged. Send it again.") from None
    return pixels


def decode_png(data: bytes) -> NDArray[np.uint16]:
    """Decode a PNG of 16 bits whose scanlines were counted; uint16 (H, W) or (H, W, 2 to 4)."""
    pixels: NDArray[np.uint16] = _by_imagecodecs(imagecodecs.png_decode, data)
    return pixels


def check_whole(stream: bytes) -> None:
    """Raise TruncatedImage or CorruptImage where a JPEG is not whole, whatever its colours."""
    end = stream.rfind(END_MARKER)
    if end < 0:
        raise TruncatedImage("the JPEG has no end marker. Send the complete file.")
    _probed(stream[: end + len(END_MARKER)], frame_of(stream))


def _check_parts(stream: bytes) -> None:
    missing = missing_parts(stream)
    if missing:
        raise TruncatedImage(f"the JPEG lacks {missing}. Send the complete file.")


def _probed(stream: bytes, frame: Frame) -> Samples:
    """Decode a JPEG by a decoder that tells nothing of what it lacks, and find that out.

    Whatever is put in front of the end marker does not matter to a stream that is whole, and what
    it ends with does. A piece of the stream's own middle is not what a decoder makes up, zeros.
    """
    _check_parts(stream)
    # Fill bytes before the end marker (T.81 B.1.1.2) would make a marker of what is put there.
    body = len(stream[: -len(END_MARKER)].rstrip(b"\xff"))
    pieces = _textures(stream, body)
    kept = len(stream[: body - TAIL].rstrip(b"\xff"))
    pixels = _raw_jpeg(stream, frame)

    def same_with(length: int, content: bytes) -> bool:
        changed = b"".join((memoryview(stream)[:length], content, END_MARKER))
        return np.array_equal(pixels, _raw_jpeg(changed, frame))

    if not same_with(body, b"".join(pieces)):
        raise TruncatedImage("the JPEG ends before its picture does. Send it again.")
    if all(same_with(kept, piece) for piece in pieces):
        raise CorruptImage("the JPEG goes on after its picture: it is damaged. Send it again.")
    return pixels


def _textures(stream: bytes, end: int) -> list[bytes]:
    """Pieces of entropy-coded data before an end that are of no constant part of the picture."""
    pieces = (piece.group() for piece in NO_MARKER.finditer(stream, end // 2, end))
    varied = (piece for piece in pieces if len(set(piece)) >= VARIED)
    return list(islice(varied, PIECES)) or [TEXTURE]


def _raw_jpeg(stream: bytes, frame: Frame) -> Samples:
    """The components of a JPEG as they are stored."""
    same: dict[str, object] = {}
    if frame.components == 3:  # equal spaces: no conversion
        same = {"colorspace": "RGB", "outcolorspace": "RGB"}
    return _by_imagecodecs(imagecodecs.jpeg8_decode, stream, **same)


def _by_imagecodecs(decode: Any, stream: bytes | memoryview, **options: object) -> Samples:
    try:
        pixels: Samples = decode(stream, **options)
    except (RuntimeError, ValueError, MemoryError) as error:
        # CharLS decodes no line beyond the data, and names what is left behind the last one.
        if re.search("general structural problem|too small", str(error)):
            raise TruncatedImage(
                "the codestream is damaged, or ends before its picture does. Send it again."
            ) from None
        raise CorruptImage("the codestream cannot be decoded. Send the image again.") from None
    return pixels


def _jpeg2000_header(stream: bytes) -> Codestream:
    start = stream.find(J2K_START, 0, 4096)  # a JP2 header may come first
    if start < 0 or len(stream) < start + 43 or (start and stream.count(J2K_START) > 1):
        raise CorruptImage("there is no single JPEG 2000 codestream. Send the image again.")
    check_jpeg2000(stream, start)
    right, bottom, left, top = (
        int.from_bytes(stream[start + place : start + place + 4]) for place in (8, 12, 16, 20)
    )
    depth = stream[start + 42]
    return Codestream(
        rows=bottom - top,
        columns=right - left,
        samples=int.from_bytes(stream[start + 40 : start + 42]),
        precision=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
    )

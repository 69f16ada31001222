"""Decode the stored values of one frame, by the fastest plugin for its transfer syntax.

bytes -> file structure -> acceptance -> [pixels] -> grey
The size a codestream claims is compared with Rows x Columns first: it decides the memory used.
"""

import struct
from typing import Any, Final

from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from service.errors import (
    CorruptImage,
    MultipleFrames,
    TruncatedImage,
    UnsupportedTransferSyntax,
)
from service.imaging.acceptance import Layout
from service.imaging.jpeg import check_jpeg, segments
from service.imaging.jpeg2000 import check_jpeg2000

StoredPixels = NDArray[Any]  # uint8, uint16, int8 or int16; (H, W) or (H, W, 3)

NATIVE: Final = frozenset(
    {
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    }
)

# Milliseconds relative to the first, 2,000 x 2,000 pixels, benchmarks/decode.py:
#   JPEG Baseline  pillow 1, gdcm 2.9, pylibjpeg 4.0    JPEG-LS  pyjpegls 1, gdcm 2.0, pylibjpeg 3.3
#   JPEG Lossless  gdcm 1, pylibjpeg 1.1                RLE      pylibjpeg 1, pydicom 3.5
#   JPEG 2000      gdcm 1, pylibjpeg 1.5, pillow 1.55
# GDCM gains too little to justify its size. The second of a pair is asked where the first fails.
# RLE has no second: pydicom's own decoder inflates a hostile segment without bound.
PLUGINS: Final[dict[UID, tuple[str, ...]]] = {
    JPEGBaseline8Bit: ("pillow", "pylibjpeg"),
    JPEGExtended12Bit: ("pylibjpeg",),
    JPEGLossless: ("pylibjpeg",),
    JPEGLosslessSV1: ("pylibjpeg",),
    JPEGLSLossless: ("pyjpegls", "pylibjpeg"),
    JPEGLSNearLossless: ("pyjpegls", "pylibjpeg"),
    JPEG2000Lossless: ("pylibjpeg", "pillow"),
    JPEG2000: ("pylibjpeg", "pillow"),
    HTJ2KLossless: ("pylibjpeg",),
    HTJ2KLosslessRPCL: ("pylibjpeg",),
    HTJ2K: ("pylibjpeg",),
    RLELossless: ("pylibjpeg",),
}

MAX_ITEMS = 20_000  # fragments of one frame; encoders write one, or one a few KiB
MAX_OFFSETS_BYTES = 65_536  # of the Basic Offset Table; one frame needs 4
ITEM, SEQUENCE_END = 0xE000FFFE, 0xE0DDFFFE  # PS3.5 7.5, as little-endian unsigned long
START_OF_IMAGE = b"\xff\xd8"  # of JPEG and JPEG-LS
END_MARKER = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
J2K_START = b"\xff\x4f\xff\x51"  # SOC, SIZ
NOT_SOF = frozenset({0xC4, 0xC8, 0xCC})  # DHT, JPG and DAC lie among the SOF markers


def check_transfer_syntax(syntax: UID) -> None:
    """Refuse what no plugin reads: video, JPIP, encrypted or private encodings (PS3.5 annex A)."""
    if syntax in NATIVE or syntax in PLUGINS:
        return
    fact = f"'{syntax}'" if syntax.type == "Transfer Syntax" else "not a defined term"
    raise UnsupportedTransferSyntax(
        f"Transfer Syntax UID (0002,0010) is {fact}, which is not read. "
        "Send the image uncompressed, or as JPEG, JPEG-LS, JPEG 2000 or RLE."
    )


def stored_pixels(
    value: memoryview, syntax: UID, layout: Layout, vr: str
) -> tuple[StoredPixels, str]:
    """Decode the frame.

    Parameters
    ----------
    value
        Of Pixel Data (7FE0,0010), encapsulated or native.
    syntax
        For which :func:`check_transfer_syntax` passed.
    layout
        From the header; the codestream must agree with it.
    vr
        Value representation of Pixel Data, ``"OB"`` or ``"OW"``.

    Returns
    -------
    pixels
        Shape (H, W) or (H, W, 3). Native values still carry whatever lies above Bits Stored.
    photometric
        Of ``pixels``: a codestream may hold RGB where the header says YBR.

    Raises
    ------
    TruncatedImage
        If the value, an item or the codestream ends too early.
    CorruptImage
        If no plugin decodes the codestream, or it contradicts the header.
    """
    if syntax in NATIVE:
        return _native(value, syntax, layout, vr)
    source = _whole_sequence(value)
    codestream = get_frame(source, 0, number_of_frames=1)
    if syntax != RLELossless:
        _check_codestream(codestream, layout, syntax)
    for plugin in PLUGINS[syntax]:
        try:
            return _decoded(source, syntax, layout, plugin=plugin, vr="OB")
        except BaseException as failure:
            # pylibjpeg-rle is Rust: its panics are no Exception, and their class has no import.
            if not isinstance(failure, Exception) and type(failure).__name__ != "PanicException":
                raise
    raise CorruptImage(f"no decoder accepts the {syntax.name} codestream. Send the image again.")


def _native(value: memoryview, syntax: UID, layout: Layout, vr: str) -> tuple[StoredPixels, str]:
    expected = layout.frame_bytes
    if len(value) < expected:
        raise TruncatedImage(
            f"Pixel Data (7FE0,0010) has {len(value):,} bytes; Rows x Columns need {expected:,}. "
            "Send the complete file."
        )
    source = value[: expected + expected % 2]  # one frame was declared; the rest is padding
    return _decoded(source, syntax, layout, plugin="", vr=vr)


def _decoded(
    source: bytes | memoryview, syntax: UID, layout: Layout, *, plugin: str, vr: str
) -> tuple[StoredPixels, str]:
    native = syntax in NATIVE
    options: Any = {  # pydicom types them as **kwargs: DecodeOptions, which no call satisfies
        "as_rgb": False,  # the luma of YBR is its first channel; no conversion there and back
        "number_of_frames": 1,
        "allow_excess_frames": False,
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.samples,
        "photometric_interpretation": layout.photometric,
        "planar_configuration": layout.planar,
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits_stored,
        "pixel_representation": int(layout.signed),
        "pixel_keyword": "PixelData",
        "view_only": native,
        "correct_unused_bits": not native,  # one lookup table does it for native pixels
    }
    if native:
        options["pixel_vr"] = vr  # decides how big-endian 8-bit words are swapped
    pixels, properties = get_decoder(syntax).as_array(source, decoding_plugin=plugin, **options)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return pixels, str(properties["photometric_interpretation"])


def _whole_sequence(value: memoryview) -> bytes:
    """Return the items of encapsulated Pixel Data up to and with the delimiter (PS3.5 A.4)."""
    position = 0
    for count in range(MAX_ITEMS):
        if position + 8 > len(value):
            break
        tag, length = struct.unpack_from("<LL", value, position)
        if tag == SEQUENCE_END:
            return bytes(value[: position + 8])
        if tag != ITEM or (count == 0 and length > MAX_OFFSETS_BYTES):
            raise CorruptImage("Pixel Data (7FE0,0010) is not a sequence of items. Send it again.")
        position += 8 + length
    else:
        raise CorruptImage(f"Pixel Data (7FE0,0010) has more than {MAX_ITEMS:,} fragments.")
    raise TruncatedImage("Pixel Data (7FE0,0010) ends within an item. Send the complete file.")


def _check_codestream(codestream: bytes, layout: Layout, syntax: UID) -> None:
    """Compare the codestream's own size with the header before a decoder allocates for it."""
    if codestream.startswith(START_OF_IMAGE):
        check_jpeg(codestream, jpeg_ls=syntax in {JPEGLSLossless, JPEGLSNearLossless})
        size = _jpeg_size(codestream)
    else:
        size = _jpeg2000_size(codestream)
    if size != (layout.rows, layout.columns, layout.samples):
        raise CorruptImage(
            "the codestream does not have the Rows (0028,0010), Columns (0028,0011) and Samples "
            "per Pixel (0028,0002) of its header. Send the image again."
        )
    if END_MARKER not in codestream[-16:]:  # encoders pad the item with 00 or FF
        raise TruncatedImage("the codestream has no end marker. Send the complete file.")
    if END_MARKER + b"\xff\xd8\xff" in codestream:
        raise MultipleFrames("Pixel Data (7FE0,0010) holds several images. Send a single one.")


def _jpeg_size(codestream: bytes) -> tuple[int, int, int] | None:
    """Return rows, columns and components; None where they are not found.

    References
    ----------
    ITU-T T.81 B.2.2 (SOF), T.87 C.2.2 (JPEG-LS).
    """
    for segment in segments(codestream):
        frame = codestream[segment.start : segment.start + 6]
        if (segment.kind == 0xF7 or 0xC0 <= segment.kind <= 0xCF) and segment.kind not in NOT_SOF:
            return struct.unpack(">xHHB", frame) if len(frame) == 6 else None
    return None


def _jpeg2000_size(codestream: bytes) -> tuple[int, int, int] | None:
    """Return rows, columns and components of SIZ (ITU-T T.800 A.5.1), as :func:`_jpeg_size`."""
    start = codestream.find(J2K_START, 0, 4096)  # a JP2 header may come first
    if start < 0 or len(codestream) < start + 42:
        return None
    if start and codestream.count(J2K_START) > 1:  # a decoder could take the other one
        return None
    check_jpeg2000(codestream, start)
    right, bottom, left, top = struct.unpack_from(">4L", codestream, start + 8)
    (components,) = struct.unpack_from(">H", codestream, start + 40)
    return bottom - top, right - left, components

"""Get the stored values of one frame out of Pixel Data.

bytes -> file structure -> acceptance -> [pixels] -> grey
What a codestream says of itself is compared with the header first: it decides the memory used, and
two that contradict each other do not show one film.
"""

import struct
from dataclasses import dataclass, replace
from typing import Any, Final

from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, RLELossless, UncompressedTransferSyntaxes

from service.errors import (
    CorruptImage,
    MultipleFrames,
    TruncatedImage,
    UnsupportedPixels,
    UnsupportedTransferSyntax,
)
from service.imaging.bounds.jpeg import END_MARKER
from service.imaging.bounds.size import check_length
from service.imaging.codestreams import (
    JPEG,
    JPEG_2000,
    JPEG_LS,
    Codestream,
    Samples,
    decode_codestream,
    read_header,
)
from service.imaging.dicom.acceptance import Layout
from service.imaging.dicom.encapsulation import ITEM, codestream_of

NATIVE: Final = frozenset(UncompressedTransferSyntaxes)
MAX_PRECISION = 16  # bits; JPEG 2000 has up to 38, and a table of all patterns is made of them
READ: Final = NATIVE | JPEG | JPEG_LS | JPEG_2000 | {RLELossless}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPixels:
    """One frame as it is stored.

    Attributes
    ----------
    patterns
        Bit patterns, uint8 or uint16 of shape (H, W), or (H, W, 3); all that the file has, also
        what lies above Bits Stored.
    layout
        As the header says; ``photometric`` and the bits are those of the codestream where it says
        otherwise.
    warnings
        Where it does.
    """

    patterns: Samples
    layout: Layout
    warnings: tuple[str, ...] = ()


def check_transfer_syntax(syntax: UID) -> None:
    """Refuse what no decoder reads: video, JPIP, encrypted or private encodings (PS3.5 annex A)."""
    if syntax in READ:
        return
    fact = f"'{syntax}'" if syntax.type == "Transfer Syntax" else "not a defined term"
    raise UnsupportedTransferSyntax(
        f"Transfer Syntax UID (0002,0010) is {fact}, which is not read. "
        "Send the image uncompressed, or as JPEG, JPEG-LS, JPEG 2000 or RLE."
    )


def stored_pixels(value: memoryview, syntax: UID, layout: Layout, vr: str) -> StoredPixels:
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

    Raises
    ------
    TruncatedImage
        If the value, an item or the codestream ends too early.
    CorruptImage
        If the codestream cannot be decoded, is longer than any of its frame, or contradicts the
        header.
    UnsupportedPixels
        If the codestream has more bits than are read, or its values have two meanings.
    """
    if syntax in NATIVE:
        return _native(value, syntax, layout, vr)
    codestream = codestream_of(value)
    check_length(len(codestream), layout.frame_bytes)
    if syntax == RLELossless:
        source = encapsulate([codestream + b"\0" * (len(codestream) % 2)])
        patterns = _by_pydicom(source, syntax, layout, plugin="pylibjpeg")
        return StoredPixels(patterns=patterns, layout=layout)
    end = codestream.rfind(END_MARKER)
    if end >= 0 and not codestream[end + 2 :].strip(b"\0\xff \r\n"):  # padding of the item
        codestream = codestream[: end + 2]
    header = read_header(codestream, syntax)
    _check_codestream(header, layout)
    pixels, warnings = decode_codestream(codestream, syntax)
    stored = _of_codestream(pixels, header, syntax, layout)
    return replace(stored, warnings=(*stored.warnings, *warnings))


def _check_codestream(header: Codestream, layout: Layout) -> None:
    """Refuse a codestream that says another size than the header, or more bits than are read."""
    size = (layout.rows, layout.columns, layout.samples)
    if (header.rows, header.columns, header.samples) != size:
        raise CorruptImage(
            "the codestream does not have the Rows (0028,0010), Columns (0028,0011) and Samples "
            "per Pixel (0028,0002) of its header. Send the image again."
        )
    if header.precision > MAX_PRECISION:
        raise UnsupportedPixels(
            f"the codestream has {header.precision} bits a sample; at most {MAX_PRECISION} are "
            "read. Send the image uncompressed."
        )


def _of_codestream(
    pixels: Samples, header: Codestream, syntax: UID, layout: Layout
) -> StoredPixels:
    """Bit patterns of the decoded values, and what the stream says of them.

    JPEG knows no sign: its values are the bit patterns of Pixel Representation (0028,0103). JPEG
    2000 does (ITU-T T.800 A.5.1), and its values are what they are. Whether JPEG is YCbCr, its own
    markers know best: headers say RGB of what decoders give, too.
    """
    container = 8 * pixels.dtype.itemsize
    changes: dict[str, Any] = {"bits_allocated": container}
    warnings: tuple[str, ...] = ()
    if header.signed:
        if not layout.signed and (pixels < 0).any():
            raise UnsupportedPixels(
                "Pixel Representation (0028,0103) is 0, and the codestream holds negative values. "
                "Send the image uncompressed."
            )
        changes |= {"signed": True, "bits_stored": container, "high_bit": container - 1}
    elif header.precision <= layout.high_bit:
        stored = min(header.precision, layout.bits_stored)
        changes |= {"bits_stored": stored, "high_bit": header.precision - 1}
        if layout.signed and stored < layout.bits_stored:
            warning = (
                f"The codestream has {header.precision} bits, Bits Stored (0028,0101) is "
                f"{layout.bits_stored}: the sign was taken from the stream's highest bit."
            )
            warnings = (warning,)
    if header.colours:
        changes["photometric"] = header.colours
    elif syntax in JPEG_2000 and layout.photometric in {"YBR_ICT", "YBR_RCT"}:
        changes["photometric"] = "RGB"  # the transformation is part of JPEG 2000, and undone
    patterns = pixels.view(f"u{pixels.dtype.itemsize}")
    return StoredPixels(patterns=patterns, layout=replace(layout, **changes), warnings=warnings)


def _native(value: memoryview, syntax: UID, layout: Layout, vr: str) -> StoredPixels:
    warnings: tuple[str, ...] = ()
    unshared = replace(layout, photometric="YBR_FULL")  # each pixel with chroma of its own
    if layout.photometric == "YBR_FULL_422" and len(value) >= unshared.frame_bytes:
        layout = unshared
    expected = layout.frame_bytes
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    if len(value) > expected + 1 and value[:4] == struct.pack(f"{order}HH", *ITEM):
        value = memoryview(codestream_of(value, order, expected))
        warnings = ("Pixel Data (7FE0,0010) is uncompressed, and yet in items.",)
    _check_length(len(value), expected, layout)
    source = value[: expected + expected % 2]  # the rest is padding
    patterns = _by_pydicom(source, syntax, layout, vr=vr)
    return StoredPixels(patterns=patterns, layout=layout, warnings=warnings)


def _check_length(length: int, expected: int, layout: Layout) -> None:
    """Compare the length of native pixels with what the header makes of it; a row too many passes.

    Were another size or depth stored, the pixels would be taken apart wrongly.
    """
    fact = f"Pixel Data (7FE0,0010) has {length:,} bytes; Rows x Columns need {expected:,}."
    if length < expected:
        raise TruncatedImage(f"{fact} Send the complete file.")
    if length >= 2 * expected and length % expected <= 1:
        raise MultipleFrames(f"{fact} Send a single radiograph.")
    if length - expected > max(1, expected // layout.rows):
        raise CorruptImage(f"{fact} Send the image again.")


def _by_pydicom(
    source: bytes | memoryview, syntax: UID, layout: Layout, *, plugin: str = "", vr: str = "OB"
) -> Samples:
    """Let pydicom take uncompressed or run-length encoded pixels apart."""
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
        "bits_stored": layout.bits_allocated,  # dicom.bits decides which of them count
        "pixel_representation": 0,
        "pixel_keyword": "PixelData",
        "view_only": native,
        "correct_unused_bits": False,
    }
    if native:
        options["pixel_vr"] = vr  # decides how big-endian 8-bit words are swapped
    try:
        pixels, _ = get_decoder(syntax).as_array(source, decoding_plugin=plugin, **options)
    except BaseException as failure:
        # pylibjpeg-rle is Rust: its panics are no Exception, and their class has no import.
        if not isinstance(failure, Exception) and type(failure).__name__ != "PanicException":
            raise
        raise CorruptImage("the pixels cannot be decoded. Send the image again.") from None
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)

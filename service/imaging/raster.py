"""Read PNG and JPEG files.

bytes -> [raster] -> standardise
No view, no body part, no window: such a file is taken for what its sender says it is.
"""

import warnings
import zlib
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin

from service.errors import CorruptImage, MultipleFrames, TooManyPixels, TruncatedImage
from service.imaging.bounds.jpeg import END_MARKER, check_jpeg, without_comments
from service.imaging.bounds.png import MAX_OTHER_BYTES, check_png
from service.imaging.bounds.size import check_length, check_size
from service.imaging.claim import claim
from service.imaging.codestreams import check_whole, decode_jpeg, decode_png
from service.imaging.dicom.grayscale import ROWS_AT_ONCE, colour_warnings, luma_of
from service.imaging.dicom.header import MALFORMED
from service.imaging.png import inflated
from service.imaging.radiograph import FloatImage, Radiograph

# Pillow warns of every malformed entry of Exif data; a file may have thousands.
warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
PngImagePlugin.MAX_TEXT_MEMORY = MAX_OTHER_BYTES  # characters of text, also after inflation

BROKEN = (*MALFORMED, SyntaxError, MemoryError, zlib.error)  # what Pillow raises
PNG_END = b"IEND\xae\x42\x60\x82"  # the last chunk's type and CRC
MAX_EXIF_BYTES = 65_536  # what a JPEG can hold in one segment
DEEP_COLOURS = frozenset({2, 4, 6})  # RGB, grey and RGB with alpha (PNG specification, table 11.1)
DEPTHS = (8, 10, 12, 14, 16)  # of films
SAMPLE_BYTES = {"PNG": 2, "JPEG": 1}  # at most
JPEG_COLOURS = {"L": "GRAY", "RGB": "RGB"}  # what Pillow and libjpeg call them
# Exif orientation: whether rows become columns, and the steps through rows and columns then.
TURNS = {
    2: (False, 1, -1), 3: (False, -1, -1), 4: (False, -1, 1),
    5: (True, 1, 1), 6: (True, 1, -1), 7: (True, -1, -1), 8: (True, -1, 1),
}  # fmt: skip


def read_png(data: bytes, max_pixels: int) -> Radiograph:
    """Read a PNG of 1 to 16 bits: grey, RGB, palette, each with or without alpha.

    Parameters
    ----------
    data
        A file that starts with the PNG signature.
    max_pixels
        Bound on the size that its header claims.

    Returns
    -------
    Radiograph
        16-bit grey is exact. Alpha lies on black; colour is reduced to luma, with a warning.

    Raises
    ------
    TooManyPixels, UnsupportedPixels
        Before any pixel is decoded.
    TruncatedImage
        If the file lacks its end, or some of its scanlines.
    CorruptImage
        If the decoder fails otherwise; this includes text or colour-profile chunks that inflate
        beyond Pillow's bounds.
    MultipleFrames
        If the PNG is animated.
    """
    check_png(data)
    return _read(data, max_pixels, "PNG", PNG_END, file=len(data))


def read_jpeg(data: bytes, max_pixels: int) -> Radiograph:
    """Read a JPEG: grey, YCbCr or CMYK; arguments and errors as for :func:`read_png`.

    What libjpeg only warns of is an error here: its picture is not the one that was stored.
    """
    check_jpeg(data)
    lean = without_comments(data)
    check_jpeg(lean)  # what was apart may make a marker together
    return _read(lean, max_pixels, "JPEG", END_MARKER, file=len(data))


def _read(
    data: bytes, max_pixels: int, kind: Literal["PNG", "JPEG"], end: bytes, *, file: int
) -> Radiograph:
    """Read what is left of a file of so many bytes."""
    try:
        image = Image.open(BytesIO(data), formats=(kind,))
        check_size(image.height, image.width, max_pixels, ("height", "width"))
        if kind == "PNG" and getattr(image, "is_animated", False):
            raise MultipleFrames("the PNG is animated; one frame is read. Send a single image.")
        _check_exif(image)
        mode, size, samples = image.mode, image.width * image.height, len(image.getbands())
        check_length(len(data), SAMPLE_BYTES[kind] * samples * size)
        claim(size, samples=samples, file=file)
        pixels, notes = _png_pixels(data) if kind == "PNG" else _jpeg_pixels(data, image)
    except Image.DecompressionBombError:
        raise TooManyPixels(
            "the size in the header is beyond what the decoder opens. Send a smaller image."
        ) from None
    except BROKEN as error:
        if end not in data[-1024:]:
            raise TruncatedImage(
                f"the {kind} ends after {len(data):,} bytes. Send the complete file."
            ) from None
        raise CorruptImage(
            f"the {kind} cannot be decoded ({type(error).__name__}). Send it again."
        ) from None
    return Radiograph(pixels=pixels, format=kind, photometric=mode, warnings=tuple(notes))


def _png_pixels(data: bytes) -> tuple[FloatImage, list[str]]:
    stored = inflated(data)
    image = Image.open(BytesIO(stored), formats=("PNG",))
    image.load()
    _check_exif(image)
    if data[24] != 16 or data[25] not in DEEP_COLOURS:  # depth and colour type of IHDR
        del stored
        return _grey(image, _hidden(image, depth=data[24]))
    exif = image.getexif()
    del image  # its 8 bits
    samples = decode_png(stored)
    del stored
    luma, notes = _deep_luma(samples)
    del samples
    return _upright(luma, exif), notes


def _hidden(image: Image.Image, depth: int) -> int | None:
    """The value of pixels that a grey PNG makes transparent, as Pillow scales those of 1 to 4 bits.

    References
    ----------
    W3C PNG specification, 11.3.1.1 (tRNS: the least significant bits count).
    """
    key: int | None = image.info.get("transparency")
    if key is None or image.mode not in ("1", "L", "I;16"):
        return None
    white = (1 << depth) - 1
    return (key & white) * (255 // white or 1)


def _upright(pixels: FloatImage, exif: Image.Exif) -> FloatImage:
    """Turn pixels as the orientation in Exif data says, whatever else is there.

    ImageOps.exif_transpose writes all of them anew, and fails where any is of an odd type.
    """
    turn = TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
    if turn is None:
        return pixels
    swapped, down, across = turn
    return np.ascontiguousarray((pixels.T if swapped else pixels)[::down, ::across])


def _deep_luma(samples: NDArray[np.uint16]) -> tuple[FloatImage, list[str]]:
    """Luma of (H, W, 2 to 4) samples of 16 bits, which Pillow would reduce to 8; alpha on black."""
    channels = samples.shape[2]
    colours = samples[..., : channels - 1 + channels % 2]
    white = _white(colours)
    luma = luma_of(colours, white)
    if channels in (2, 4):
        for row in range(0, len(luma), ROWS_AT_ONCE):
            block = slice(row, row + ROWS_AT_ONCE)
            luma[block] *= _scaled(samples[block, ..., -1], 65535)
    notes = colour_warnings(colours[::8, ::8], float(white)) if channels > 2 else []
    return luma, notes


def _white(samples: NDArray[np.generic]) -> int:
    """The largest value of the depth that 16-bit samples use: many hold a film of 10 or 12 bits."""
    most = int(samples.max())
    return next((1 << bits) - 1 for bits in DEPTHS if most < 1 << bits)


def _jpeg_pixels(data: bytes, image: Image.Image) -> tuple[FloatImage, list[str]]:
    if image.mode not in JPEG_COLOURS:  # CMYK
        check_whole(data)
        return _grey(image)
    pixels = decode_jpeg(data, JPEG_COLOURS[image.mode])
    decoded = Image.fromarray(pixels.squeeze(axis=2) if pixels.shape[2] == 1 else pixels)
    del pixels
    decoded.info = image.info  # with the orientation
    return _grey(decoded)


def _check_exif(image: Image.Image) -> None:
    """Bound the Exif data that is searched for the orientation; in a PNG it may be text."""
    lengths = [len(image.info.get(key, "")) for key in ("exif", "Raw profile type exif")]
    if lengths[0] > MAX_EXIF_BYTES or lengths[1] > 2 * MAX_EXIF_BYTES:
        raise CorruptImage(
            f"the Exif data has more than {MAX_EXIF_BYTES:,} bytes. Send the image without."
        )


def _grey(image: Image.Image, hidden: int | None = None) -> tuple[FloatImage, list[str]]:
    """Convert any mode of a PNG or JPEG, and turn it upright; float32 (H, W) in [0, 1].

    Samples of the value ``hidden`` become black.
    """
    exif = image.getexif()
    if image.mode in ("I;16", "I;16B", "I"):  # 16-bit grey
        samples = _shown(np.asarray(image), hidden)
        return _upright(_scaled(samples, _white(samples)), exif), []
    if image.mode == "P" or (image.mode == "RGB" and image.has_transparency_data):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode == "CMYK":
        image = image.convert("RGB")
    if image.mode in ("LA", "RGBA"):
        opaque = image.mode[:-1]
        black = Image.new(opaque, image.size)
        black.paste(image.convert(opaque), mask=image.getchannel("A"))
        image = black
    notes = []
    if image.mode == "RGB":
        notes = colour_warnings(np.asarray(image)[::8, ::8], 255.0)
    # Pillow's weights add up to exactly 1: a grey RGB image keeps its values.
    samples = _shown(np.asarray(image.convert("L")), hidden)
    return _upright(_scaled(samples, 255), exif), notes


def _shown(samples: NDArray[np.generic], hidden: int | None) -> NDArray[np.generic]:
    return samples if hidden is None else np.where(samples == hidden, 0, samples)


def _scaled(pixels: NDArray[np.generic], white: int) -> FloatImage:
    scaled: FloatImage = np.divide(pixels, np.float32(white), dtype=np.float32)
    return scaled

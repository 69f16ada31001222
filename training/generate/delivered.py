"""Take an image that a service delivered: as serving reads it, or not at all.

service -> [delivered] -> archive

What serving reads stays as it came. WebP, the first frame of an animation and images of up to 8,192
x 8,192 pixels become a PNG that it reads. Curation would reject what is refused here, too late:
the next images are paid by then.
"""

import math
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from service.errors import (
    CorruptImage,
    MultipleFrames,
    NotAnImage,
    ReadingError,
    TooManyBytes,
    TooManyPixels,
    UnsupportedPixels,
)
from service.imaging.bounds.jpeg import check_jpeg
from service.imaging.bounds.png import check_png
from service.imaging.bounds.size import check_size
from service.imaging.claim import MIB
from service.imaging.decode import Limits, decode, format_of
from service.imaging.dicom.grayscale import COLOUR_WARNING
from service.imaging.plausible import SAMPLE_SIDE
from service.imaging.radiograph import FloatImage, Radiograph
from service.imaging.raster import BROKEN
from training.generate.request import GreyImage

UNDECODABLE = "undecodable image"
ANOTHER_SHAPE = "another shape than asked for"
MAX_BYTES = 256 * MIB
MAX_PIXELS = 8192 * 8192
LEAST_SIDE = 128  # pixels; serving refuses smaller films
LEAST_RANGE = 30 / 255  # of the grey range, between the 5th and the 95th percentile
_OTHER_ASPECT = 1.5  # times as wide, or as narrow, as asked for
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_CONVERTED = (NotAnImage, TooManyBytes, TooManyPixels, MultipleFrames)


class UnfitImage(ValueError):
    """An image that nothing can be learned from; ``reason`` is one of a few, for counting."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An image that serving reads.

    Attributes
    ----------
    content
        PNG or JPEG: as delivered, or converted.
    pixels
        uint8 of shape (H, W).
    """

    content: bytes
    pixels: GreyImage


def take(content: bytes, *, aspect: float) -> Taken:
    """Read an image and judge it by itself.

    Parameters
    ----------
    content
        Any bytes.
    aspect
        Width by height as asked for.

    Raises
    ------
    UnfitImage
        If it cannot be read, is small, of another shape, coloured or blank.
    """
    try:
        content, radiograph = _read(content)
    except UnsupportedPixels:
        raise UnfitImage(ANOTHER_SHAPE) from None
    except ReadingError:
        raise UnfitImage(UNDECODABLE) from None
    reason = _fault(radiograph, aspect)
    if reason:
        raise UnfitImage(reason)
    return Taken(content=content, pixels=grey(radiograph.pixels))


def grey(pixels: FloatImage) -> GreyImage:
    """Round pixels in [0, 1] to uint8."""
    return np.asarray(np.round(pixels * 255), np.uint8)


def _read(content: bytes) -> tuple[bytes, Radiograph]:
    try:
        radiograph = decode(content, Limits())
    except _CONVERTED:
        content = _converted(content)
        radiograph = decode(content, Limits())
    if radiograph.format == "DICOM":
        raise NotAnImage("a generator delivers no DICOM")
    return content, radiograph


def _fault(radiograph: Radiograph, aspect: float) -> str:
    """Why nothing can be learned from an image; empty for a good one."""
    if min(radiograph.rows, radiograph.columns) < LEAST_SIDE:
        return f"smaller than {LEAST_SIDE} pixels"
    wider = radiograph.columns / radiograph.rows / aspect
    if max(wider, 1 / wider) > _OTHER_ASPECT:
        return ANOTHER_SHAPE
    if COLOUR_WARNING in radiograph.warnings:
        return "coloured"
    step = max(1, min(radiograph.pixels.shape) // SAMPLE_SIDE)
    low, high = np.percentile(radiograph.pixels[::step, ::step], (5, 95))
    return "blank" if high - low < LEAST_RANGE else ""


def _converted(content: bytes) -> bytes:
    """Save the first frame as a PNG within the limits of serving."""
    if len(content) > MAX_BYTES:
        raise TooManyBytes(f"the file has {len(content):,} bytes; at most {MAX_BYTES:,} are read")
    match format_of(content):
        case "PNG":
            check_png(content)
        case "JPEG":
            check_jpeg(content)
    try:
        with Image.open(BytesIO(content), formats=_FORMATS) as image:
            check_size(image.height, image.width, MAX_PIXELS, ("height", "width"))
            return _png(image)
    except Image.DecompressionBombError:
        raise TooManyPixels("the size in the header is beyond what the decoder opens") from None
    except BROKEN as error:
        raise CorruptImage(f"it cannot be decoded ({type(error).__name__})") from None


def _png(image: Image.Image) -> bytes:
    if image.mode.startswith(("I", "F")):
        raise CorruptImage("an image of 16 bits is not made smaller")
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode != "L":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    factor = math.ceil(math.sqrt(image.width * image.height / Limits().max_pixels))
    buffer = BytesIO()
    (image.reduce(factor) if factor > 1 else image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()

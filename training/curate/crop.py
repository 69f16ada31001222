"""Cut away what is no radiograph: borders, caption bands, blank margins, the visible watermark.

generate -> [crop] -> quality -> dataset

One rule for all images. It knows neither label nor lung: it only takes lines away, from the outside
inwards, that show nothing. It does not close in on the lungs, because whatever finds lungs is
disturbed by pneumonia, and the box would then tell the label.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.curate.watermark import Sparkle, paint_over
from training.generate.request import GreyImage

Watermark = Literal["none", "cut off", "painted over"]

_LEVEL = 8  # grey levels within which pixels are of one level: compression leaves some noise
_BLANK = 0.99  # share of a blank line that is of one level
_WRITTEN = 0.5  # of a line of a caption band: the rest is letters
_LETTERS = 0.1  # of the side: a caption's lines are no higher
_KEPT = 0.3  # of the side; a box that would get smaller shows no film


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """What is kept, in pixels of the image as delivered; ``right`` and ``bottom`` are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cropped:
    """What is left of an image.

    Attributes
    ----------
    pixels
        uint8 of shape (bottom - top, right - left).
    watermark
        How watermarks at the places given were removed: with the margins, or by painting over them
        where they lie on the film, since a cut would cost anatomy there.
    """

    pixels: GreyImage
    box: Box
    watermark: Watermark


def crop(grey: GreyImage, places: Sequence[Sparkle]) -> Cropped:
    """Crop one image of shape (H, W); the input is not changed.

    Parameters
    ----------
    places
        Of watermarks in images of this size, whether or not this one shows them.
    """
    clean = paint_over(grey, places)
    box = content_box(clean)
    watermark: Watermark = "none"
    if places:
        watermark = "cut off" if all(_outside(place, box) for place in places) else "painted over"
    pixels = np.ascontiguousarray(clean[box.top : box.bottom, box.left : box.right])
    return Cropped(pixels=pixels, box=box, watermark=watermark)


def _outside(sparkle: Sparkle, box: Box) -> bool:
    reach = sparkle.width / 2
    return sparkle.column - reach >= box.right or sparkle.row - reach >= box.bottom


def content_box(grey: GreyImage) -> Box:
    """The image without its blank margins; the whole image where hardly anything would be left.

    Rows are taken away before columns, and once more after them: the corners of a frame belong to
    both.
    """
    rows, columns = grey.shape
    left, right = 0, columns
    top, bottom = _ends(grey)
    if bottom - top >= _KEPT * rows:
        left, right = _ends(grey[top:bottom].T)
        if right - left >= _KEPT * columns:
            above, below = _ends(grey[top:bottom, left:right])
            top, bottom = top + above, top + below
    if bottom - top < _KEPT * rows or right - left < _KEPT * columns:
        return Box(left=0, top=0, right=columns, bottom=rows)
    return Box(left=left, top=top, right=right, bottom=bottom)


def crop_mask(mask: GreyImage, box: Box, rows: int, columns: int) -> GreyImage:
    """Cut a mask of the same field of view as the (rows, columns) image, at its own resolution.

    The result has the mask's shape, whatever the box: data sets hold masks of one size.
    """
    down, across = mask.shape[0] / rows, mask.shape[1] / columns
    part = (box.left * across, box.top * down, box.right * across, box.bottom * down)
    size = (mask.shape[1], mask.shape[0])
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR, box=part))


def _ends(lines: GreyImage) -> tuple[int, int]:
    """First line that is kept, and the one after the last."""
    count = len(lines)
    return _margin(lines), count - _margin(lines[::-1])


def _margin(lines: GreyImage) -> int:
    """How many lines at the beginning show nothing.

    Blank lines may be of several levels (a white frame round a black margin), and lines of letters
    may lie among blank ones of one level.
    """
    blank, level = is_blank(lines)
    allowed = int(_LETTERS * len(lines))
    first = 0
    while first < len(lines) and blank[first]:
        band = level[first]
        while first < len(lines) and blank[first] and abs(level[first] - band) <= _LEVEL:
            first += 1
        first = _after_letters(lines, blank, first, band, allowed)
    return first


def _after_letters(
    lines: GreyImage, blank: NDArray[np.bool_], first: int, band: float, allowed: int
) -> int:
    """Skip a line of letters that ends in blank lines of the band; else stay at ``first``."""
    stop = min(first + allowed, len(lines))
    near = np.abs(lines[first:stop].astype(np.float32) - band) <= _LEVEL
    written = near.mean(axis=1)
    for offset, share in enumerate(written):
        if share < _WRITTEN:
            break
        if share >= _BLANK and blank[first + offset]:
            return first + offset
    return first


def is_blank(lines: GreyImage) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Whether each line is of one level, and which."""
    level = np.median(lines, axis=1).astype(np.float32)
    near = np.abs(lines.astype(np.float32) - level[:, None]) <= _LEVEL
    return near.mean(axis=1) >= _BLANK, level

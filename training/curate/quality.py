"""Reasons why a cropped image is not fit to train on, as far as one image can show them.

crop -> [quality] -> similar -> dataset

Each detector is a few lines of image analysis with thresholds set on phantom radiographs alone. It
looks at what a lesion leaves as it is, because images rejected for a white lung would all be of one
class.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from service.imaging.radiograph import FloatImage
from training.curate.crop import is_blank
from training.generate.request import GreyImage

SIDE = 256  # pixels that the detectors look at

NARROWEST, WIDEST = 0.6, 1.6  # width by height; children's films are narrow, bed films wide
_LEAST_RANGE = 30.0  # grey levels between the 5th and the 95th percentile

_INNER = slice(SIDE // 5, SIDE - SIDE // 5)  # lines in which a seam is looked for
_JUMP = 0.06  # of the grey range between neighbouring lines
_SEAM = 0.75  # share of a line's pixels that jump

_CHEST = slice(int(0.25 * SIDE), int(0.65 * SIDE))  # rows of lung, not of shoulder or abdomen
_MIDLINE = range(int(0.42 * SIDE), int(0.58 * SIDE), 2)  # columns where the midline may lie
_LUNG_AT = (36, 44, 52, 60)  # columns from the midline to the middle of a lung
_BREADTH = 1.5  # how far beside the midline is looked, in such distances
FRONTAL = 0.4  # least likeness to two lungs; 200 frontal phantoms have at least 0.53

_TEXT_AREA = (0.18, 0.82, 0.2, 0.75)  # top, bottom, left, right: shares of the sides
_INK = 0.25  # of the grey range: how letters stand out from what lies within a letter's width
_LETTER = (5, 26)  # height in pixels of 256
_LETTERS = 4  # in one line


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an image is rejected.

    Attributes
    ----------
    reason
        One of a few words, for counting.
    detail
        What was found, in words and numbers.
    """

    reason: str
    detail: str


def find_fault(grey: GreyImage) -> Fault | None:
    """First reason to reject a cropped image of shape (H, W); None for a good one."""
    aspect = grey.shape[1] / grey.shape[0]
    if not NARROWEST <= aspect <= WIDEST:
        detail = f"width by height is {aspect:.2f}, not {NARROWEST} to {WIDEST}"
        return Fault("wrong aspect", detail)
    low, high = np.percentile(grey, (5, 95))
    if high - low < _LEAST_RANGE:
        return Fault("blank", f"9 of 10 pixels lie within {high - low:.0f} grey levels")
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    darkest, brightest = np.percentile(small, (1, 99))
    stretched = np.clip((small - darkest) / max(brightest - darkest, 1.0), 0, 1).astype(np.float32)
    detectors: tuple[tuple[str, Callable[[FloatImage], str]], ...] = (
        ("several panels", find_seam),
        ("lateral", find_lateral),
        ("text", find_text),
    )
    for reason, detector in detectors:
        if detail := detector(stretched):
            return Fault(reason, detail)
    return None


def find_seam(image: FloatImage) -> str:
    """Say where panels meet in an image (256, 256) in [0, 1]; empty if there is no seam.

    Panels meet at a line of one level, or in a jump of grey along most of a line; anatomy has
    neither from edge to edge.
    """
    for name, lines in (("row", image), ("column", image.T)):
        at, jumping = seam(lines)
        if jumping >= _SEAM:
            return f"{jumping:.0%} of {name} {at / SIDE:.0%} is a seam"
    return ""


def seam(lines: FloatImage) -> tuple[int, float]:
    """The likeliest inner line where panels meet, and how much of it jumps or is of one level."""
    blank = is_blank(np.asarray(lines * 255, np.uint8))[0][_INNER].astype(np.float32)
    jumping = (np.abs(np.diff(lines, axis=0)) > _JUMP).mean(axis=1)[_INNER]
    share = np.maximum(blank, jumping)
    return int(share.argmax()) + _INNER.start, float(share.max())


def find_lateral(image: FloatImage) -> str:
    """Say why an image (256, 256) in [0, 1] is no frontal chest; empty if it may be one."""
    likeness = two_lungs(image)
    return f"likeness to two lungs {likeness:.2f}" if likeness < FRONTAL else ""


def two_lungs(image: FloatImage) -> float:
    """Likeness to a bright midline between two dark lungs, in [-1, 1].

    It is the best correlation of the grey profile across the chest with a wave that has its crest
    at the midline and its troughs in the lungs. One white lung lowers it but leaves half the wave.
    A lateral film has one trough in the middle, and the spine beside it.
    """
    profile = cv2.GaussianBlur(np.median(image[_CHEST], axis=0)[None], (0, 0), SIDE / 50)[0]
    likeness = [
        float(np.corrcoef(part, np.cos(np.pi * np.arange(-reach, reach + 1) / distance))[0, 1])
        for distance in _LUNG_AT
        for reach in [int(_BREADTH * distance)]
        for middle in _MIDLINE
        if middle >= reach and np.ptp(part := profile[middle - reach : middle + reach + 1]) > 0
        if len(part) == 2 * reach + 1
    ]
    return max(likeness, default=-1.0)


def find_text(image: FloatImage) -> str:
    """Say how many letters stand in a line over the lungs of an image (256, 256); empty if none."""
    count = longest_line(letters(image))
    return f"{count} letters in a line over the lungs" if count >= _LETTERS else ""


def letters(image: FloatImage) -> NDArray[np.int32]:
    """Boxes (N, 4: left, top, width, height) of what could be letters over the lungs.

    Letters are small areas with sharp edges, much brighter or darker than their surroundings.
    """
    top, bottom, left, right = (round(share * SIDE) for share in _TEXT_AREA)
    kernel = np.ones((9, 9), np.uint8)
    boxes = []
    for operation in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        ink = cv2.morphologyEx(image, operation, kernel)[top:bottom, left:right] > _INK
        _, _, stats, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
        found = stats[1:, :4]
        width, height = found[:, 2], found[:, 3]
        size = (height >= _LETTER[0]) & (height <= _LETTER[1])
        boxes.append(found[size & (width <= 1.5 * height) & (width >= 0.1 * height)])
    return np.asarray(np.concatenate(boxes), np.int32)


def longest_line(boxes: NDArray[np.int32]) -> int:
    """Most boxes (N, 4) of like height that follow each other on one line, as letters do."""
    best = 0
    order = boxes[np.argsort(boxes[:, 0])]
    for first in order:
        last, count = first, 1
        for box in order:
            if box[0] > last[0] and _follows(last, box):
                last, count = box, count + 1
        best = max(best, count)
    return best


def _follows(one: NDArray[np.int32], other: NDArray[np.int32]) -> bool:
    """Whether a letter may be the one after another: beside it, as high, on the same line."""
    height = max(one[3], other[3])
    gap = other[0] - (one[0] + one[2])
    level = abs((one[1] + one[3]) - (other[1] + other[3]))
    alike = abs(int(one[3]) - int(other[3])) <= 0.3 * height
    return bool(-0.2 * height <= gap <= height and level <= 0.25 * height and alike)

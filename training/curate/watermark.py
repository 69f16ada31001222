"""The visible sparkle in the lower right corner of Gemini's images: find it and paint it over.

generate -> [watermark -> crop] -> quality -> dataset

It is a half-transparent white star of four points whose sides are arcs, 48 pixels wide in images of
up to 1,024 pixels and 96 in larger ones, as far from the right edge as from the lower one; some
images have none. On white it cannot be seen, and now and then a marker hides it. So the images of
a data set are looked at together: where some have the star for certain, all images of that size are
painted over, those of both classes alike.

The invisible SynthID watermark lies in all pixels, and nothing here removes it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from training.generate.request import GreyImage

_CORNER = 0.25  # share of the shorter side that is searched, from the lower right corner
_GRID = 160  # pixels of the searched corner, whatever the image's size
_WIDTHS = np.geomspace(0.04, 0.11, 16)  # of the star, as shares of the shorter side
_FROM_EDGE = (0.35, 1.65)  # distance of the star's tips from both edges, in widths of the star
_OFF_DIAGONAL = 2  # pixels of the grid
_PAPER = 1.3  # side of the template in widths of the star: it needs some background
_SPOT = 0.42  # in widths of the star: brighter areas that are broader are no star
_CONTRAST, _OPACITY = 4.0, 0.25  # least excess in grey levels; and as a share of what white has
LIKENESS = 0.68  # least correlation with the template; 200 radiographs without a star reach 0.66
_SHARE = 0.01  # of the images of one size that must have a star at a place to confirm it
_NEAR = 0.25  # in widths: stars no farther apart are at one place
_GROWN = 0.08  # of the star's width, painted over all round it: its edge is soft
_RADIUS = 4  # pixels round the star that its filling is taken from


@dataclass(frozen=True, slots=True)
class Sparkle:
    """Where a watermark lies, in pixels of the image.

    Attributes
    ----------
    column, row
        Its centre.
    width
        From tip to tip.
    likeness
        Correlation with the template, in [0, 1].
    """

    column: float
    row: float
    width: float
    likeness: float


def find_sparkle(grey: GreyImage) -> Sparkle | None:
    """Find the likeliest star in the lower right corner of an image of shape (H, W).

    None where nothing bright enough has any likeness to one.
    """
    rows, columns = grey.shape
    side = max(round(_CORNER * min(rows, columns)), 1)
    corner = grey[rows - side :, columns - side :]
    grid = cv2.resize(corner, (_GRID, _GRID), interpolation=cv2.INTER_AREA).astype(np.float32)
    best: Sparkle | None = None
    scale = side / _GRID
    for share in _WIDTHS:
        width = float(share) / _CORNER * _GRID
        star, spots = _templates(width)
        likeness = cv2.matchTemplate(_spots(grid, width), spots, cv2.TM_CCOEFF_NORMED)
        likeness = np.where(_places(likeness.shape, len(star), width), likeness, -1)
        top, left = np.unravel_index(likeness.argmax(), likeness.shape)
        found = float(likeness[top, left])
        patch = grid[top : top + len(star), left : left + len(star)]
        if found > (best.likeness if best else 0) and _is_white(patch, star):
            best = Sparkle(
                column=columns - side + (left + len(star) / 2) * scale,
                row=rows - side + (top + len(star) / 2) * scale,
                width=width * scale,
                likeness=found,
            )
    return best


def confirm(sparkles: Iterable[Sparkle], images: int) -> list[Sparkle]:
    """Places where ``images`` images of one size have the watermark.

    A place counts where a hundredth of them, and at least one, has a star for certain; it is the
    median of those stars.
    """
    certain = sorted(
        (s for s in sparkles if s.likeness >= LIKENESS), key=lambda s: (s.column, s.row, s.width)
    )
    clusters: dict[int, list[Sparkle]] = defaultdict(list)
    for sparkle in certain:
        near = (n for n, members in clusters.items() if _at_one_place(members[0], sparkle))
        clusters[next(near, len(clusters))].append(sparkle)
    return [
        Sparkle(*map(float, np.median([astuple(star) for star in members], axis=0)))
        for members in clusters.values()
        if len(members) >= _SHARE * images
    ]


def paint_over(grey: GreyImage, places: Sequence[Sparkle]) -> GreyImage:
    """Fill stars from their surroundings (Telea 2004); returns a new image of the same shape.

    All at once: where they overlap, none is filled from another.
    """
    reach = max((round(place.width) + 2 * _RADIUS for place in places), default=0)
    top = max(min((round(place.row) for place in places), default=0) - reach, 0)
    left = max(min((round(place.column) for place in places), default=0) - reach, 0)
    patch = grey[top:, left:]
    hidden = np.zeros(patch.shape, np.uint8)
    for place in places:
        down = np.arange(patch.shape[0]) + top + 0.5 - place.row
        across = np.arange(patch.shape[1]) + left + 0.5 - place.column
        star = _inside(down, across, place.width).astype(np.uint8)
        grown = max(1, round(_GROWN * place.width))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grown + 1, 2 * grown + 1))
        hidden |= np.asarray(cv2.dilate(star, disc), np.uint8)
    painted = grey.copy()
    if hidden.any():
        painted[top:, left:] = cv2.inpaint(patch, hidden, _RADIUS, cv2.INPAINT_TELEA)
    return painted


def _inside(
    down: NDArray[np.floating], across: NDArray[np.floating], width: float
) -> NDArray[np.bool_]:
    """Whether offsets (R,) and (C,) from its centre lie in a star, (R, C).

    Its sides are quarters of circles round the corners of the square that it fills.
    """
    y, x = np.abs(down)[:, None] * 2 / width, np.abs(across)[None, :] * 2 / width
    return np.asarray(((1 - y) ** 2 + (1 - x) ** 2 > 1) & (y < 1) & (x < 1))


@cache
def _templates(width: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coverage by a star of ``width`` pixels amid its paper, and the spots of that."""
    side, fine = round(width * _PAPER), 4  # pixels; samples a pixel, each way
    at = (np.arange(side * fine) + 0.5) / fine - side / 2
    inside = _inside(at, at, width).astype(np.float32)
    star = np.asarray(inside.reshape(side, fine, side, fine).mean(axis=(1, 3)), np.float32)
    return star, _spots(star, width)


def _spots(image: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """What is brighter than its surroundings and no broader than a star's middle (top-hat)."""
    side = max(3, int(_SPOT * width) | 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    hat = cv2.morphologyEx(image, cv2.MORPH_TOPHAT, disc, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(hat, np.float32)


def _places(shape: tuple[int, ...], side: int, width: float) -> NDArray[np.bool_]:
    """Where in a map of matches a template of ``side`` may lie: near the diagonal and the edge."""
    top, left = np.indices(shape)
    from_edge = (_GRID - (top + left) / 2 - side / 2 - width / 2) / width
    return np.asarray(
        (np.abs(top - left) <= _OFF_DIAGONAL)
        & (from_edge > _FROM_EDGE[0])
        & (from_edge < _FROM_EDGE[1])
    )


def _is_white(patch: NDArray[np.float32], star: NDArray[np.float32]) -> bool:
    """Whether a star is so much brighter than its paper as some white over it would be."""
    paper = float(np.median(patch[star == 0]))
    excess = float(patch[star > 0.9].mean()) - paper
    return excess > max(_CONTRAST, _OPACITY * (255 - paper))


def _at_one_place(one: Sparkle, other: Sparkle) -> bool:
    apart = np.hypot(one.column - other.column, one.row - other.row)
    return bool(max(apart, abs(one.width - other.width)) <= _NEAR * one.width)

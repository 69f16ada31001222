"""Phantom radiographs with what curation must deal with: watermarks, frames, captions, faults."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.generate.phantom.render import DrawnImage, draw_pair
from training.generate.request import GreyImage

PAIRS = 100
SIDE = 512  # pixels; drawn at 256 and enlarged, since generators deliver large images


@dataclass(frozen=True)
class Film:
    """One phantom at 512 x 512 pixels, and where its lungs and lesion are."""

    pixels: GreyImage
    lungs: NDArray[np.bool_]
    lesion: GreyImage
    label: int
    facts: dict[str, Any]


def draw_films() -> list[Film]:
    """200 films, healthy and pneumonia of each patient after one another."""
    return [
        _enlarge(image, label)
        for seed in range(PAIRS)
        for label, image in enumerate(draw_pair(seed, SIDE // 2))
    ]


def _enlarge(image: DrawnImage, label: int) -> Film:
    size = (SIDE, SIDE)
    pixels, lungs, lesion = (
        np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        for part in (image.pixels, image.lungs, image.lesion)
    )
    return Film(pixels, lungs > 127, lesion, label, image.facts)


def add_sparkle(pixels: GreyImage, width: int, from_edge: int, opacity: float = 0.6) -> GreyImage:
    """White star of ``width`` pixels, ``from_edge`` away from the right and the lower edge.

    It is cut out by four discs round the corners of its square, drawn eight times as large.
    """
    fine = 8
    star = np.full((width * fine, width * fine), 255, np.uint8)
    for corner in ((0, 0), (0, width * fine), (width * fine, 0), (width * fine, width * fine)):
        cv2.circle(star, corner, width * fine // 2, 0, -1)
    alpha = cv2.resize(star, (width, width), interpolation=cv2.INTER_AREA) / 255 * opacity
    marked = pixels.astype(np.float32)
    rows, columns = pixels.shape
    top, left = rows - from_edge - width, columns - from_edge - width
    area = np.s_[top : top + width, left : left + width]
    marked[area] += alpha * (255 - marked[area])
    return np.asarray(np.round(marked), np.uint8)


def add_frame(pixels: GreyImage, frame: int, band: int, caption: str) -> GreyImage:
    """White frame round a black band with a white caption below the film."""
    below = np.zeros((band, pixels.shape[1]), np.uint8)
    cv2.putText(
        below, caption, (20, int(0.7 * band)), cv2.FONT_HERSHEY_SIMPLEX, band / 60, 255, 1,
        cv2.LINE_AA,
    )  # fmt: skip
    whole = np.vstack([pixels, below])
    return np.asarray(
        cv2.copyMakeBorder(whole, frame, frame, frame, frame, cv2.BORDER_CONSTANT, value=255),
        np.uint8,
    )


def write_over(pixels: GreyImage, words: str, grey: int) -> GreyImage:
    """Large letters across the lungs."""
    marked = pixels.copy()
    place, scale = (int(0.24 * SIDE), int(0.5 * SIDE)), SIDE / 430
    cv2.putText(marked, words, place, cv2.FONT_HERSHEY_SIMPLEX, scale, grey, 3, cv2.LINE_AA)
    return marked


def lateral(film: Film, lung: str) -> GreyImage:
    """What a lateral film looks like, roughly: one lung in the middle and the spine beside it."""
    columns = np.flatnonzero(film.lungs.any(axis=0))
    midline = (columns[0] + columns[-1]) // 2
    half = film.lungs[:, :midline] if lung == "right" else film.lungs[:, midline:]
    inside = np.flatnonzero(half.mean(axis=0) > 0.1) + (0 if lung == "right" else midline)
    beside = (inside[-1] - inside[0]) // 2
    part = film.pixels[:, max(inside[0] - beside, 0) : inside[-1] + beside]
    return np.asarray(cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def four_panels(films: list[Film], gutter: int) -> GreyImage:
    """Four films in one square image."""
    small = [cv2.resize(film.pixels, (SIDE // 2, SIDE // 2)) for film in films]
    between = np.full((SIDE // 2, gutter), 255, np.uint8)
    rows = [np.hstack([small[i], between, small[i + 1]]) for i in (0, 2)]
    across = np.full((gutter, rows[0].shape[1]), 255, np.uint8)
    return np.asarray(np.vstack([rows[0], across, rows[1]]), np.uint8)

"""Where the evidence lies, as the service draws it: levels on the film's own pixels.

reading -> [heatmap] -> objects
Levels have an absolute scale, 255 for the model's strongest colour and more, so that the outline
of a strong map runs where it is cut off.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray
from PIL import Image

from clients import PredictionWithHeatmap
from service.imaging.overlay import laid_out, levels_of
from service.imaging.standardise import Geometry

Levels = NDArray[np.uint8]
Outline = NDArray[np.float64]  # (N, 2): column and row, closed; 0, 0 is the corner of the film

TRACED_SIDE = 256  # points of the grid that is traced: the network has 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Heatmap:
    """The network's levels, and where they lie on the film.

    Attributes
    ----------
    levels
        uint8 of shape (h, w), stretched over the frame.
    frame
        Where, on a film of how many rows and columns.
    overlay
        The heatmap over the film as the service draws it, PNG or JPEG, best of reduced size. Only
        a secondary capture needs it.
    """

    levels: Levels
    frame: Geometry
    overlay: bytes | None = None

    @classmethod
    def of(cls, reading: PredictionWithHeatmap) -> Self:
        """Take grid, frame and, where there is one, picture of a reading."""
        told = reading.heatmap
        frame = Geometry(
            rows=reading.input.rows,
            columns=reading.input.columns,
            left=told.left,
            top=told.top,
            width=told.width,
            height=told.height,
        )
        levels = levels_of(np.array(told.values, np.float32), told.full_scale)
        return cls(levels=levels, frame=frame, overlay=told.picture)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the film."""
        return self.frame.rows, self.frame.columns

    @cached_property
    def grid(self) -> Levels:
        """Levels as the service draws them, uint8 of shape (H, W)."""
        return np.asarray(laid_out(self.levels, self.frame))

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Where the level is half of the peak or more, (H, W); nowhere where there is no heat."""
        peak = int(self.grid.max())
        return (self.grid * np.uint16(2) >= peak) & (self.grid > 0)

    @cached_property
    def outlines(self) -> tuple[Outline, ...]:
        """Closed lines at half of the peak, the one around the peak first; none without heat."""
        frame = self.frame
        step = max(1.0, max(frame.width, frame.height) / TRACED_SIDE)
        traced = (max(1, round(frame.width / step)), max(1, round(frame.height / step)))
        stretched = Image.fromarray(self.levels).resize(traced, Image.Resampling.BILINEAR)
        # A border of zeros closes the lines that would leave the frame.
        cells = np.pad(np.asarray(stretched, float), 1)
        scale = np.array((frame.width, frame.height)) / traced
        lines = [(line - 0.5) * scale + (frame.left, frame.top) for line in _half_of_peak(cells)]
        return tuple(np.clip(line, 0, (frame.columns, frame.rows)) for line in lines)


def _half_of_peak(cells: NDArray[np.float64]) -> Iterator[Outline]:
    """Lines at half of the peak, the nearest to the peak first; 0, 0 is the centre of a cell."""
    half = cells.max() / 2
    if half == 0:
        return
    tracer = contour_generator(z=cells, line_type=LineType.Separate)
    lines = [np.asarray(line) for line in tracer.lines(half) if len(line) > 3]
    peak = np.array(np.unravel_index(cells.argmax(), cells.shape)[::-1], float)
    yield from sorted(lines, key=lambda line: float(np.hypot(*(line - peak).T).min()))

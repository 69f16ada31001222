"""Where the evidence lies, as the service draws it: levels on the film's own pixels.

reading -> [heatmap] -> objects
Levels have an absolute scale, 255 for the model's strongest colour and more, so that the outline
of a strong map runs where it is cut off.
"""

from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Self

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray
from PIL import Image

from clients import PredictionWithHeatmap
from service.imaging.overlay import draw_heatmap
from service.imaging.standardise import Geometry

Outline = NDArray[np.float64]  # (N, 2): column and row, closed; 0, 0 is the corner of the film

TRACED_SIDE = 512  # pixels: the network's cells are coarser than those of a grid of this side


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    """Pictures as ``/explain`` draws them, each of exactly the film's rows and columns.

    Attributes
    ----------
    levels
        The heatmap alone, a grey PNG: ``client.explain(film, bare=True).picture``.
    overlay
        The heatmap over the film, PNG or JPEG: ``client.explain(film).picture``. Only a secondary
        capture needs it.
    """

    levels: bytes
    overlay: bytes | None = None

    @classmethod
    def of(cls, reading: PredictionWithHeatmap) -> Self:
        """Take the picture of a reading, if it has one, and draw the levels as the service does."""
        told = reading.heatmap
        frame = Geometry(
            rows=reading.input.rows,
            columns=reading.input.columns,
            left=told.left,
            top=told.top,
            width=told.width,
            height=told.height,
        )
        values = np.array(told.values, np.float32)
        levels = draw_heatmap(None, values, frame, full_scale=told.full_scale)
        return cls(levels=levels, overlay=told.picture)

    @cached_property
    def grid(self) -> NDArray[np.uint8]:
        """Levels as uint8 of shape (H, W)."""
        with Image.open(BytesIO(self.levels)) as picture:
            return np.asarray(picture.convert("L"))

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Where the level is half of the peak or more, (H, W); nowhere where there is no heat."""
        peak = int(self.grid.max())
        return (self.grid * np.uint16(2) >= peak) & (self.grid > 0)

    @cached_property
    def outlines(self) -> tuple[Outline, ...]:
        """Closed lines at half of the peak, the one around the peak first; none without heat."""
        step = max(1, max(self.grid.shape) // TRACED_SIDE)
        # A border of zeros closes the lines that would leave the film.
        cells = np.pad(self.grid[::step, ::step].astype(float), 1)
        half = cells.max() / 2
        if half == 0:
            return ()
        tracer = contour_generator(z=cells, line_type=LineType.Separate)
        lines = [line for line in tracer.lines(half) if len(line) > 3]
        rows, columns = self.grid.shape
        peak = np.array(np.unravel_index(cells.argmax(), cells.shape)[::-1], float)
        lines.sort(key=lambda line: float(np.hypot(*(line - peak).T).min()))
        return tuple(
            np.clip((np.asarray(line) - 1) * step + 0.5, 0, (columns, rows)) for line in lines
        )

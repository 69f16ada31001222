"""Where the radiographer aimed and how the file was cut: which part of the canvas the image shows.

anatomy -> [framing] -> detector -> display -> marks -> file
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from service.imaging.radiograph import FloatImage
from training.generate.phantom.sampling import chance, uniform

# Width of a picture element relative to its height. Public paediatric sets hold films of about
# 1,300 x 900 pixels that were squeezed to a square; adult films are nearly square already.
_ASPECT = {"child": (0.65, 1.0), "adult": (0.9, 1.1)}
# Share of the image's height that the lung fields take: tight paediatric films to wide bed films.
_LUNG_SHARE = {"child": (0.5, 0.88), "adult": (0.44, 0.84)}
# Beyond the canvas its edge is repeated. Sideways that is arm or air and may be a little wider;
# up and down it would draw organs out into stripes: the frame stays on the canvas, or, on a few
# films that are smaller than their file, what lies beyond is blank.
_WIDEST_FRAME = 1.08
_SMALL_FILMS = 0.1
_HIGHEST_FRAME = 1.2
# The lung fields take at most these shares, so that hardly any lung is cut off.
_WIDEST_LUNGS = 0.97
_HIGHEST_LUNGS = 0.93
_LUNG_FIELD = 0.25  # coverage above which a pixel counts as lung field


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """The rectangle of the canvas that the image shows.

    Attributes
    ----------
    column, row
        Centre of the rectangle in canvas pixels.
    width, height
        Its sides in canvas pixels; ``height / width`` is the aspect of a pixel of the square image.
    degrees
        Rotation of the patient in the image plane, counter-clockwise.
    """

    column: float
    row: float
    width: float
    height: float
    degrees: float


def draw_framing(rng: np.random.Generator, lungs: FloatImage, age_band: str) -> Framing:
    """Draw a frame around the lung fields.

    Parameters
    ----------
    lungs
        Lung coverage in [0, 1], shape (CANVAS, CANVAS); the same for both halves of a pair, so the
        frame cannot depend on the lesion.
    age_band
        ``"child"`` or ``"adult"``.
    """
    left, top, right, bottom = _lung_box(lungs)
    rows, columns = lungs.shape
    most = _HIGHEST_FRAME * rows if chance(rng, _SMALL_FILMS) else rows
    height = min((bottom - top) / uniform(rng, *_LUNG_SHARE[age_band]), most)
    aspect = uniform(rng, *_ASPECT[age_band])
    widest = _WIDEST_FRAME * columns
    # A frame too wide for the canvas gets less high, not less squeezed.
    height = max(min(height, widest * aspect), (bottom - top) / _HIGHEST_LUNGS)
    width = min(max(height / aspect, (right - left) / _WIDEST_LUNGS), widest)
    # More abdomen than neck is shown: the lungs' middle lies a little above the image's.
    row = (top + bottom) / 2 + height * float(rng.normal(0.025, 0.035))
    tilt = uniform(rng, -10, 10) if chance(rng, 0.06) else float(rng.normal(0, 1.8))
    return Framing(
        column=(left + right) / 2 + width * float(rng.normal(0, 0.025)),
        row=float(np.clip(row, *sorted((height / 2, rows - height / 2)))),
        width=width,
        height=height,
        degrees=tilt,
    )


def frame(image: FloatImage, framing: Framing, side: int) -> FloatImage:
    """Resample a canvas map to (side, side); beyond the canvas its edge is repeated."""
    matrix = _canvas_to_image(framing, side)
    warped = cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, np.float32)


def on_film(framing: Framing, canvas: int, side: int) -> FloatImage:
    """Share of each pixel that lies on the film, shape (side, side): 0 above and below the canvas.

    ``canvas`` is the canvas's side in pixels.
    """
    film = np.ones((canvas, canvas), np.float32)
    film[[0, -1]] = 0  # and so is everything beyond, where the edge is repeated
    return frame(film, framing, side)


def _lung_box(lungs: FloatImage) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the lung fields; the whole canvas where there are none."""
    field = lungs > _LUNG_FIELD
    if not field.any():
        return 0.0, 0.0, float(lungs.shape[1]), float(lungs.shape[0])
    columns = np.flatnonzero(field.any(axis=0))
    rows = np.flatnonzero(field.any(axis=1))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _canvas_to_image(framing: Framing, side: int) -> NDArray[np.float64]:
    """Return the 2 x 3 matrix: turn about the centre, then stretch both axes to ``side``."""
    angle = np.deg2rad(framing.degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix = np.diag([side / framing.width, side / framing.height]) @ turn
    centre = np.array([framing.column, framing.row])
    return np.column_stack([matrix, side / 2 - matrix @ centre])

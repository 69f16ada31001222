"""What is in a file beside the patient: shutters, film edges, side markers, burnt-in words.

anatomy -> framing -> detector -> display -> [marks] -> file

The law knows the view (a bed film says so) and never the label.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from service.imaging.radiograph import FloatImage
from training.generate.phantom.sampling import blur, chance, uniform

_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)
_BED_WORDS = ("AP", "PORTABLE", "SUPINE", "SEMI-ERECT", "PORT", "BED 4", "MOBILE")
_WALL_WORDS = ("PA", "ERECT", "W/M", "UPRIGHT", "180 CM", "DX")
_COMMON_WORDS = ("KV70", "19:41:33", "08:12", "MK", "BH", "JR", "S:1", "2", "7", "A-P", "TLC")
_EDGES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutter:
    """The irradiated or kept part of the image: a rectangle, possibly turned.

    Attributes
    ----------
    left, top, right, bottom
        Share of the side that is covered at each edge.
    degrees
        Rotation of the rectangle.
    grey
        Grey value in [0, 1] outside it.
    softness
        Penumbra, standard deviation in pixels.
    """

    left: float
    top: float
    right: float
    bottom: float
    degrees: float
    grey: float
    softness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Inscription:
    """A word, letter or sign on the image.

    Attributes
    ----------
    column, row
        Centre as shares of the side.
    height
        Of a capital letter, share of the side.
    plate
        ``"none"``, ``"box"`` or ``"disc"`` behind the letters, in the opposite brightness.
    """

    words: str
    column: float
    row: float
    height: float
    weight: int
    font: int
    degrees: float
    mirrored: bool
    grey: float
    plate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Everything drawn on one image.

    Attributes
    ----------
    bars
        Blanked areas: left, top, right, bottom in shares of the side, and their grey value.
    blank
        Grey value in [0, 1] where there is no film.
    """

    shutter: Shutter | None
    inscriptions: tuple[Inscription, ...]
    bars: tuple[tuple[float, float, float, float, float], ...]
    blank: float


def draw_marks(rng: np.random.Generator, view: str) -> Marks:
    """Draw shutters, inscriptions and bars for a film of this view."""
    inscriptions = [_side_marker(rng)] if chance(rng, 0.72) else []
    words = _COMMON_WORDS + (_BED_WORDS if view == "AP" else _WALL_WORDS) * 2
    while chance(rng, 0.35) and len(inscriptions) < 5:
        inscriptions.append(_caption(rng, str(rng.choice(words))))
    return Marks(
        shutter=_draw_shutter(rng) if chance(rng, 0.38) else None,
        inscriptions=tuple(inscriptions),
        bars=tuple(_bar(rng) for _ in range(int(rng.integers(1, 3)))) if chance(rng, 0.1) else (),
        blank=0.0 if chance(rng, 0.8) else uniform(rng, 0.05, 1),
    )


def add_marks(grey: FloatImage, film: FloatImage, marks: Marks) -> tuple[FloatImage, FloatImage]:
    """Draw the marks.

    Parameters
    ----------
    grey
        Displayed image, float32 of shape (S, S) in [0, 1]; not changed.
    film
        Share of each pixel that lies on the film, same shape.

    Returns
    -------
    marked
        New float32 image of shape (S, S) in [0, 1].
    visible
        Share of each pixel that shows the patient or air, float32 of shape (S, S) in [0, 1].
    """
    side = grey.shape[0]
    marked = np.asarray(grey * film + marks.blank * (1 - film), np.float32)
    visible = film.copy()
    if marks.shutter is not None:
        field = _open_field(marks.shutter, side)
        marked = np.asarray(marked * field + marks.shutter.grey * (1 - field), np.float32)
        visible *= field
    for left, top, right, bottom, value in marks.bars:
        area = np.s_[int(top * side) : int(bottom * side), int(left * side) : int(right * side)]
        marked[area], visible[area] = value, 0
    for inscription in marks.inscriptions:
        _write(marked, inscription)
    return marked, visible


def _draw_shutter(rng: np.random.Generator) -> Shutter:
    """Cover some edges; a few films lie askew in the file."""
    askew = chance(rng, 0.12)
    cover = np.where(
        rng.random(_EDGES) < 0.55, np.minimum(np.abs(rng.normal(0, 0.05, _EDGES)), 0.16), 0.0
    )
    if askew:
        cover = np.maximum(cover, 0.03)
    kind = rng.random()
    grey = 0.0 if kind < 0.6 else 1.0 if kind < 0.78 else uniform(rng, 0.02, 0.6)
    return Shutter(
        left=float(cover[0]),
        top=float(cover[1]),
        right=float(cover[2]),
        bottom=float(cover[3]),
        degrees=uniform(rng, -7, 7) if askew else float(rng.normal(0, 0.8)),
        grey=grey,
        softness=uniform(rng, 0, 0.8) if chance(rng, 0.8) else uniform(rng, 1, 4),
    )


def _open_field(shutter: Shutter, side: int) -> FloatImage:
    """Share of each pixel within the shutter's rectangle; edges that cover nothing lie outside."""
    beyond = -0.5  # a turned rectangle must not cut in where an edge covers nothing
    left, top, right, bottom = (
        edge or beyond for edge in (shutter.left, shutter.top, shutter.right, shutter.bottom)
    )
    corners = np.array([(left, top), (1 - right, top), (1 - right, 1 - bottom), (left, 1 - bottom)])
    angle = np.deg2rad(shutter.degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = ((corners - 0.5) @ turn.T + 0.5) * side
    field = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(field, np.round(corners * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    return blur(field.astype(np.float32) / 255, shutter.softness)


def _bar(rng: np.random.Generator) -> tuple[float, float, float, float, float]:
    """Draw a blanked label or a strip of film holder in one of the corners or along one edge."""
    value = 0.0 if chance(rng, 0.6) else uniform(rng, 0.5, 1)
    if chance(rng, 0.5):
        thick = uniform(rng, 0.01, 0.05)
        strips = ((0, 0, thick, 1), (1 - thick, 0, 1, 1), (0, 0, 1, thick), (0, 1 - thick, 1, 1))
        return (*strips[int(rng.integers(len(strips)))], value)
    width, height = uniform(rng, 0.06, 0.25), uniform(rng, 0.02, 0.08)
    left, top = rng.choice([0.0, 1 - width]), rng.choice([0.0, 1 - height])
    return float(left), float(top), float(left) + width, float(top) + height, value


def _side_marker(rng: np.random.Generator) -> Inscription:
    """R on the patient's right (left in the picture) or L on the left, beside the shoulder."""
    letter = str(rng.choice(["R", "L"]))
    from_edge = uniform(rng, 0.02, 0.11)
    turned = uniform(rng, -40, 40) if chance(rng, 0.3) else 0.0
    plate = str(rng.choice(["none", "disc", "box"], p=[0.88, 0.07, 0.05]))
    return Inscription(
        words=letter,
        column=from_edge if letter == "R" else 1 - from_edge,
        row=uniform(rng, 0.03, 0.6) ** 1.3,
        height=uniform(rng, 0.02, 0.07),
        weight=int(rng.integers(1, 3)),
        font=int(rng.choice(_FONTS)),
        degrees=turned,
        mirrored=chance(rng, 0.04),
        grey=uniform(rng, 0.65, 1),
        plate=plate,
    )


def _caption(rng: np.random.Generator, words: str) -> Inscription:
    """Draw a small word near any edge."""
    along, across = uniform(rng, 0.06, 0.94), uniform(rng, 0.02, 0.1)
    across = across if chance(rng, 0.5) else 1 - across
    column, row = (along, across) if chance(rng, 0.5) else (across, along)
    return Inscription(
        words=words,
        column=min(max(column, 0.07), 0.93),
        row=row,
        height=uniform(rng, 0.012, 0.03),
        weight=1,
        font=int(rng.choice(_FONTS)),
        degrees=float(rng.choice([90, -90])) if chance(rng, 0.08) else 0.0,
        mirrored=False,
        grey=uniform(rng, 0.6, 1),
        plate="box" if chance(rng, 0.1) else "none",
    )


def _write(image: FloatImage, inscription: Inscription) -> None:
    """Blend one inscription into ``image``."""
    side = image.shape[0]
    letters = _stamp(inscription, inscription.height * side)
    ink, paper = inscription.grey, 1 - inscription.grey
    if inscription.plate != "none":
        _blend(image, _place(_plate(letters, inscription.plate), inscription, side), ink)
        ink = paper
    _blend(image, _place(letters, inscription, side), ink)


def _blend(image: FloatImage, coverage: FloatImage, grey: float) -> None:
    image += coverage * (np.float32(grey) - image)


def _stamp(inscription: Inscription, capital: float) -> NDArray[np.uint8]:
    """Coverage (uint8) of the letters, with a margin for plate and rotation."""
    # Drawn at a fixed size and scaled down by _place: thin strokes stay smooth.
    pixels = max(8, round(2 * capital))
    scale = cv2.getFontScaleFromHeight(inscription.font, pixels, 2 * inscription.weight)
    (width, height), _ = cv2.getTextSize(
        inscription.words, inscription.font, scale, 2 * inscription.weight
    )
    margin = height // 2 + 2
    stamp = np.zeros((height + 2 * margin, width + 2 * margin), np.uint8)
    cv2.putText(
        stamp,
        inscription.words,
        (margin, margin + height),
        inscription.font,
        scale,
        255,
        2 * inscription.weight,
        cv2.LINE_AA,
    )
    return stamp


def _plate(letters: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    """Coverage of a box or disc as large as the stamp."""
    if kind == "box":
        return np.full_like(letters, 255)
    height, width = letters.shape
    plate = np.zeros_like(letters)
    cv2.ellipse(plate, (width // 2, height // 2), (width // 2, height // 2), 0, 0, 360, 255, -1)
    return plate


def _place(stamp: NDArray[np.uint8], inscription: Inscription, side: int) -> FloatImage:
    """Scale, turn and move a stamp to its place on an image of shape (side, side)."""
    height, width = stamp.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), inscription.degrees, 0.5)
    if inscription.mirrored:
        matrix = matrix @ np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1]])
    matrix[:, 2] += (inscription.column * side - width / 2, inscription.row * side - height / 2)
    placed = cv2.warpAffine(stamp, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return np.asarray(placed / np.float32(255), np.float32)

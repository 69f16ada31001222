"""Pictures of everything that is no radiograph of a chest, drawn from nothing.

Each painter takes a generator of random numbers and returns float32 (SIDE, SIDE) in [0, 1].
None imitates a file of any collection: they vary spectra, edges, outlines, symmetry and layout as
widely as is cheap, so that what is not a chest is not one kind of picture.
"""

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from service.imaging.radiograph import FloatImage

SIDE = 160  # pixels

Painter = Callable[[np.random.Generator], FloatImage]

_rows, _columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_COMPLEX)


def paint(rng: np.random.Generator) -> FloatImage:
    """Paint one picture of a random kind."""
    return PAINTERS[int(rng.integers(len(PAINTERS)))](rng)


def noise(rng: np.random.Generator) -> FloatImage:
    """Noise of any spectrum, also stretched, in few grey levels, or enlarged from a few pixels."""
    side = int(rng.choice([4, 8, 16, 32, SIDE], p=[0.1, 0.1, 0.2, 0.1, 0.5]))
    spectrum = np.fft.rfft2(rng.standard_normal((side, side)))
    fy = np.fft.fftfreq(side)[:, None] * np.exp(rng.normal(0, 0.7))
    frequency = np.hypot(fy, np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(spectrum * frequency ** -rng.uniform(0, 2.8), (side, side))
    image = _stretch(np.asarray(field, np.float32))
    if rng.random() < 0.2:
        levels = np.float32(rng.integers(2, 8))
        image = np.asarray(np.floor(image * levels) / levels, np.float32)
    method = cv2.INTER_NEAREST if rng.random() < 0.4 else cv2.INTER_CUBIC
    large = cv2.resize(np.asarray(image, np.float32), (SIDE, SIDE), interpolation=method)
    return _stretch(np.asarray(large, np.float32))


def pattern(rng: np.random.Generator) -> FloatImage:
    """Gradients, stripes, rings, chequers, steps of grey and test cards."""
    angle = rng.uniform(0, np.pi)
    if rng.random() < 0.5:
        angle = float(rng.choice([0, np.pi / 2]))
    along = (_columns - 0.5) * np.cos(angle) + (_rows - 0.5) * np.sin(angle)
    across = (_rows - 0.5) * np.cos(angle) - (_columns - 0.5) * np.sin(angle)
    kind = int(rng.integers(5))
    count = float(np.exp(rng.uniform(0, 3)))
    if kind == 0:
        image = along
    elif kind == 1:
        image = np.hypot(along - rng.normal(0, 0.3), across * np.exp(rng.normal(0, 0.4)))
    elif kind == 2:
        image = np.sin(2 * np.pi * (count * along + rng.random()))
    elif kind == 3:
        image = np.sign(np.sin(np.pi * count * along) * np.sin(np.pi * count * across) + 1e-6)
    else:
        bars = rng.random(max(2, round(2 * count)))
        image = bars[np.clip(((along + 0.71) / 1.42 * len(bars)).astype(int), 0, len(bars) - 1)]
    image = _stretch(np.asarray(image, np.float32)) ** np.float32(np.exp(rng.normal(0, 0.5)))
    if rng.random() < 0.3:
        image = np.where(rng.random() < _columns, image, pattern(rng))
    return _grain(rng, image)


def blank(rng: np.random.Generator) -> FloatImage:
    """One grey, with hardly any noise, specks or an edge."""
    image = np.full((SIDE, SIDE), rng.random(), np.float32)
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 12))):
            centre = tuple(int(v) for v in rng.integers(0, SIDE, 2))
            cv2.circle(image, centre, int(rng.integers(1, 6)), float(rng.random()), -1)
    if rng.random() < 0.4:
        edge = int(rng.integers(1, SIDE // 3))
        image[:edge] = image[:, :edge] = rng.random()
    return _grain(rng, image, most=0.03) if rng.random() < 0.7 else image


def scene(rng: np.random.Generator) -> FloatImage:
    """Things before things, textured, shaded and lit, as in photographs (dead leaves)."""
    low, high = (0.03, 0.7) if rng.random() < 0.7 else (0.01, 0.15)
    image = _backdrop(rng)
    mirrored = rng.random() < 0.3  # faces, animals, buildings are symmetric too
    for _ in range(int(np.exp(rng.uniform(0.7, 4.5)))):
        size = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        mask = _outline(rng, size * SIDE)
        surface = rng.random() + 0.2 * rng.standard_normal() * (
            (_columns - 0.5) * rng.normal() + (_rows - 0.5) * rng.normal()
        )
        if rng.random() < 0.5:
            surface = surface + rng.uniform(0, 0.4) * (noise(rng) - 0.5)
        for layer in (mask, mask[:, ::-1]) if mirrored else (mask,):
            image = np.asarray(image * (1 - layer) + surface * layer, np.float32)
    return _grain(rng, _soften(rng, image, 2.5))


def symmetric(rng: np.random.Generator) -> FloatImage:
    """Smooth clouds mirrored about the middle: symmetry alone is no chest."""
    image = _stretch(noise(rng) + noise(rng))
    both = image + image[:, ::-1]
    blurred = cv2.GaussianBlur(both, (0, 0), float(rng.uniform(0.3, 8)))
    return _stretch(np.asarray(blurred, np.float32))


def page(rng: np.random.Generator) -> FloatImage:
    """Text, tables, curves and windows of a screen."""
    ink, paper = (0.0, 1.0) if rng.random() < 0.7 else (1.0, 0.0)
    image = np.full((SIDE, SIDE), paper, np.float32)
    if rng.random() < 0.3:
        image = image * (1 - 0.4 * _backdrop(rng))
    for _ in range(int(rng.integers(0, 4))):
        left, top = (int(v) for v in rng.integers(0, SIDE - 20, 2))
        right, bottom = left + int(rng.integers(15, SIDE)), top + int(rng.integers(10, SIDE))
        fill = -1 if rng.random() < 0.5 else 1
        cv2.rectangle(image, (left, top), (right, bottom), float(rng.random()), fill)
    scale, row = float(rng.uniform(0.25, 1.4)), float(rng.uniform(2, 20))
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    while row < SIDE:
        words = "".join(
            rng.choice(list("abcdefghilmnoprstuvw  ETANR0123"), int(rng.integers(2, 60)))
        )
        if rng.random() < 0.85:
            start = (int(rng.integers(2, 30)), int(row))
            image = _write(image, words, start, (font, scale, ink))
        row += 26 * scale * rng.uniform(0.8, 1.6) + 1
    return _grain(rng, image, most=0.05)


def slice_through(rng: np.random.Generator) -> FloatImage:
    """A CT or MR slice: a rim of fat or bone, organs, bones and air inside, black around."""
    image = np.zeros((SIDE, SIDE), np.float32)
    bright_bone = rng.random() < 0.6
    centre, radii = 0.5 + rng.normal(0, 0.04, 2), rng.uniform(0.25, (0.55, 0.5))
    image = _lay(image, _ellipse(centre, radii, rng.normal(0, 0.1)), rng.uniform(0.2, 0.8))
    inner = _ellipse(centre, radii * rng.uniform(0.8, 0.97, 2))
    image = _lay(image, inner, rng.uniform(0.2, 0.8))
    paired = rng.random() < 0.7
    for _ in range(int(rng.integers(1, 14))):
        place = rng.uniform(-0.75, 0.75, 2) * radii
        size, turn = radii * rng.uniform(0.04, 0.5, 2), rng.uniform(-1.5, 1.5)
        level = rng.random() * (rng.random() > 0.3)
        for side in (1, -1) if paired else (1,):
            organ = _ellipse(centre + place * (side, 1), size, side * turn) * inner
            image = _lay(image, organ, level)
    for _ in range(int(rng.integers(0, 5))):
        spot = centre + rng.uniform(-0.9, 0.9, 2) * radii
        bone = _ellipse(spot, rng.uniform(0.01, 0.1, 2), rng.uniform(0, 3))
        image = _lay(image, bone, float(bright_bone))
    if rng.random() < 0.3:  # the table
        table = np.abs(np.hypot(_columns - 0.5, _rows + rng.uniform(0, 1)) - rng.uniform(1, 1.8))
        image = np.maximum(image, 0.4 * (table < 0.008))
    if rng.random() < 0.3:  # fills the field of view
        image = np.asarray(cv2.resize(image[40:120, 40:120], (SIDE, SIDE)), np.float32)
    image = image * (1 + rng.uniform(0, 0.5) * (noise(rng) - 0.5))
    return _grain(rng, _soften(rng, image, 1.8))


def fan(rng: np.random.Generator) -> FloatImage:
    """An ultrasound fan or block of speckle on black, with scales and words."""
    apex = (rng.uniform(0.35, 0.65), rng.uniform(-0.3, 0.15))
    far = np.hypot(_columns - apex[0], _rows - apex[1])
    angle = np.arctan2(_columns - apex[0], _rows - apex[1])
    inside = (np.abs(angle) < rng.uniform(0.3, 0.9)) & (far > 0.1) & (far < rng.uniform(0.6, 1.1))
    if rng.random() < 0.3:
        left, top = rng.uniform(0.05, 0.4, 2)
        inside = (_columns > left) & (_columns < 1 - left / 2) & (_rows > top) & (_rows < 0.95)
    speckle = rng.gamma(1.2, 1.0, (SIDE, SIDE)).astype(np.float32)
    tissue = np.clip(scene(rng) * rng.uniform(0.5, 1.5), 0, 1)
    image = np.where(inside, np.clip(speckle * tissue * 0.7, 0, 1), 0).astype(np.float32)
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2)), np.float32)
    for _ in range(int(rng.integers(0, 8))):
        start = (int(rng.integers(0, SIDE - 20)), int(rng.integers(5, SIDE)))
        image = _write(image, "12:40 GAIN 3cm", start, (_FONTS[0], rng.uniform(0.2, 0.4), 0.8))
    return image


def limb(rng: np.random.Generator) -> FloatImage:
    """A radiograph of long bones: arm, leg, knee, fingers, hand, pelvis-like rings."""
    soft, bone = np.zeros((2, SIDE, SIDE), np.float32)
    rays = int(rng.choice([1, 2, 3, 5], p=[0.35, 0.25, 0.1, 0.3]))
    tilt, spread = rng.uniform(-0.4, 0.4), rng.uniform(0.1, 0.5)
    flesh = rng.uniform(0.1, 0.3) / np.sqrt(rays)
    for ray in range(rays):
        turn = tilt + spread * (ray - (rays - 1) / 2)
        joints = np.cumsum(rng.uniform(0.12, 0.9, 5)) - rng.uniform(0.3, 0.8)
        offset = 0.5 + 0.16 * (ray - (rays - 1) / 2)
        along = (_rows - 0.5) * np.cos(turn) - (_columns - offset) * np.sin(turn)
        aside = np.abs((_columns - offset) * np.cos(turn) + (_rows - 0.5) * np.sin(turn))
        ends = np.clip(joints[0] - along, 0, None) if rng.random() < 0.5 else 0
        soft += np.sqrt(np.clip(1 - (np.hypot(aside, ends) / flesh) ** 2, 0, 1))
        for low, high in pairwise(joints):
            knuckle = 1 + 0.5 * np.cos(2 * np.pi * np.clip((along - low) / (high - low), 0, 1)) ** 3
            wide = flesh * rng.uniform(0.3, 0.6) * knuckle
            gap = np.clip(np.minimum(along - low, high - along) / 0.015, 0, 1)
            shaft = np.sqrt(np.clip(1 - (aside / wide) ** 2, 0, 1))
            marrow = np.sqrt(np.clip(1 - (aside / (0.6 * wide)) ** 2, 0, 1))
            bone += np.asarray(gap * (shaft - 0.6 * marrow), np.float32)
    if rng.random() < 0.3:  # palm, foot, hip
        palm = _ellipse(np.array([0.5, rng.uniform(0.5, 1.0)]), np.array([0.35, 0.3]))
        soft += palm * rng.uniform(0.4, 1)
        bone += np.abs(_outline(rng, 40.0) - _outline(rng, 30.0)) * 0.3
    total = soft * rng.uniform(0.6, 2.0) + bone * rng.uniform(0.4, 1.2)
    image = 1 - np.exp(-total) if rng.random() < 0.7 else _stretch(total)
    return _grain(rng, _stretch(_soften(rng, image, 1.2)))


def cells(rng: np.random.Generator) -> FloatImage:
    """Many like things: coins, cells, stars, gravel, bricks."""
    image = np.full((SIDE, SIDE), rng.random(), np.float32)
    size, grid = rng.uniform(1, 14), rng.random() < 0.4
    step = max(3.0, 2 * size * rng.uniform(0.8, 2))
    for _ in range(int(min(500, rng.uniform(0.2, 1.5) * (SIDE / step) ** 2))):
        spot = rng.uniform(0, SIDE, 2)
        if grid:
            spot = np.round(spot / step) * step
        radius = max(1, round(size * float(np.exp(rng.normal(0, 0.3)))))
        centre = (round(float(spot[0])), round(float(spot[1])))
        cv2.circle(image, centre, radius, float(rng.random()), -1, cv2.LINE_AA)
        cv2.circle(image, centre, max(1, radius // 2), float(rng.random()), -1, cv2.LINE_AA)
    return _grain(rng, image * (1 - rng.uniform(0, 0.5) * _backdrop(rng)))


PAINTERS: tuple[Painter, ...] = (
    noise, pattern, blank, scene, scene, scene, symmetric, page, slice_through, slice_through,
    fan, limb, limb, cells,
)  # fmt: skip


def _write(
    image: FloatImage, words: str, start: tuple[int, int], style: tuple[int, float, float]
) -> FloatImage:
    """Write words with their lower left corner at ``start``; style is font, scale and grey."""
    font, scale, grey = style
    mask = np.zeros((SIDE, SIDE), np.uint8)  # OpenCV writes on bytes only
    cv2.putText(mask, words, start, font, scale, 255, 1, cv2.LINE_AA)
    ink = mask.astype(np.float32) / np.float32(255)
    return _lay(image, ink, grey)


def _backdrop(rng: np.random.Generator) -> FloatImage:
    """Sky and ground, a wall, a vignette."""
    slope = (_columns - 0.5) * rng.normal(0, 0.5) + (_rows - 0.5) * rng.normal(0, 1)
    horizon = rng.uniform(-0.6, 0.6) * (_rows > rng.uniform(0.2, 0.9))
    vignette = rng.uniform(-1, 1) * np.hypot(_columns - 0.5, _rows - 0.5)
    return _stretch(np.asarray(slope + horizon * (rng.random() < 0.5) + vignette, np.float32))


def _outline(rng: np.random.Generator, size: float) -> FloatImage:
    """A random polygon, ellipse or smooth blob of about ``size`` pixels, 1 inside."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    spot = rng.uniform(0, SIDE, 2)
    count = int(rng.choice([3, 4, 6, 24]))
    turns = np.sort(rng.uniform(0, 2 * np.pi, count)) if count < 24 else np.linspace(0, 6.0, 24)
    wobble = 1 + 0.4 * rng.standard_normal(3) @ np.sin(np.outer([1, 2, 3], turns) + rng.random())
    flat = np.exp(rng.normal(0, 0.4))
    points = np.stack([np.cos(turns) * flat, np.sin(turns) / flat], axis=-1) * wobble[:, None]
    cv2.fillPoly(mask, [np.round(spot + size * points).astype(np.int32)], 255, cv2.LINE_AA)
    return mask.astype(np.float32) / np.float32(255)


def _lay(image: FloatImage, mask: FloatImage, grey: float) -> FloatImage:
    """Lay one grey over an image where the mask is 1."""
    return np.asarray(image * (1 - mask) + mask * np.float32(grey), np.float32)


def _soften(rng: np.random.Generator, image: FloatImage, most: float) -> FloatImage:
    """Blur by up to ``most`` pixels and clip to [0, 1]."""
    soft = cv2.GaussianBlur(np.asarray(image, np.float32), (0, 0), rng.uniform(0.3, most))
    return np.asarray(np.clip(soft, 0, 1), np.float32)


def _ellipse(
    centre: NDArray[np.float64], radii: NDArray[np.float64], tilt: float = 0.0
) -> FloatImage:
    """1 inside an ellipse in shares of the side, with an edge of one pixel."""
    dx, dy = _columns - np.float32(centre[0]), _rows - np.float32(centre[1])
    u = (dx * np.cos(tilt) + dy * np.sin(tilt)) / radii[0]
    v = (dy * np.cos(tilt) - dx * np.sin(tilt)) / radii[1]
    return np.asarray(np.clip((1 - np.hypot(u, v)) * radii.min() * SIDE, 0, 1), np.float32)


def _stretch(image: FloatImage) -> FloatImage:
    low, high = float(image.min()), float(image.max())
    return np.asarray((image - low) / max(high - low, 1e-6), np.float32)


def _grain(rng: np.random.Generator, image: FloatImage, most: float = 0.1) -> FloatImage:
    noisy = image + rng.standard_normal(image.shape) * most * rng.random() ** 2
    return np.asarray(np.clip(noisy, 0, 1), np.float32)

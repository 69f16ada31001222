"""Branching trees in space: pulmonary arteries and veins, and airways that follow them."""

from dataclasses import dataclass

import numpy as np

from service.imaging.radiograph import FloatImage
from training.generate.phantom.body import SOFT_TISSUE
from training.generate.phantom.geometry import FINE, project, stroke, stroke_many
from training.generate.phantom.lungs import cage_profile
from training.generate.phantom.patient import CANVAS, Patient
from training.generate.phantom.sampling import (
    FloatArray,
    blur,
    chance,
    log_uniform,
    noise_image,
    open_spline,
    resize,
    uniform,
)

# Murray's law for a symmetric fork: each daughter has 2**(-1/3) of the parent's radius.
_MURRAY = 2 ** (-1 / 3)
_ALL_ROUND = (-1.35, 1.45)  # radians below the horizontal
_DOWNWARD = (0.1, 1.5)


@dataclass(frozen=True, slots=True)
class Twigs:
    """One generation of a tree: polylines (N, 3, 3) in cm and diameters (N,) in cm."""

    points: FloatArray
    diameters: FloatArray


def hilum(patient: Patient, side: int) -> FloatArray:
    """Position of a hilum in cm; the left one stands about a centimetre higher."""
    x = side * (0.2 if side < 0 else 0.22) * patient.half_width
    y = (0.43 if side < 0 else 0.4) * patient.lung_height
    return np.array([x, y, 0.0], np.float32)


def stem_fan(count: int, ends: tuple[float, float] = _ALL_ROUND) -> FloatArray:
    """Directions of ``count`` stems at a hilum, evenly spread: radians below the horizontal."""
    return np.linspace(*ends, count)


def _unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(
        vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6), np.float32
    )


def _roots(
    rng: np.random.Generator, patient: Patient, side: int, fan: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Start points and directions of the stems at the hilum."""
    count = len(fan)
    angle = fan + rng.normal(0, 0.12, count)
    depth = rng.uniform(-0.8, 0.8, count)
    direction = np.stack([side * np.cos(angle), np.sin(angle), depth], axis=-1)
    spread = np.array(
        [0.03 * patient.half_width, 0.05 * patient.lung_height, 0.1 * patient.half_depth]
    )
    start = hilum(patient, side) + rng.normal(0, 1, (count, 3)) * spread
    start[:, 1] += 0.06 * patient.lung_height * np.sin(angle)
    return start.astype(np.float32), _unit(direction.astype(np.float32))


def _inside(
    patient: Patient, points: FloatArray, side: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    height = points[:, 1] / patient.lung_height
    lateral, depth = cage_profile(patient, height)
    wall = (points[:, 0] / lateral) ** 2 + (points[:, 2] / depth) ** 2
    return (wall < 0.97) & (side * points[:, 0] > 0) & (height > 0.015) & (height < 1.2)


def grow_tree(
    rng: np.random.Generator,
    patient: Patient,
    side: int,
    fan: FloatArray,
    diameter: float,
    generations: int = 7,
) -> list[Twigs]:
    """Grow one lung's tree; twigs that leave the chest end there.

    Parameters
    ----------
    fan
        Direction of each stem in the frontal plane: radians below the horizontal.
    diameter
        Of the stems in cm; lobar arteries of adults measure about 0.6 to 1.2 cm.
    """
    start, direction = _roots(rng, patient, side, fan)
    size = diameter * rng.uniform(0.5, 1.05, len(fan)).astype(np.float32)
    size = size * (1 + 0.3 * direction[:, 1])  # more blood flows to the bases
    length = 0.23 * patient.half_width
    twigs = []
    for generation in range(generations):
        n = len(start)
        if n == 0:
            break
        step = (length * rng.uniform(0.6, 1.35, (n, 1))).astype(np.float32)
        bend = _unit(direction + 0.16 * rng.normal(0, 1, (n, 3)).astype(np.float32))
        middle = start + 0.5 * step * direction
        end = middle + 0.5 * step * bend
        twigs.append(Twigs(np.stack([start, middle, end], axis=1), size))
        keep = _inside(patient, end, side)
        end, bend, size = end[keep], bend[keep], size[keep]
        swing = 0.34 + 0.05 * generation
        sideways = rng.normal(0, 1, bend.shape).astype(np.float32)
        sideways = _unit(sideways - bend * np.sum(sideways * bend, axis=1, keepdims=True))
        major = _unit(bend + swing * sideways * rng.uniform(0.3, 0.9, (len(bend), 1)))
        minor = _unit(bend - swing * sideways * rng.uniform(0.9, 2.2, (len(bend), 1)))
        start = np.concatenate([end, end])
        direction = np.concatenate([major, minor]).astype(np.float32)
        shrink = rng.uniform(0.6, 0.95, len(bend))
        size = np.concatenate(
            [size * _MURRAY * (0.5 + 0.5 * shrink / 0.78), size * _MURRAY * shrink]
        ).astype(np.float32)
        length *= 0.86
    return twigs


def draw_twigs(patient: Patient, twigs: list[Twigs], *, softness: float) -> FloatImage:
    """Add up the chords (cm) of all tubes along the rays, shape (CANVAS, CANVAS)."""
    total = np.zeros((FINE, FINE), np.float32)
    fine_cm = patient.pixels_per_cm * FINE / CANVAS
    for generation in twigs:
        if len(generation.diameters) == 0:
            continue
        flat = project(patient, generation.points)
        largest = float(generation.diameters.max())
        canvas = np.zeros((FINE, FINE), np.uint8)
        for low, high in ((0.0, 0.4), (0.4, 0.7), (0.7, 1.01)):
            chosen = (generation.diameters >= low * largest) & (
                generation.diameters < high * largest
            )
            if chosen.any():
                size = float(generation.diameters[chosen].mean())
                faint = min(1.0, size * fine_cm)  # thinner than a fine pixel
                stroke_many(canvas, flat[chosen], size * fine_cm, 255 * faint * size / largest)
        total += canvas.astype(np.float32) * np.float32(0.8 * largest / 255)
    return resize(blur(total, softness), CANVAS)


def _descending_artery(
    rng: np.random.Generator, patient: Patient, side: int, fullness: float
) -> FloatImage:
    """Chord (cm) of the artery that makes the hilum a comma: wide above, tapering below."""
    head = hilum(patient, side)
    width, height = patient.half_width, patient.lung_height
    outward = uniform(rng, 0.02, 0.07)
    points = np.array(
        [
            (head[0] - side * 0.06 * width, head[1] - 0.01 * height, 0),
            (head[0] + side * outward * width, head[1] - 0.035 * height, 0),
            (head[0] + side * (outward + 0.05) * width, head[1] + 0.03 * height, 0),
            (head[0] + side * (outward + 0.06) * width, head[1] + 0.12 * height, 0),
            (head[0] + side * (outward + 0.11) * width, head[1] + 0.24 * height, 0),
        ],
        np.float32,
    )
    curve = project(patient, open_spline(points, 6))
    canvas = np.zeros((FINE, FINE), np.uint8)
    largest = 1.5 * width / 14.0 * fullness
    for i in range(len(curve) - 1):
        taper = 1 - 0.75 * i / (len(curve) - 1)
        stroke(canvas, curve[i : i + 2], largest * taper * patient.pixels_per_cm, 255 * taper)
    chord = canvas.astype(np.float32) * np.float32(0.7 * largest / 255)
    return resize(blur(chord, uniform(rng, 1.2, 2.5)), CANVAS)


def vessel_attenuation(rng: np.random.Generator, patient: Patient) -> FloatImage:
    """Line integral of blood in the lung vessels above air, shape (CANVAS, CANVAS)."""
    scale = patient.half_width / 14.0
    total = np.zeros((CANVAS, CANVAS), np.float32)
    fullness = uniform(rng, 0.65, 1.35) * (1 - 0.4 * patient.emphysema)
    for side in (-1, 1):
        arteries = grow_tree(
            rng, patient, side, stem_fan(int(rng.integers(9, 14))), 1.0 * scale * fullness
        )
        veins = grow_tree(
            rng, patient, side, stem_fan(int(rng.integers(7, 11))), 0.75 * scale * fullness
        )
        total += draw_twigs(patient, arteries, softness=0.5)
        total += draw_twigs(patient, veins, softness=0.7)
        total += _descending_artery(rng, patient, side, fullness)
    strength = log_uniform(rng, 0.4, 2.5)  # many films show few vessels, and are healthy
    # Vessels too small to be drawn one by one still give the lung its texture.
    mottle = noise_image(rng, CANVAS, float(rng.choice([1.0, 1.3, 1.6])))
    small = log_uniform(rng, 0.003, 0.08) * mottle
    # They fade in places, sick or not: a vessel lost from view is no lesion yet.
    fade = np.clip(1 + uniform(rng, 0.1, 0.6) * noise_image(rng, CANVAS, 2.5), 0.05, 2)
    return np.asarray((SOFT_TISSUE * strength * total + small) * fade, np.float32)


def airway_cast(rng: np.random.Generator, patient: Patient) -> FloatImage:
    """Chord (cm) of air in segmental bronchi, for air bronchograms, shape (CANVAS, CANVAS)."""
    total = np.zeros((CANVAS, CANVAS), np.float32)
    scale = patient.half_width / 14.0
    for side in (-1, 1):
        tree = grow_tree(rng, patient, side, stem_fan(6), 0.75 * scale, generations=5)
        total += draw_twigs(patient, tree, softness=0.9)
    return total


def bronchial_walls(
    rng: np.random.Generator, patient: Patient, sides: tuple[int, ...]
) -> FloatImage:
    """Thickened bronchial walls and their cuffs: blurred streaks out of the hila, in cm."""
    total = np.zeros((CANVAS, CANVAS), np.float32)
    scale = patient.half_width / 14.0
    for side in sides:
        count, diameter = int(rng.integers(8, 13)), uniform(rng, 0.6, 1.2) * scale
        fan = stem_fan(count, _DOWNWARD if chance(rng, 0.7) else _ALL_ROUND)
        tree = grow_tree(rng, patient, side, fan, diameter, generations=5)
        wide = draw_twigs(patient, tree, softness=uniform(rng, 1.2, 3.0))
        total += np.clip(
            wide - uniform(rng, 0.0, 0.5) * draw_twigs(patient, tree, softness=0.8), 0, None
        )
    return total

"""Where each pattern of pneumonia fills the lung, as fields over the ray samples.

Every painter takes (rng, patient, lungs, side) with side -1 for the right lung and 1 for the left,
and returns the filled fraction relative to the lesion's density, shape (DEPTHS, RAYS, RAYS).
"""

from collections.abc import Callable

import numpy as np

from training.generate.phantom.lungs import Lungs
from training.generate.phantom.patient import Patient
from training.generate.phantom.sampling import (
    FloatArray,
    chance,
    log_uniform,
    noise_volume,
    ramp,
    sigmoid,
    uniform,
)
from training.generate.phantom.vessels import hilum

Painter = Callable[[np.random.Generator, Patient, Lungs, int], FloatArray]


def _block(rng: np.random.Generator, lungs: Lungs, exponent: float) -> FloatArray:
    """Clouds drawn out along the bronchi, most of which run downwards."""
    depth, rows, columns = lungs.volume.shape
    return noise_volume(rng, (depth, rows, columns), exponent, uniform(rng, 1.2, 3.0))


def on_side(lungs: Lungs, side: int) -> FloatArray:
    """1 in the lung of that side (-1 right, 1 left), 0 in the other, shape (DEPTHS, 1, RAYS)."""
    return np.asarray(lungs.lateral * side > 0, np.float32)


def _distance(
    lungs: Lungs, patient: Patient, centre: FloatArray, radii: tuple[float, float, float]
) -> FloatArray:
    """Ellipsoidal distance from ``centre``, 1 on the surface.

    ``centre`` is in half widths, lung heights and half depths; ``radii`` all in half widths.
    """
    tall = patient.lung_height / patient.half_width
    deep = patient.half_depth / patient.half_width
    dx = (lungs.lateral - centre[0]) / radii[0]
    dy = (lungs.height - centre[1]) * tall / radii[1]
    dz = (lungs.front - centre[2]) * deep / radii[2]
    return np.asarray(np.sqrt(dx * dx + dy * dy + dz * dz))


def _lobe(rng: np.random.Generator, lungs: Lungs, side: int) -> tuple[FloatArray, FloatArray]:
    """Return the coverage of one lobe and the rough middle of it."""
    edge = log_uniform(rng, 0.02, 0.25)  # lung heights; the beam rarely meets a fissure edge-on
    behind = ramp(lungs.fissures.behind_oblique(lungs.height, lungs.lateral, lungs.front), edge)
    below = ramp(lungs.fissures.below_minor(lungs.height, lungs.lateral), edge)
    lobe = str(rng.choice(["upper", "middle", "lower"], p=[0.3, 0.25, 0.45]))
    if lobe == "lower":
        return behind * on_side(lungs, side), np.array([0.5 * side, 0.78, -0.4], np.float32)
    if lobe == "upper":
        soft = below if side < 0 else ramp(lungs.height - 0.62, 0.3)  # lingula has no fissure
        return (1 - behind) * (1 - soft) * on_side(lungs, side), np.array(
            [0.5 * side, 0.25, 0.1], np.float32
        )
    return (1 - behind) * below * on_side(lungs, side), np.array(
        [0.45 * side, 0.75, 0.5], np.float32
    )


def _lobar(rng: np.random.Generator, patient: Patient, lungs: Lungs, side: int) -> FloatArray:
    lobe, centre = _lobe(rng, lungs, side)
    centre += rng.normal(0, 0.12, 3).astype(np.float32)
    reach = uniform(rng, 0.25, 0.75)
    distance = _distance(lungs, patient, centre, (reach, reach, 1.4 * reach))
    cloud = _block(rng, lungs, 2.2)
    spread = sigmoid((1 - distance + 0.3 * cloud) / uniform(rng, 0.08, 0.35))
    grain = np.clip(1 + uniform(rng, 0, 0.25) * _block(rng, lungs, 1.6), 0.3, 1.2)
    return np.asarray(lobe * spread * grain)


def _segmental(rng: np.random.Generator, patient: Patient, lungs: Lungs, side: int) -> FloatArray:
    """Cone from the hilum to the pleura, bounded by the lobe it lies in."""
    lobe, _ = _lobe(rng, lungs, side)
    root = hilum(patient, side)
    angle, depth = uniform(rng, -1.1, 1.3), uniform(rng, -0.9, 0.9)
    axis = np.array([side * np.cos(angle), np.sin(angle), depth])
    axis /= np.linalg.norm(axis)
    dx = lungs.lateral - root[0] / patient.half_width
    dy = (lungs.height - root[1] / patient.lung_height) * (patient.lung_height / patient.half_width)
    dz = lungs.front * (patient.half_depth / patient.half_width)
    along = dx * axis[0] + dy * axis[1] + dz * axis[2]
    across = np.sqrt(np.clip(dx * dx + dy * dy + dz * dz - along * along, 0, None))
    cloud = _block(rng, lungs, 2.0)
    opening = uniform(rng, 0.25, 0.6)
    cone = sigmoid((along * opening + 0.04 - across + 0.07 * cloud) / uniform(rng, 0.02, 0.08))
    keep_lobe = chance(rng, 0.6)
    bound = lobe if keep_lobe else on_side(lungs, side)
    return np.asarray(cone * ramp(along, 0.15) * bound)


def paint_patchy(rng: np.random.Generator, patient: Patient, lungs: Lungs, side: int) -> FloatArray:
    """Foci of bronchopneumonia that flow together, mostly in the lower and middle lung."""
    sides = [side] if chance(rng, 0.5) else [-1, 1]
    field = np.zeros(lungs.volume.shape, np.float32)
    for _ in range(int(rng.integers(1, 7))):
        focus = int(rng.choice(sides))
        centre = np.array(
            [focus * uniform(rng, 0.2, 0.85), rng.beta(2.4, 1.5), rng.uniform(-0.7, 0.7)],
            np.float32,
        )
        across = uniform(rng, 0.1, 0.3)
        down = across * uniform(rng, 0.8, 1.9)
        # Foci line up along the bronchi: what looks like one patch is several, one behind another.
        distance = _distance(lungs, patient, centre, (across, down, uniform(rng, 0.2, 0.8)))
        np.maximum(field, uniform(rng, 0.5, 1.0) * np.exp(-(distance**2)), out=field)
    cloud = _block(rng, lungs, 2.0)
    mottle = _block(rng, lungs, 1.5)
    level, soft = uniform(rng, 0.25, 0.5), uniform(rng, 0.08, 0.3)
    field = sigmoid((field - level + 0.2 * cloud + uniform(rng, 0, 0.12) * mottle) / soft) * (
        field > 0.08
    )
    return np.asarray(field * sum(on_side(lungs, s) for s in sides), np.float32)


def _perihilar(rng: np.random.Generator, patient: Patient, lungs: Lungs, side: int) -> FloatArray:
    """Haze round the hila that thins outwards, as in viral bronchiolitis and pneumonitis."""
    sides = [-1, 1] if chance(rng, 0.8) else [side]
    cloud, mottle = _block(rng, lungs, 2.0), _block(rng, lungs, 1.5)
    field = np.zeros(lungs.volume.shape, np.float32)
    for each in sides:
        root = hilum(patient, each)
        x = root[0] / patient.half_width + each * uniform(rng, 0, 0.15)
        y = root[1] / patient.lung_height + uniform(rng, 0, 0.2)
        centre = np.array([x, y, 0.0], np.float32)
        radii = (uniform(rng, 0.3, 0.65), uniform(rng, 0.4, 0.85), uniform(rng, 0.4, 0.8))
        haze = np.exp(-(_distance(lungs, patient, centre, radii) ** 2)) * on_side(lungs, each)
        np.maximum(field, haze, out=field)
    texture = 0.8 + uniform(rng, 0.1, 0.35) * cloud + uniform(rng, 0.1, 0.4) * mottle
    return np.asarray(field * np.clip(texture, 0, 1.4))


def _retrocardiac(
    rng: np.random.Generator, patient: Patient, lungs: Lungs, side: int
) -> FloatArray:
    """Lower lobe beside the spine, seen through the heart on the left."""
    behind = ramp(lungs.fissures.behind_oblique(lungs.height, lungs.lateral, lungs.front), 0.03)
    centre = np.array(
        [side * uniform(rng, 0.15, 0.4), uniform(rng, 0.75, 1.0), uniform(rng, -0.7, -0.3)],
        np.float32,
    )
    radii = (uniform(rng, 0.25, 0.5), uniform(rng, 0.3, 0.6), uniform(rng, 0.3, 0.6))
    cloud = _block(rng, lungs, 2.0)
    core = sigmoid(
        (1 - _distance(lungs, patient, centre, radii) + 0.2 * cloud) / uniform(rng, 0.06, 0.25)
    )
    return behind * core * on_side(lungs, side)


def _diffuse(rng: np.random.Generator, patient: Patient, lungs: Lungs, side: int) -> FloatArray:
    """Both lungs, uneven, often denser at the bases or at the periphery."""
    del patient  # both lungs, whatever their size
    gradient = uniform(rng, 0.3, 1.0) + uniform(rng, -0.3, 1.3) * (lungs.height - 0.5)
    if chance(rng, 0.3):
        gradient = gradient * np.clip(
            0.35 + lungs.wall, 0, 1.2
        )  # peripheral, as viral disease of adults
    weaker = uniform(rng, 0.3, 1.0)
    balance = np.where(lungs.lateral * side > 0, 1.0, weaker)
    cloud, mottle = _block(rng, lungs, 2.2), _block(rng, lungs, 1.4)
    texture = 0.75 + uniform(rng, 0.15, 0.6) * cloud + uniform(rng, 0.1, 0.5) * mottle
    if chance(rng, 0.35):
        texture = texture * np.clip(1.4 - 1.6 * np.abs(mottle), 0.2, 1.4)  # reticular net
    return np.asarray(np.clip(gradient, 0, 1.2) * balance * np.clip(texture, 0, 1.5), np.float32)


def _round(rng: np.random.Generator, patient: Patient, lungs: Lungs, side: int) -> FloatArray:
    centre = np.array(
        [side * uniform(rng, 0.3, 0.75), uniform(rng, 0.2, 0.9), uniform(rng, -0.7, 0.2)],
        np.float32,
    )
    radius = uniform(rng, 0.17, 0.36)
    distance = _distance(
        lungs, patient, centre, (radius, radius * uniform(rng, 0.85, 1.15), radius)
    )
    soft = uniform(rng, 0.06, 0.25)
    return sigmoid((1 - distance + 0.08 * _block(rng, lungs, 2.2)) / soft) * on_side(lungs, side)


def _hemithorax(rng: np.random.Generator, patient: Patient, lungs: Lungs, side: int) -> FloatArray:
    del patient  # all of one side, whatever its size
    cloud = _block(rng, lungs, 2.2)
    fall = uniform(rng, -0.3, 0.8) * (lungs.height - 0.5)
    return np.clip(uniform(rng, 0.6, 1.1) + fall + 0.2 * cloud, 0, 1) * on_side(lungs, side)


PAINTERS: dict[str, Painter] = {
    "lobar": _lobar,
    "segmental": _segmental,
    "patchy": paint_patchy,
    "perihilar": _perihilar,
    "retrocardiac": _retrocardiac,
    "diffuse": _diffuse,
    "round": _round,
    "hemithorax": _hemithorax,
}

"""What a chest CT leaves out: arms beside the chest, and gas in the belly.

files -> scan -> volume -> patient -> [projection] -> film

Both are flat shapes on the film's plane, the same in both halves of a pair.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from service.imaging.radiograph import FloatImage
from training.generate.ct.geometry import Field
from training.generate.ct.patient import Patient
from training.generate.phantom.sampling import chance, uniform

_WATER = 0.02  # attenuation per mm
_CORTEX = 0.35  # of a bone's radius


@dataclass(frozen=True, slots=True, kw_only=True)
class Limb:
    """An upper arm from shoulder to elbow; places (x, z) and radii in mm."""

    start: tuple[float, float]
    end: tuple[float, float]
    radius: float
    bone: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bubble:
    """Gas in stomach or bowel: an ellipsoid; place (x, z) and half axes in mm."""

    place: tuple[float, float]
    axes: tuple[float, float]
    thick: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Everything beside the CT."""

    limbs: tuple[Limb, ...]
    bubbles: tuple[Bubble, ...]


def draw_surroundings(
    rng: np.random.Generator, patient: Patient, half: list[float], lungs: FloatImage, wide: Field
) -> Surroundings:
    """Draw arms and gas.

    Parameters
    ----------
    half
        Half of the lungs' width, depth and height in mm.
    lungs
        Coverage by lung in the field ``wide``; gas lies below it.
    """
    limbs = _draw_arms(rng, patient, half) if patient.arms else ()
    bubbles = [_stomach(rng, patient, lungs, wide)] if chance(rng, 0.5) else []
    if patient.child or chance(rng, 0.3):
        bubbles += [_bowel(rng, patient, half, lungs, wide) for _ in range(int(rng.integers(0, 9)))]
    return Surroundings(limbs=limbs, bubbles=tuple(bubbles))


def _draw_arms(rng: np.random.Generator, patient: Patient, half: list[float]) -> tuple[Limb, ...]:
    size = patient.scale[0]
    raised = patient.child and chance(rng, 0.45)
    radius = uniform(rng, 30, 42) * size * patient.girth**0.4
    limbs = []
    for side in (-1, 1):
        x = half[0] + uniform(rng, 24, 40) * size
        far = x + (uniform(rng, 30, 110) if raised else uniform(rng, 5, 55)) * size
        z = half[2] * uniform(rng, 0.75, 1.0)
        rise = uniform(rng, 20, 120) * size if raised else -uniform(rng, 1.1, 2.0) * half[2]
        limbs.append(
            Limb(
                start=(side * x, z),
                end=(side * far, z + rise),
                radius=radius,
                bone=radius * uniform(rng, 0.24, 0.32),
            )
        )
    return tuple(limbs)


def _dome(lungs: FloatImage, wide: Field, x: float) -> float:
    """Lowest z with lung above it at x."""
    side: int = lungs.shape[0]
    column = min(max(round(((x - wide.column) / wide.width + 0.5) * side), 0), side - 1)
    rows = np.flatnonzero(lungs[:, column] > 0.4)
    row: float = float(rows[-1]) if len(rows) else 0.65 * side
    return -(wide.row + (row / side - 0.5) * wide.height)


def _stomach(rng: np.random.Generator, patient: Patient, lungs: FloatImage, wide: Field) -> Bubble:
    size = patient.scale[0]
    axes = (uniform(rng, 14, 38) * size, uniform(rng, 9, 24) * size)
    x = uniform(rng, 45, 85) * size
    z = _dome(lungs, wide, x) - axes[1] - uniform(rng, 6, 16) * size
    return Bubble(place=(x, z), axes=axes, thick=uniform(rng, 20, 60) * size)


def _bowel(
    rng: np.random.Generator,
    patient: Patient,
    half: list[float],
    lungs: FloatImage,
    wide: Field,
) -> Bubble:
    size = patient.scale[0]
    x = uniform(rng, -0.8, 0.9) * half[0]
    axes = (uniform(rng, 8, 26) * size, uniform(rng, 7, 18) * size)
    z = _dome(lungs, wide, x) - (uniform(rng, 35, 130) if x < 0 else uniform(rng, 15, 120)) * size
    return Bubble(place=(x, z), axes=axes, thick=uniform(rng, 12, 40) * size)


def surround(shadow: Tensor, around: Surroundings, field: Field) -> Tensor:
    """Add the arms to an attenuation map, and take the gas out of it."""
    rows, columns = shadow.shape
    x, z = (axis.to(shadow.device) for axis in field.axes(rows, columns))
    for bubble in around.bubbles:
        apart = ((x - bubble.place[0]) / bubble.axes[0]) ** 2
        apart = apart + ((z - bubble.place[1]) / bubble.axes[1]) ** 2
        gas = torch.sqrt((1 - apart).clamp(min=0)) * (bubble.thick * _WATER)
        shadow = shadow - torch.minimum(gas, 0.4 * shadow)
    for limb in around.limbs:
        distance = _distance(x, z, limb)
        shadow = shadow + _WATER * _chord(distance, limb.radius)
        cortex = _chord(distance, limb.bone) - 0.8 * _chord(distance, limb.bone * (1 - _CORTEX))
        shadow = shadow + 1.5 * _WATER * cortex
    return shadow


def _chord(distance: Tensor, radius: float) -> Tensor:
    return 2 * torch.sqrt((radius**2 - distance**2).clamp(min=0))


def _distance(x: Tensor, z: Tensor, limb: Limb) -> Tensor:
    (x0, z0), (x1, z1) = limb.start, limb.end
    length = (x1 - x0) ** 2 + (z1 - z0) ** 2
    along = (((x - x0) * (x1 - x0) + (z - z0) * (z1 - z0)) / length).clamp(0, 1)
    return torch.hypot(x - x0 - along * (x1 - x0), z - z0 - along * (z1 - z0))

"""Pneumonia in three dimensions: which fraction of the air of every lung sample is replaced.

Because lesions are volumes, they lose the outline of the heart or diaphragm only where they touch
it (silhouette sign), end at fissures, and hide behind heart and domes as real ones do.
"""

from dataclasses import dataclass, replace

import numpy as np

from training.generate.phantom.lungs import Lungs
from training.generate.phantom.patient import Patient
from training.generate.phantom.patterns import PAINTERS, on_side, paint_patchy
from training.generate.phantom.sampling import FloatArray, chance, ramp, uniform


@dataclass(frozen=True, slots=True)
class _Habit:
    """How often a pattern occurs and what it looks like."""

    child: float  # share among children: more perihilar (viral) and round pneumonia
    adult: float  # share among adults: more patchy and diffuse disease
    density: tuple[float, float]  # range of the fraction of air replaced at its core
    bronchogram: float  # probability that the bronchi inside stay open and visible


_HABITS = {
    "lobar": _Habit(0.09, 0.12, (0.25, 0.9), 0.6),
    "segmental": _Habit(0.10, 0.16, (0.25, 0.9), 0.5),
    "patchy": _Habit(0.16, 0.28, (0.2, 0.85), 0.4),
    "perihilar": _Habit(0.36, 0.10, (0.12, 0.6), 0.1),
    "retrocardiac": _Habit(0.06, 0.10, (0.3, 0.95), 0.5),
    "diffuse": _Habit(0.17, 0.19, (0.12, 0.6), 0.3),
    "round": _Habit(0.04, 0.03, (0.3, 0.9), 0.1),
    "hemithorax": _Habit(0.02, 0.02, (0.5, 1.0), 0.4),
}
PATTERNS = tuple(_HABITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """One drawn pneumonia.

    Attributes
    ----------
    filled
        Fraction of air replaced, [0, 1], shape (DEPTHS, RAYS, RAYS).
    streaks
        Weight of thickened bronchial walls; 0 for none.
    streak_sides
        Sides (-1 right, 1 left) they are drawn on.
    bronchogram
        How much of the bronchi stays open inside the lesion, 0 to 1.
    """

    filled: FloatArray
    pattern: str
    side: str
    streaks: float
    streak_sides: tuple[int, ...]
    bronchogram: float
    effusion: bool

    @property
    def interstitial(self) -> bool:
        """Whether it thickens walls and septa more than it fills air spaces."""
        return self.pattern in {"perihilar", "diffuse"}


def pleural_fluid(
    rng: np.random.Generator, patient: Patient, lungs: Lungs, side: int, amount: float
) -> FloatArray:
    """Fluid in one pleural space: a meniscus upright, a layer behind when supine.

    Parameters
    ----------
    amount
        0 blunts the costophrenic angle, 1 covers half of the lung.

    Returns
    -------
    FloatArray
        Fraction of lung replaced, shape (DEPTHS, RAYS, RAYS).
    """
    if patient.supine:
        layer = -1 + (0.15 + 0.6 * amount)  # half depths
        depth = ramp(layer - lungs.front + 0.25 * (lungs.height - 0.8), 0.15)
        return np.asarray(depth * on_side(lungs, side) * ramp(lungs.height - 0.3, 0.4), np.float32)
    level = 1.12 - 0.55 * amount + uniform(rng, -0.02, 0.02)
    climb = uniform(rng, 0.12, 0.3) * (0.5 + amount)  # fluid creeps up along the chest wall
    surface = level - climb * np.clip(lungs.wall - 0.55, 0, 0.45) / 0.45
    return ramp(lungs.height - surface, 0.05) * on_side(lungs, side)


def choose_pattern(rng: np.random.Generator, patient: Patient) -> str:
    """Draw one of PATTERNS with the frequencies of the patient's age."""
    weights = [habit.child if patient.child else habit.adult for habit in _HABITS.values()]
    return str(rng.choice(PATTERNS, p=weights))


def draw_lesion(
    rng: np.random.Generator, patient: Patient, lungs: Lungs, pattern: str, strength: float
) -> Lesion:
    """Draw one pneumonia.

    Parameters
    ----------
    pattern
        One of PATTERNS.
    strength
        Least density relative to the pattern's range, 0 to 1; raised when a draw was invisible.
    """
    habit = _HABITS[pattern]
    side = -1 if chance(rng, 0.56) else 1  # the right lung is affected more often
    if pattern == "retrocardiac" and chance(rng, 0.5):
        side = 1
    low, high = habit.density
    density = low + (high - low) * max(strength, float(rng.beta(1.2, 1.4)))
    filled = np.clip(PAINTERS[pattern](rng, patient, lungs, side), 0, 1) * np.float32(density)
    if chance(rng, 0.2) and pattern != "hemithorax":  # a second, fainter focus
        filled = np.maximum(
            filled, uniform(rng, 0.2, 0.6) * np.clip(paint_patchy(rng, patient, lungs, -side), 0, 1)
        )
    effusion = chance(rng, 0.06 if patient.child else 0.12) and pattern != "perihilar"
    if effusion:
        fluid = pleural_fluid(rng, patient, lungs, side, float(rng.beta(1.2, 2.5)))
        filled = np.maximum(filled, fluid)
    often = 1.0 if pattern == "perihilar" else 0.85 if pattern in {"diffuse", "patchy"} else 0.5
    streaky = chance(rng, often)
    both = pattern in {"perihilar", "diffuse"}
    return Lesion(
        filled=np.asarray(filled, np.float32),
        pattern=pattern,
        side="both" if both else ("right" if side < 0 else "left"),
        streaks=uniform(rng, 0.2, 1.0) if streaky else 0.0,
        streak_sides=(-1, 1) if both else (side,),
        bronchogram=uniform(rng, 0.3, 0.9) if chance(rng, habit.bronchogram) else 0.0,
        effusion=effusion,
    )


def join(first: Lesion, second: Lesion) -> Lesion:
    """One pneumonia of two foci; all but extent and side are those of the first."""
    return replace(
        first,
        filled=np.maximum(first.filled, second.filled),
        side=first.side if first.side == second.side else "both",
    )

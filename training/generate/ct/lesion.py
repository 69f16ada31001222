"""Pneumonia in three dimensions: which share of each lung voxel's air is replaced.

files -> scan -> volume -> [lungs -> lesion] -> projection -> film

Because it lies in the volume, it hides the outline of heart or diaphragm only where it touches it
(silhouette sign), leaves vessels what they are, and disappears behind what is in front of it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.generate.ct.lungs import Lungs
from training.generate.ct.patterns import PAINTERS, Shape, is_one_sided
from training.generate.phantom.sampling import chance, log_uniform, uniform


@dataclass(frozen=True, slots=True)
class _Habit:
    """How often a pattern occurs and what it looks like."""

    child: float  # share among children
    adult: float  # share among adults
    extent: tuple[float, float]  # share of the lungs it lies in
    density: tuple[float, float]  # share of the air replaced
    bronchogram: float  # probability of open bronchi inside


_HABITS = {
    "lobar": _Habit(0.10, 0.12, (0.12, 0.55), (0.6, 1.0), 0.5),
    "segmental": _Habit(0.12, 0.14, (0.06, 0.25), (0.55, 1.0), 0.4),
    "patchy": _Habit(0.20, 0.27, (0.08, 0.40), (0.45, 1.0), 0.2),
    "perihilar": _Habit(0.24, 0.06, (0.2, 0.65), (0.35, 0.85), 0.1),
    "interstitial": _Habit(0.13, 0.08, (0.3, 0.85), (0.25, 0.6), 0.0),
    "round": _Habit(0.05, 0.03, (0.02, 0.09), (0.7, 1.0), 0.1),
    "diffuse": _Habit(0.08, 0.13, (0.25, 0.8), (0.3, 0.75), 0.2),
    "basal": _Habit(0.08, 0.17, (0.06, 0.3), (0.5, 1.0), 0.3),
}
PATTERNS = tuple(_HABITS)
_FLUID = {"lobar", "basal", "patchy", "diffuse"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """One drawn pneumonia.

    Attributes
    ----------
    filled
        Share of the air replaced, shape (N,) over the voxels of both lungs.
    tissue
        Hounsfield units of what replaces it.
    """

    filled: Tensor
    tissue: float
    pattern: str
    side: str
    effusion: bool

    def joined(self, other: "Lesion") -> "Lesion":
        """Return both together, under the name of this one."""
        return Lesion(
            filled=torch.maximum(self.filled, other.filled),
            tissue=self.tissue,
            pattern=self.pattern,
            side=self.side if self.side == other.side else "both",
            effusion=self.effusion or other.effusion,
        )


def draw_pattern(rng: np.random.Generator, *, child: bool) -> str:
    """Draw a pattern as often as the age has it."""
    shares = np.array([h.child if child else h.adult for h in _HABITS.values()])
    return str(rng.choice(PATTERNS, p=shares / shares.sum()))


def draw_lesion(rng: np.random.Generator, lungs: Lungs, pattern: str, *, child: bool) -> Lesion:
    """Draw one lesion of a pattern."""
    habit = _HABITS[pattern]
    side = str(rng.choice(["right", "left"], p=[0.56, 0.44]))
    side = side if is_one_sided(rng, pattern) else "both"
    shape = PAINTERS[pattern](rng, lungs, side)
    filled = _fill(shape, lungs.on_side(side), log_uniform(rng, *habit.extent))
    filled = filled * uniform(rng, *habit.density)
    if chance(rng, habit.bronchogram):
        filled = _open_bronchi(rng, lungs, filled, uniform(rng, 0.5, 1.0))
    if chance(rng, 0.65 if child else 0.5):
        filled = 1 - (1 - filled) * (1 - _veil(rng, lungs, side, pattern))
    effusion = pattern in _FLUID and chance(rng, 0.08 if child else 0.2)
    if effusion:
        fluid = pleural_fluid(rng, lungs, side, uniform(rng, 0.02, 0.2))
        filled = torch.maximum(filled, fluid)
    return Lesion(
        filled=filled,
        tissue=uniform(rng, -30, 50),
        pattern=pattern,
        side=side,
        effusion=effusion,
    )


def _fill(shape: Shape, side: Tensor, extent: float) -> Tensor:
    """Take the best-scoring ``extent`` of the lungs the lesion lies in."""
    allowed = shape.score[shape.where > 0.5]
    wanted = min(max(1, round(extent * float(side.sum()))), len(allowed))
    bound = torch.topk(allowed, wanted).values[-1] if wanted else shape.score.max()
    inside = torch.sigmoid((shape.score - bound) / shape.soft)
    return inside * shape.where * shape.texture.clamp(0, 1)


def _veil(rng: np.random.Generator, lungs: Lungs, side: str, pattern: str) -> Tensor:
    """Haze of a lung that is badly aired around its pneumonia, shape (N,)."""
    density = log_uniform(rng, 0.05, 0.3) * (1 + 0.4 * lungs.noise(rng, 60)).clamp(0.2, 2)
    low = (1 + uniform(rng, -0.3, 1.2) * (0.5 - lungs.height)).clamp(0, 2)
    other = 0.0 if pattern in {"lobar", "segmental", "round"} else uniform(rng, 0.2, 1)
    return (density * low * torch.where(lungs.on_side(side), 1.0, other)).clamp(0, 0.6)


def pleural_fluid(rng: np.random.Generator, lungs: Lungs, side: str, level: float) -> Tensor:
    """Fluid up to a level, higher along the pleura (meniscus) and at the back, shape (N,)."""
    climb = uniform(rng, 0.08, 0.3) * torch.exp(-lungs.pleura / uniform(rng, 4, 9))
    surface = level + climb + 0.05 * lungs.back + 0.01 * lungs.noise(rng, 50)
    return torch.sigmoid((surface - lungs.height) / 0.012) * lungs.on_side(side)


def _open_bronchi(
    rng: np.random.Generator, lungs: Lungs, filled: Tensor, openness: float
) -> Tensor:
    """Leave branching tubes of air in dense parts (air bronchogram)."""
    dense = torch.nonzero(filled > 0.3)[:, 0]
    if not len(dense):
        return filled
    points, widths = _bronchi(rng, lungs.hilum[dense])
    distance = torch.cdist(lungs.hilum[dense], points)
    tubes = torch.exp(-((distance / widths) ** 2)).amax(dim=1)
    opened = filled.clone()
    opened[dense] = filled[dense] * (1 - openness * tubes)
    return opened


def _bronchi(rng: np.random.Generator, dense: Tensor) -> tuple[Tensor, Tensor]:
    """Points along bronchi from the hilum to random places in the lesion, and their widths."""
    ends = dense[torch.from_numpy(rng.integers(len(dense), size=14)).to(dense.device)]
    along = torch.linspace(0.15, 0.95, 36, device=dense.device)[:, None, None]
    # Neighbours share their way near the hilum and part later.
    trunk = ends.mean(dim=0, keepdim=True)
    path = along * (trunk * (1 - along) + ends * along) * 1.0
    widths = (3.4 - 2.0 * along).expand(-1, len(ends), 1)
    return path.reshape(-1, 3), widths.reshape(1, -1)

"""Shapes of pneumonia as functions over the voxels of the lungs.

files -> scan -> volume -> [lungs -> lesion] -> projection -> film

A painter returns a score, highest at the core of the disease, and where the disease may be at all.
The size is not theirs: the lesion is the best-scoring share of the lung.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.generate.ct.lungs import Lungs
from training.generate.phantom.sampling import chance, uniform


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Where a lesion lies.

    Attributes
    ----------
    score
        In mm, higher nearer to the core, shape (N,).
    where
        Share in [0, 1] of each voxel in which the disease may be, shape (N,).
    texture
        Factor on the density, shape (N,).
    soft
        Width of the lesion's edge in mm.
    """

    score: Tensor
    where: Tensor
    texture: Tensor
    soft: float


Painter = Callable[[np.random.Generator, Lungs, str], Shape]


def lobe(rng: np.random.Generator, lungs: Lungs, side: str) -> tuple[Tensor, str]:
    """Soft membership in one lobe: fissures are planes with some waviness."""
    oblique = lungs.height - 0.07 - uniform(rng, 0.28, 0.36) * (lungs.back + 1)
    wave = 0.03 * lungs.noise(rng, 60)
    behind = torch.sigmoid(-(oblique + wave) / 0.012)
    names = ["lower", "upper"] + (["middle"] if side == "right" else [])
    name = str(rng.choice(names, p=[0.5, 0.5] if side == "left" else [0.42, 0.3, 0.28]))
    if name == "lower":
        part = behind
    elif side == "left":
        part = 1 - behind
    else:
        above = torch.sigmoid((lungs.height - uniform(rng, 0.42, 0.52) + wave) / 0.012)
        part = (1 - behind) * (above if name == "upper" else 1 - above)
    return part * lungs.on_side(side), name


def _core(rng: np.random.Generator, lungs: Lungs, where: Tensor) -> Tensor:
    """Place of one voxel drawn from those allowed, shape (3,)."""
    allowed = torch.nonzero(where > 0.5)[:, 0]
    if not len(allowed):
        allowed = torch.arange(len(where))
    return lungs.place[allowed[int(rng.integers(len(allowed)))]]


def _distance(rng: np.random.Generator, lungs: Lungs, core: Tensor, odd: float) -> Tensor:
    """Return mm from a core, longer along some axes than along others."""
    stretch = np.exp(rng.normal(0, odd, 3)).astype(np.float32)
    away: Tensor = (lungs.place - core) / torch.from_numpy(stretch).to(core.device)
    distance: Tensor = away.norm(dim=1)
    return distance


def _mottle(rng: np.random.Generator, lungs: Lungs, depth: float) -> Tensor:
    fine = lungs.noise(rng, uniform(rng, 7, 14)) + lungs.noise(rng, uniform(rng, 18, 40))
    return (1 + depth * fine).clamp(0, 1.3)


def paint_lobar(rng: np.random.Generator, lungs: Lungs, side: str) -> Shape:
    """Spread through a lobe until a fissure stops it."""
    where, _ = lobe(rng, lungs, side)
    score = -_distance(rng, lungs, _core(rng, lungs, where), 0.25)
    score = score + uniform(rng, 4, 10) * lungs.noise(rng, 35)
    texture = _mottle(rng, lungs, uniform(rng, 0.05, 0.2))
    return Shape(score=score, where=where, texture=texture, soft=uniform(rng, 1.5, 5))


def paint_segmental(rng: np.random.Generator, lungs: Lungs, side: str) -> Shape:
    """A wedge from the hilum to the pleura."""
    where, _ = lobe(rng, lungs, side)
    core = _core(rng, lungs, where * (lungs.pleura < 15))
    axis = core - (lungs.place - lungs.hilum)[torch.nonzero(lungs.on_side(side))[0, 0]]
    length = lungs.hilum.norm(dim=1)
    cosine = (lungs.hilum @ (axis / axis.norm())) / length.clamp(min=1)
    score = 90 * cosine - 0.25 * (lungs.place - core).norm(dim=1)
    score = score + uniform(rng, 3, 8) * lungs.noise(rng, 25)
    texture = _mottle(rng, lungs, uniform(rng, 0.05, 0.25))
    return Shape(score=score, where=where, texture=texture, soft=uniform(rng, 2, 6))


def paint_patchy(rng: np.random.Generator, lungs: Lungs, side: str) -> Shape:
    """Bronchopneumonia: several foci of unequal size, mostly low."""
    where = lungs.on_side(side).float()
    allowed = where * (lungs.height < uniform(rng, 0.5, 1.0))
    score = torch.full_like(lungs.height, -200.0)
    for _ in range(int(rng.integers(2, 11))):
        distance = _distance(rng, lungs, _core(rng, lungs, allowed), 0.3)
        score = torch.maximum(score, uniform(rng, 0, 18) - distance)
    score = score + uniform(rng, 4, 9) * lungs.noise(rng, uniform(rng, 12, 25))
    texture = _mottle(rng, lungs, uniform(rng, 0.1, 0.35))
    return Shape(score=score, where=where, texture=texture, soft=uniform(rng, 3, 10))


def paint_perihilar(rng: np.random.Generator, lungs: Lungs, side: str) -> Shape:
    """Cuffs around the bronchi: streaks that radiate from the hila, in a haze."""
    length = lungs.hilum.norm(dim=1).clamp(min=4)
    rays = lungs.noise(rng, uniform(rng, 0.12, 0.25), lungs.hilum / length[:, None])
    breaks = lungs.noise(rng, 20)
    streaks = torch.sigmoid(4 * (rays + 0.4 * breaks - 0.3))
    haze = uniform(rng, 0.25, 0.7)
    below = uniform(rng, 0, 25) * (0.5 - lungs.height)
    score = -length + below + 8 * lungs.noise(rng, 40)
    return Shape(
        score=score,
        where=lungs.on_side(side).float(),
        texture=haze + (1 - haze) * streaks,
        soft=uniform(rng, 10, 22),
    )


def paint_interstitial(rng: np.random.Generator, lungs: Lungs, side: str) -> Shape:
    """A net of thickened septa with some ground glass, often at the bases."""
    net = torch.zeros_like(lungs.height)
    for cell in (uniform(rng, 7, 10), uniform(rng, 12, 18)):
        net = torch.maximum(net, torch.exp(-((lungs.noise(rng, cell) / 0.45) ** 2)))
    haze = uniform(rng, 0.2, 0.6)
    score = uniform(rng, -10, 60) * (0.6 - lungs.height) + 25 * lungs.noise(rng, 50)
    return Shape(
        score=score,
        where=lungs.on_side(side).float(),
        texture=haze + (1 - haze) * net,
        soft=uniform(rng, 10, 25),
    )


def paint_round(rng: np.random.Generator, lungs: Lungs, side: str) -> Shape:
    """One ball, mostly posterior and low."""
    where = lungs.on_side(side).float()
    core = _core(rng, lungs, where * (lungs.back > -0.2) * (lungs.pleura > 6))
    score = -_distance(rng, lungs, core, 0.1) + 2 * lungs.noise(rng, 14)
    return Shape(
        score=score,
        where=where,
        texture=_mottle(rng, lungs, 0.08),
        soft=uniform(rng, 2, 6),
    )


def paint_diffuse(rng: np.random.Generator, lungs: Lungs, side: str) -> Shape:
    """Ground glass and clouds through most of the lungs."""
    peripheral = uniform(rng, -0.6, 0.8) * (20 - lungs.pleura.clamp(max=40))
    below = uniform(rng, 0, 60) * (0.5 - lungs.height)
    score = peripheral + below + uniform(rng, 12, 30) * lungs.noise(rng, uniform(rng, 30, 60))
    return Shape(
        score=score,
        where=lungs.on_side(side).float(),
        texture=_mottle(rng, lungs, uniform(rng, 0.15, 0.4)),
        soft=uniform(rng, 8, 20),
    )


def paint_basal(rng: np.random.Generator, lungs: Lungs, side: str) -> Shape:
    """The lowest part of a lower lobe, also behind the heart."""
    where = lungs.on_side(side).float()
    medial = -lungs.hilum[:, 0].abs() * uniform(rng, 0.0, 1.0)
    score = -230 * lungs.height + uniform(rng, 10, 50) * lungs.back + medial
    score = score + uniform(rng, 8, 16) * lungs.noise(rng, 30)
    texture = _mottle(rng, lungs, uniform(rng, 0.1, 0.3))
    return Shape(score=score, where=where, texture=texture, soft=uniform(rng, 4, 14))


PAINTERS: dict[str, Painter] = {
    "lobar": paint_lobar,
    "segmental": paint_segmental,
    "patchy": paint_patchy,
    "perihilar": paint_perihilar,
    "interstitial": paint_interstitial,
    "round": paint_round,
    "diffuse": paint_diffuse,
    "basal": paint_basal,
}


def is_one_sided(rng: np.random.Generator, pattern: str) -> bool:
    """Draw whether a pattern keeps to one lung."""
    both = {"patchy": 0.5, "perihilar": 0.75, "interstitial": 0.9, "diffuse": 0.85, "basal": 0.3}
    return not chance(rng, both.get(pattern, 0.0))

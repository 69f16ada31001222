"""Put the phantom together: one anatomy, projected without and with pneumonia.

patient -> chest (line integrals) -> lesion (fraction of air replaced) -> opacity -> [projection]
"""

from dataclasses import dataclass

import numpy as np

from service.imaging.radiograph import FloatImage
from training.generate.phantom.chest import Chest, Fact, build_chest, upsample
from training.generate.phantom.opacity import Opacity, draw_opacity
from training.generate.phantom.patient import CANVAS

__all__ = ["CANVAS", "PhantomCase", "Projection", "simulate"]

# Added line integral drawn as full intensity in the lesion mask (an obvious consolidation).
_MASK_FULL = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Line-integral maps of one exposure, all float32 of shape (CANVAS, CANVAS).

    Attributes
    ----------
    attenuation
        Line integral of the attenuation coefficient (dimensionless), 0 outside the body.
    lungs, heart
        Projected fields in [0, 1].
    lesion
        Visibility of the lesion in [0, 1]: the added line integral over 0.5, clipped; all 0 when
        healthy.
    pixels_per_cm
        Canvas scale in the middle of the thorax.
    """

    attenuation: FloatImage
    lungs: FloatImage
    heart: FloatImage
    lesion: FloatImage
    pixels_per_cm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomCase:
    """A pair of projections that differ by the lesion alone, and what is known about them."""

    healthy: Projection
    pneumonia: Projection
    facts: dict[str, Fact]


def simulate(rng: np.random.Generator, *, lesion: bool = True) -> PhantomCase:
    """Simulate one patient without and with pneumonia.

    Parameters
    ----------
    rng
        Two independent streams are derived from it, one for the anatomy and one for the lesion,
        so the anatomy does not depend on ``lesion``.
    lesion
        False leaves the lesion out of both halves, for the test that nothing else tells the
        classes apart.

    Returns
    -------
    PhantomCase
        ``facts`` holds age_band, view, pattern and side ("" without a lesion), and the nuisance
        factors shared by both halves.
    """
    anatomy_seed, lesion_seed = rng.integers(0, 2**63, size=2)
    chest = build_chest(np.random.default_rng(anatomy_seed))
    healthy = _project(chest, None)
    if not lesion:
        facts = chest.facts | {"pattern": "", "side": "", "lesion_effusion": False}
        return PhantomCase(healthy=healthy, pneumonia=healthy, facts=facts)
    drawn, opacity = draw_opacity(np.random.default_rng(lesion_seed), chest)
    facts = chest.facts | {
        "pattern": drawn.pattern,
        "side": drawn.side,
        "lesion_effusion": drawn.effusion,
    }
    return PhantomCase(healthy=healthy, pneumonia=_project(chest, opacity), facts=facts)


def _project(chest: Chest, opacity: Opacity | None) -> Projection:
    attenuation, added = chest.attenuation, np.zeros((CANVAS, CANVAS), np.float32)
    if opacity is not None:
        attenuation, added = opacity.over(attenuation), opacity.added
    return Projection(
        attenuation=np.clip(attenuation, 0, None),
        lungs=np.clip(chest.aeration * 4, 0, 1),
        heart=np.clip(upsample(chest.heart.half_chord) / 0.5, 0, 1),
        lesion=np.asarray(np.clip(added / _MASK_FULL, 0, 1), np.float32),
        pixels_per_cm=chest.patient.pixels_per_cm,
    )

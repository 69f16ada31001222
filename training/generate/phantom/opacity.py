"""What a lesion does to the line integrals: it adds, and it veils what lies in and beside it.

chest -> lesion -> [opacity] -> projection

A dense region scatters more and lets less primary radiation through, sick patients breathe faster,
and interstitial fluid blurs the margins of vessels: within and beside an opacity everything else
loses contrast, vessels and borders of heart and diaphragm most, ribs too.
"""

from dataclasses import dataclass

import numpy as np

from service.imaging.radiograph import FloatImage
from training.generate.phantom.body import SOFT_TISSUE
from training.generate.phantom.chest import Chest, upsample
from training.generate.phantom.lesion import Lesion, choose_pattern, draw_lesion, join
from training.generate.phantom.patient import CANVAS
from training.generate.phantom.sampling import blur, noise_image, uniform
from training.generate.phantom.vessels import airway_cast, bronchial_walls

# A consolidated alveolus is still a little lighter than muscle.
_CONSOLIDATED = 0.95
# Floor of visibility, so that no positive is label noise. Relative to what the air of a
# well-filled lung takes away: mean added over the lung fields, and the share of the lung fields
# in which the lesion adds something a reader can see.
_MIN_MEAN_ADDED = 0.08
_MIN_VISIBLE_SHARE = 0.12
_VISIBLE = 0.15
_MAX_DRAWS = 8
_FRINGE = 7.0  # canvas pixels beside a lesion that it still veils


@dataclass(frozen=True, slots=True, kw_only=True)
class Opacity:
    """One lesion as seen in projection, all maps float32 of shape (CANVAS, CANVAS).

    Attributes
    ----------
    added
        Line integral it adds.
    veil
        How much of all fine contrast it takes, 0 to 1.
    coarseness
        Standard deviation in canvas pixels of the blur that tells fine contrast from coarse.
    """

    added: FloatImage
    veil: FloatImage
    coarseness: float

    def over(self, healthy: FloatImage) -> FloatImage:
        """Line integral of the healthy chest with this lesion in it."""
        fine = healthy - blur(healthy, self.coarseness)
        return np.asarray(healthy - self.veil * fine + self.added, np.float32)


def draw_opacity(rng: np.random.Generator, chest: Chest) -> tuple[Lesion, Opacity]:
    """Add foci, each at least a little denser than the last, until the lesion can be seen."""
    pattern = choose_pattern(rng, chest.patient)
    lesion = draw_lesion(rng, chest.patient, chest.lungs, pattern, 0.0)
    opacity = _project(rng, chest, lesion)
    for draw in range(1, _MAX_DRAWS):
        if _is_visible(chest, opacity.added):
            break
        kind = pattern if draw < _MAX_DRAWS // 2 else "patchy"  # this anatomy hides the first kind
        focus = draw_lesion(rng, chest.patient, chest.lungs, kind, draw / _MAX_DRAWS)
        lesion = join(lesion, focus)
        opacity = _project(rng, chest, lesion)
    return lesion, opacity


def _is_visible(chest: Chest, added: FloatImage) -> bool:
    field = np.clip(chest.aeration * 4, 0, 1)
    area = max(float(field.sum()), 1.0)
    relative = added / max(float(np.percentile(chest.air, 90)), 0.1)
    share = float((field * (relative > _VISIBLE)).sum()) / area
    return float(relative.sum()) / area >= _MIN_MEAN_ADDED and share >= _MIN_VISIBLE_SHARE


def _mottle(rng: np.random.Generator) -> FloatImage:
    """Factor about 1: lobules filled more and less, which a sum over the depth averages away."""
    fine = uniform(rng, 0, 0.2) * noise_image(rng, CANVAS, 2.0, uniform(rng, 1.5, 3.5))
    coarse = uniform(rng, 0, 0.3) * noise_image(rng, CANVAS, 2.5, uniform(rng, 1.2, 2.5))
    return np.asarray(np.clip(1 + fine + coarse, 0, 2.2), np.float32)


def _project(rng: np.random.Generator, chest: Chest, lesion: Lesion) -> Opacity:
    """Sum a lesion up along the rays."""
    replaced = chest.air_contrast * lesion.filled
    added = upsample(replaced.sum(axis=0) * chest.step) * chest.ceiling * _CONSOLIDATED
    added = np.minimum(added * _mottle(rng), chest.air * _CONSOLIDATED)
    lost = np.clip(added / np.maximum(chest.air, 0.05), 0, 1)
    veil = _veil(rng, np.asarray(lost, np.float32), lesion, chest)
    if lesion.bronchogram:
        open_air = np.clip(airway_cast(rng, chest.patient) * SOFT_TISSUE, 0, 0.25)
        added = np.clip(added - lesion.bronchogram * open_air * lost, 0, None)
    if lesion.streaks:
        walls = bronchial_walls(rng, chest.patient, lesion.streak_sides)
        added = added + SOFT_TISSUE * lesion.streaks * walls * chest.aeration * (1 - 0.7 * lost)
    return Opacity(
        added=np.asarray(added, np.float32), veil=veil, coarseness=uniform(rng, 2.0, 6.0)
    )


def _veil(rng: np.random.Generator, lost: FloatImage, lesion: Lesion, chest: Chest) -> FloatImage:
    """Share of fine contrast that is lost; a child's interstitial disease veils more than it adds.

    Only where there is lung on the ray, so that halves of a pair are alike beside the lungs.
    """
    child = chest.patient.child
    reach = blur(lost, _FRINGE)
    gain = uniform(rng, 1.5, 3.0) if child else uniform(rng, 1.0, 2.0)
    gain *= 1.7 if lesion.interstitial and child else 1.0
    most = uniform(rng, 0.6, 1.0) if child else uniform(rng, 0.4, 0.95)
    field = np.clip(chest.aeration * 4, 0, 1)
    return np.asarray(most * field * np.clip(gain * np.maximum(lost, reach), 0, 1), np.float32)

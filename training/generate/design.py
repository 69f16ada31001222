"""What is asked of a generator that draws from prompts: a balanced, seeded design.

[design] -> prompt -> generator -> archive -> dataset

Pair ``n`` is two requests, healthy and pneumonia, that share every factor but the lesion. So the
labels are balanced, and no patient, film, device or normal variant can give the label away: what
holds for one label holds for the other, request by request.

Levels are sampled in balance: in blocks, each a shuffled list of them all. So each level comes as
often as its list says, and pair ``n`` stays what it is when the data set grows.
"""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np

from service.files import sha256
from training.generate.request import Fact

Level = TypeVar("Level")

# Ages in months, first and last of each band.
AGE_BANDS: dict[str, tuple[int, int]] = {
    "infant": (1, 23),
    "child": (24, 143),
    "adolescent": (144, 215),
    "adult": (216, 479),
    "middle-aged": (480, 779),
    "old": (780, 1080),
}
_YOUNG = ("infant", "child")

# Levels of the factors that both halves of a pair share; a repeated level is drawn more often.
SHARED: dict[str, tuple[str, ...]] = {
    "sex": ("female", "male"),
    "race": ("WHITE", "BLACK", "ASIAN", "HISPANIC"),
    "habitus": ("slim", "average", "average", "obese"),
    "inspiration": ("full", "full", "moderate", "shallow"),
    "rotation": ("none", "none", "left", "right"),
    "exposure": ("balanced", "balanced", "light", "dark"),
    "marker": ("none", "none", "left", "right"),
}
# Those that depend on the age band: projection, lines and devices, normal variants.
_PROJECTIONS = {
    "infant": ("AP supine", "AP supine", "AP supine", "AP erect"),
    "child": ("PA erect", "PA erect", "AP erect", "AP supine"),
}
_ADULT_PROJECTIONS = ("PA erect", "PA erect", "AP erect", "AP supine")
_NO_DEVICE = ("none",) * 6
_YOUNG_DEVICES = (*_NO_DEVICE, "ECG leads", "nasogastric tube", "endotracheal tube", "PICC line")
_DEVICES = (
    *_NO_DEVICE,
    *("ECG leads", "ECG leads", "central venous catheter", "PICC line", "endotracheal tube"),
    *("nasogastric tube", "pacemaker", "port catheter", "sternal wires"),
)
_NO_VARIANT = ("none",) * 6
_YOUNG_VARIANTS = (*_NO_VARIANT, "prominent thymus", "skin fold", "azygos lobe", "cervical rib")
_VARIANTS = (
    *_NO_VARIANT,
    *("azygos lobe", "cervical rib", "mild scoliosis", "elevated right hemidiaphragm"),
    *("tortuous aorta", "healed rib fracture", "calcified granuloma", "nipple shadows"),
)

# The pneumonia half alone: the pattern, and where that pattern is found.
_LOBES = ("right upper", "right middle", "right lower", "left upper", "left lower")
PATTERNS: dict[str, tuple[str, ...]] = {
    "lobar": _LOBES,
    "broncho": ("both lower", "right middle and lower", "left upper and lower", "all"),
    "interstitial": ("all", "perihilar", "both lower"),
    "round": _LOBES,
    "cavitating": ("right upper", "left upper", "right lower", "left lower"),
    "with effusion": ("right lower", "left lower"),
}
EXTENTS = ("mild", "moderate", "extensive")
NO_LESION: dict[str, Fact] = {"pattern": "", "lobes": "", "extent": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRequest:
    """One image to be drawn from a prompt.

    Attributes
    ----------
    pair
        Number of the pair; the group of its two images.
    label
        1 = pneumonia, 0 = no pneumonia.
    seed
        The same for both images of a pair, below 2**63.
    facts
        Level of every factor; ``pattern``, ``lobes`` and ``extent`` are empty where healthy.
    """

    pair: int
    label: int
    seed: int
    facts: Mapping[str, Fact]

    def digest(self, **generation: object) -> str:
        """Name of the image: 20 hex digits of the SHA-256 of everything that is asked.

        ``generation`` holds what is common to the data set, e.g. generator, model and templates.
        """
        asked = asdict(self) | {"generation": generation}
        text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        return sha256(text.encode())[:20]


def draw_requests(
    seed: int, pairs: int, age_bands: Sequence[str] = tuple(AGE_BANDS)
) -> Iterator[PromptRequest]:
    """Yield the healthy and the pneumonia request of each pair, pair by pair.

    Parameters
    ----------
    seed
        Non-negative; determines the whole design.
    pairs
        Number of pairs; more only add to the design.
    age_bands
        Keys of ``AGE_BANDS`` that are drawn, equally often.
    """
    for pair in range(pairs):
        number = int(np.random.SeedSequence((seed, pair)).generate_state(1, np.uint64)[0] >> 1)
        shared = _draw_shared(seed, pair, age_bands)
        lesion = _draw_lesion(seed, pair)
        yield PromptRequest(pair=pair, label=0, seed=number, facts=shared | NO_LESION)
        yield PromptRequest(pair=pair, label=1, seed=number, facts=shared | lesion)


def balanced_draw(seed: int, factor: str, among: Sequence[Level], pair: int) -> Level:
    """The level of a factor in a pair: each block of pairs has all levels, in its own order."""
    block, place = divmod(pair, len(among))
    rng = np.random.default_rng((seed, zlib.crc32(factor.encode()), block))
    return among[int(rng.permutation(len(among))[place])]


def _draw_shared(seed: int, pair: int, age_bands: Sequence[str]) -> dict[str, Fact]:
    """Patient, film, devices and normal variants of a pair."""
    band = balanced_draw(seed, "age_band", age_bands, pair)
    young = band in _YOUNG
    first, last = AGE_BANDS[band]
    months = np.random.default_rng((seed, zlib.crc32(b"age_months"), pair))
    projections = _PROJECTIONS.get(band, _ADULT_PROJECTIONS)
    projection = balanced_draw(seed, f"projection {band}", projections, pair)
    shared: dict[str, Fact] = {
        "age_band": band,
        "age_months": int(months.integers(first, last, endpoint=True)),
        "projection": projection,
        "view": projection.partition(" ")[0],
        "device": balanced_draw(
            seed, f"device {young}", _YOUNG_DEVICES if young else _DEVICES, pair
        ),
        "variant": balanced_draw(
            seed, f"variant {young}", _YOUNG_VARIANTS if young else _VARIANTS, pair
        ),
    }
    return shared | {
        factor: balanced_draw(seed, factor, among, pair) for factor, among in SHARED.items()
    }


def _draw_lesion(seed: int, pair: int) -> dict[str, Fact]:
    pattern = balanced_draw(seed, "pattern", tuple(PATTERNS), pair)
    return {
        "pattern": pattern,
        "lobes": balanced_draw(seed, f"lobes {pattern}", PATTERNS[pattern], pair),
        "extent": balanced_draw(seed, "extent", EXTENTS, pair),
    }


def levels() -> dict[str, tuple[str, ...]]:
    """Every level of every factor that templates must have words for, in order."""
    repeated: dict[str, tuple[str, ...]] = SHARED | {
        "projection": _ADULT_PROJECTIONS,
        "device": (*_DEVICES, *_YOUNG_DEVICES),
        "variant": (*_VARIANTS, *_YOUNG_VARIANTS),
        "pattern": ("", *PATTERNS),
        "lobes": ("", *(lobes for found in PATTERNS.values() for lobes in found)),
        "extent": ("", *EXTENTS),
    }
    return {factor: tuple(dict.fromkeys(named)) for factor, named in repeated.items()}

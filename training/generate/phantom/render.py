"""Pairs of phantom radiographs: one patient without and with pneumonia, filmed alike.

anatomy -> acquisition -> [render] -> store
"""

import ast
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from training.generate.phantom.acquisition import acquire, describe, draw_acquisition
from training.generate.phantom.anatomy import Projection, simulate
from training.generate.request import Fact, GreyImage, Request, SyntheticImage

# Facts of a pair that belong to its pneumonia half alone, and their value where there is none.
NO_LESION: dict[str, Fact] = {"pattern": "", "side": "", "lesion_effusion": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnImage:
    """One drawn radiograph; all arrays uint8 of shape (size, size).

    Attributes
    ----------
    pixels
        Dense tissue bright.
    lesion
        Visibility of the lesion times 255, all 0 without one.
    lungs
        Coverage by lung times 255.
    facts
        Of the patient, the lesion (empty without one) and the acquisition.
    """

    pixels: GreyImage
    lesion: GreyImage
    lungs: GreyImage
    facts: dict[str, Fact]


def draw_pair(seed: int, size: int, *, lesion: bool = True) -> tuple[DrawnImage, DrawnImage]:
    """Draw one patient twice: healthy and with pneumonia.

    Parameters
    ----------
    seed
        Non-negative; determines everything. Anatomy and lesion, and the acquisition, have streams
        of their own.
    size
        Side of the images in pixels.
    lesion
        False leaves the lesion out of both; anatomy and acquisitions stay what they were.

    Returns
    -------
    healthy, pneumonia
        The halves share patient and acquisition, so that nothing but the lesion tells them apart.
    """
    patient, acquisition = np.random.SeedSequence(seed).spawn(2)
    case = simulate(np.random.default_rng(patient), lesion=lesion)
    halves = ((case.healthy, case.facts | NO_LESION), (case.pneumonia, case.facts))
    healthy, pneumonia = (
        _film(np.random.default_rng(acquisition), projection, facts, size)
        for projection, facts in halves
    )
    return healthy, pneumonia


class Phantom:
    """The offline generator, as the data set's writer sees it."""

    name = "phantom"

    @property
    def version(self) -> str:
        """Digest of the simulator's code: other code, other images."""
        return source_digest()

    def answer(self, request: Request) -> tuple[SyntheticImage, ...]:
        """Draw the healthy and the pneumonia half of one pair."""
        return halves(draw_pair(request.seed, request.size, lesion=request.lesion), request)


def halves(pair: tuple[DrawnImage, DrawnImage], request: Request) -> tuple[SyntheticImage, ...]:
    """The healthy and the pneumonia half of a pair, as the data set's writer takes them."""
    return tuple(
        SyntheticImage(
            pixels=image.pixels,
            label=label,
            mask=image.lesion if label and request.lesion else None,
            facts=image.facts,
        )
        for label, image in enumerate(pair)
    )


@cache
def source_digest() -> str:
    """First 12 hex digits of the SHA-256 of the package's syntax trees (layout does not count)."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(ast.dump(ast.parse(path.read_text(encoding="utf-8"))).encode())
    return digest.hexdigest()[:12]


def _film(
    rng: np.random.Generator, projection: Projection, facts: dict[str, Fact], size: int
) -> DrawnImage:
    acquisition = draw_acquisition(
        rng, projection.lungs, str(facts["age_band"]), str(facts["view"])
    )
    film = acquire(projection, acquisition, size)
    return DrawnImage(
        pixels=film.pixels,
        lesion=film.lesion,
        lungs=film.lungs,
        facts=facts | describe(acquisition),
    )

"""Pairs of films: alike but for the lesion, repeatable, labelled by what was laid in."""

import cv2
import numpy as np
import pytest

from training.generate.ct.case import draw_case, project_case
from training.generate.ct.chest import Chest
from training.generate.ct.lesion import PATTERNS, draw_lesion
from training.generate.ct.render import draw_pair
from training.generate.phantom.acquisition import draw_acquisition
from training.generate.phantom.render import DrawnImage

SIZE = 96


@pytest.fixture(scope="module")
def pairs(chest: Chest) -> list[tuple[DrawnImage, DrawnImage]]:
    return [draw_pair([chest], seed, SIZE) for seed in range(6)]


def test_arrays_have_the_size_asked_for(pairs: list[tuple[DrawnImage, DrawnImage]]) -> None:
    for image in pairs[0]:
        for part in (image.pixels, image.lesion, image.lungs):
            assert part.shape == (SIZE, SIZE)
            assert part.dtype == np.uint8


def test_a_lesion_lies_in_the_ill_half_and_in_the_lungs(
    pairs: list[tuple[DrawnImage, DrawnImage]],
) -> None:
    for healthy, ill in pairs:
        assert not healthy.lesion.any()
        assert ill.lesion.max() > 60
        assert np.array_equal(healthy.lungs, ill.lungs)
        assert (ill.lesion[ill.lungs < 3] < 60).mean() > 0.99
        assert (healthy.facts["pattern"], healthy.facts["side"]) == ("", "")
        assert ill.facts["pattern"] in PATTERNS
        shared = healthy.facts.keys() - {"pattern", "side", "lesion_effusion"}
        assert all(healthy.facts[name] == ill.facts[name] for name in shared)


def test_the_same_seed_gives_the_same_films(
    chest: Chest, pairs: list[tuple[DrawnImage, DrawnImage]]
) -> None:
    again = draw_pair([chest], 3, SIZE)
    for one, other in zip(pairs[3], again, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.lesion, other.lesion)
    assert not np.array_equal(pairs[3][0].pixels, pairs[4][0].pixels)


def test_without_a_lesion_the_halves_are_identical_and_the_healthy_one_stays(
    chest: Chest, pairs: list[tuple[DrawnImage, DrawnImage]]
) -> None:
    for seed in (0, 1):
        healthy, other = draw_pair([chest], seed, SIZE, lesion=False)
        np.testing.assert_array_equal(healthy.pixels, other.pixels)
        np.testing.assert_array_equal(healthy.pixels, pairs[seed][0].pixels)
        assert not other.lesion.any()
        assert other.facts["pattern"] == ""


def test_attenuation_is_equal_outside_the_lesions_shadow(chest: Chest) -> None:
    for seed in range(4):
        case = draw_case(np.random.default_rng(seed), [chest], lesion=True)
        film = draw_acquisition(np.random.default_rng(seed), case.lungs, "adult", "PA")
        healthy, ill = project_case(case, film.framing)
        added = ill.attenuation - healthy.attenuation
        shadow = np.asarray(ill.lesion > 0.004, np.uint8)
        assert shadow.any()
        apart = cv2.dilate(shadow, np.ones((9, 9), np.uint8)) == 0
        assert apart.mean() > 0.1
        assert np.abs(added[apart]).max() < 0.003


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_pattern_takes_a_share_of_the_lungs(chest: Chest, pattern: str) -> None:
    shares = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        lesion = draw_lesion(rng, chest.lungs, pattern, child=seed % 2 == 0)
        assert 0 <= float(lesion.filled.min()) <= float(lesion.filled.max()) <= 1
        shares.append(float(lesion.filled.mean()))
        if lesion.side != "both":
            own = chest.lungs.on_side(lesion.side)
            # A veil may spread to the other lung, thinner.
            assert lesion.filled[~own].mean() < lesion.filled[own].mean()
            assert float(lesion.filled[~own].max()) <= 0.6
    assert 0.002 < np.median(shares) < 0.5

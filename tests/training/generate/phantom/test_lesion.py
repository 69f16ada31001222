"""The simulated pneumonia: visible, where it is said to be, and the only difference of a pair."""

from functools import cache

import cv2
import numpy as np
import pytest

from training.generate.phantom.anatomy import PhantomCase, simulate
from training.generate.phantom.geometry import cast_rays
from training.generate.phantom.heart import build_heart
from training.generate.phantom.lesion import PATTERNS, draw_lesion, pleural_fluid
from training.generate.phantom.lungs import Lungs, build_lungs
from training.generate.phantom.opacity import Opacity
from training.generate.phantom.patient import Patient, draw_patient

SEEDS = range(100, 140)


@cache
def case(seed: int) -> PhantomCase:
    return simulate(np.random.default_rng(seed))


@cache
def anatomy(seed: int = 5) -> tuple[Patient, Lungs]:
    rng = np.random.default_rng(seed)
    patient = draw_patient(rng)
    rays = cast_rays(patient)
    return patient, build_lungs(rng, patient, rays, build_heart(rng, patient))


class TestPair:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_healthy_half_has_no_lesion(self, seed: int) -> None:
        assert not case(seed).healthy.lesion.any()

    @pytest.mark.parametrize("seed", SEEDS)
    def test_halves_are_equal_where_there_is_no_lesion(self, seed: int) -> None:
        pair = case(seed)
        outside = (pair.pneumonia.lesion == 0) & (pair.healthy.lungs == 0)
        np.testing.assert_allclose(
            pair.healthy.attenuation[outside], pair.pneumonia.attenuation[outside], atol=1e-3
        )
        np.testing.assert_array_equal(pair.healthy.lungs, pair.pneumonia.lungs)
        np.testing.assert_array_equal(pair.healthy.heart, pair.pneumonia.heart)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_lesion_is_over_the_floor_of_visibility(self, seed: int) -> None:
        pair = case(seed)
        healthy, lungs = pair.healthy.attenuation, pair.healthy.lungs
        contrast = np.median(healthy[pair.healthy.heart > 0.95]) - np.median(healthy[lungs > 0.95])
        gain = (pair.pneumonia.attenuation - healthy) * lungs
        assert gain.sum() / lungs.sum() > 0.015 * contrast
        assert (gain > 0.08 * contrast).sum() / lungs.sum() > 0.05

    @pytest.mark.parametrize("seed", SEEDS)
    def test_lesion_makes_the_film_lighter_on_the_whole(self, seed: int) -> None:
        pair = case(seed)
        inside = pair.pneumonia.lesion > 0.5
        if inside.any():
            gain = pair.pneumonia.attenuation[inside] - pair.healthy.attenuation[inside]
            assert gain.mean() > 0.05

    def test_disease_takes_fine_contrast_from_the_lungs(self) -> None:
        """Ribs and vessels get softer within and beside a lesion, on most films."""
        falls = []
        for seed in SEEDS:
            well, ill = (
                half.attenuation - cv2.GaussianBlur(half.attenuation, (0, 0), 3)
                for half in (case(seed).healthy, case(seed).pneumonia)
            )
            lungs = case(seed).healthy.lungs > 0.95
            falls.append(ill[lungs].std() / well[lungs].std())
        assert np.median(falls) < 0.97

    def test_several_patterns_and_both_sides_occur(self) -> None:
        assert len({case(seed).facts["pattern"] for seed in SEEDS}) >= 5
        assert {case(seed).facts["side"] for seed in SEEDS} == {"left", "right", "both"}


class TestOpacity:
    def test_veil_dims_what_is_fine_and_leaves_what_is_coarse(self) -> None:
        stripes = np.tile(np.sin(np.arange(64, dtype=np.float32)), (64, 1))
        slope = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1)).T
        nothing, full = np.zeros((64, 64), np.float32), np.ones((64, 64), np.float32)
        opacity = Opacity(added=nothing, veil=full, coarseness=4.0)
        seen = opacity.over(slope + stripes)[16:-16, 16:-16]
        np.testing.assert_allclose(seen, slope[16:-16, 16:-16], atol=0.02)

    def test_what_it_adds_is_not_veiled(self) -> None:
        added = np.random.default_rng(0).random((32, 32), np.float32)
        opacity = Opacity(added=added, veil=np.ones_like(added), coarseness=3.0)
        np.testing.assert_array_equal(opacity.over(np.zeros_like(added)), added)


class TestDrawLesion:
    @pytest.mark.parametrize("pattern", PATTERNS)
    @pytest.mark.parametrize("seed", range(5))
    def test_every_pattern_fills_fractions_of_air(self, seed: int, pattern: str) -> None:
        patient, lungs = anatomy()
        lesion = draw_lesion(np.random.default_rng(seed), patient, lungs, pattern, 0.0)
        assert lesion.pattern == pattern
        assert lesion.filled.shape == lungs.volume.shape
        assert lesion.filled.min() >= 0
        assert lesion.filled.max() <= 1
        assert (lesion.filled * lungs.volume).sum() > 0

    def test_full_strength_is_denser_than_none(self) -> None:
        patient, lungs = anatomy()
        weak = draw_lesion(np.random.default_rng(2), patient, lungs, "lobar", 0.0)
        strong = draw_lesion(np.random.default_rng(2), patient, lungs, "lobar", 1.0)
        assert strong.filled.sum() > weak.filled.sum()


class TestPleuralFluid:
    def test_more_fluid_fills_more_of_one_lung_only(self) -> None:
        patient, lungs = anatomy()
        little = pleural_fluid(np.random.default_rng(0), patient, lungs, 1, 0.1)
        much = pleural_fluid(np.random.default_rng(0), patient, lungs, 1, 0.9)
        assert (much * lungs.volume).sum() > (little * lungs.volume).sum()
        right = np.broadcast_to(lungs.lateral < 0, much.shape)
        assert not much[right].any()

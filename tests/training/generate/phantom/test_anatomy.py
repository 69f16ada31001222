"""The simulated anatomy: reproducible, plausible, and the same in both halves of a pair."""

from functools import cache

import numpy as np
import pytest

from training.generate.phantom.anatomy import CANVAS, PhantomCase, Projection, simulate
from training.generate.phantom.geometry import project
from training.generate.phantom.patient import Patient, draw_patient

SEEDS = range(24)


@cache
def case(seed: int) -> PhantomCase:
    return simulate(np.random.default_rng(seed))


def maps(projection: Projection) -> list[np.ndarray]:
    return [projection.attenuation, projection.lungs, projection.heart, projection.lesion]


def patient_where(view: str) -> Patient:
    rng = np.random.default_rng(1)
    return next(p for p in iter(lambda: draw_patient(rng), None) if p.view == view)


class TestSimulate:
    def test_same_seed_gives_the_same_case(self) -> None:
        again = simulate(np.random.default_rng(3))
        for a, b in zip(maps(case(3).pneumonia), maps(again.pneumonia), strict=True):
            np.testing.assert_array_equal(a, b)
        assert case(3).facts == again.facts

    def test_other_seed_gives_another_case(self) -> None:
        difference = case(1).healthy.attenuation - case(2).healthy.attenuation
        assert np.abs(difference).mean() > 0.1

    @pytest.mark.parametrize("seed", SEEDS)
    def test_maps_have_the_stated_shape_type_and_range(self, seed: int) -> None:
        for projection in (case(seed).healthy, case(seed).pneumonia):
            for image in maps(projection):
                assert image.shape == (CANVAS, CANVAS)
                assert image.dtype == np.float32
                assert np.isfinite(image).all()
                assert image.min() >= 0
            for field in maps(projection)[1:]:
                assert field.max() <= 1
            assert projection.pixels_per_cm > 0

    @pytest.mark.parametrize("seed", [4, 5, 6])
    def test_without_lesion_both_halves_are_identical(self, seed: int) -> None:
        bare = simulate(np.random.default_rng(seed), lesion=False)
        for a, b in zip(maps(bare.healthy), maps(bare.pneumonia), strict=True):
            np.testing.assert_array_equal(a, b)
        assert bare.facts["pattern"] == ""

    def test_anatomy_does_not_depend_on_the_lesion(self) -> None:
        bare = simulate(np.random.default_rng(4), lesion=False)
        np.testing.assert_array_equal(bare.healthy.attenuation, case(4).healthy.attenuation)
        shared = set(bare.facts) - {"pattern", "side", "lesion_effusion"}
        assert {k: bare.facts[k] for k in shared} == {k: case(4).facts[k] for k in shared}


class TestFacts:
    REQUIRED = frozenset(
        {
            "age_band",
            "view",
            "pattern",
            "side",
            "supine",
            "heart_scale",
            "inspiration",
            "findings",
            "devices",
        }
    )

    @pytest.mark.parametrize("seed", SEEDS)
    def test_facts_are_complete_plain_values(self, seed: int) -> None:
        facts = case(seed).facts
        assert set(facts) >= self.REQUIRED
        assert all(type(value) in {str, float, int, bool} for value in facts.values())
        assert facts["age_band"] in {"child", "adult"}
        assert facts["view"] in {"PA", "AP"}

    def test_children_are_about_half_of_the_patients(self) -> None:
        rng = np.random.default_rng(0)
        children = np.mean([draw_patient(rng).child for _ in range(1000)])
        assert 0.45 < children < 0.55


class TestAnatomy:
    def test_lungs_let_more_radiation_through_than_the_heart(self) -> None:
        contrasts = []
        for seed in SEEDS:
            healthy = case(seed).healthy
            lungs = healthy.attenuation[healthy.lungs > 0.95]
            heart = healthy.attenuation[healthy.heart > 0.95]
            contrasts.append(np.median(heart) - np.median(lungs))
        assert min(contrasts) > 0.05
        assert np.median(contrasts) > 0.4

    @pytest.mark.parametrize("seed", SEEDS)
    def test_lungs_fill_a_plausible_part_of_the_canvas(self, seed: int) -> None:
        share = float(case(seed).healthy.lungs.mean())
        assert 0.12 < share < 0.65

    def test_cardiothoracic_ratio_lies_in_the_human_range(self) -> None:
        ratios = []
        for seed in SEEDS:
            healthy = case(seed).healthy
            heart = np.flatnonzero((healthy.heart > 0.5).any(axis=0))
            chest = np.flatnonzero((healthy.lungs > 0.5).any(axis=0))
            ratios.append((heart[-1] - heart[0]) / (chest[-1] - chest[0]))
        assert min(ratios) > 0.25
        assert max(ratios) < 0.85
        assert 0.4 < np.median(ratios) < 0.6

    def test_heart_points_to_the_patients_left(self) -> None:
        columns = np.arange(CANVAS)[None, :]
        offsets = []
        for seed in SEEDS:
            healthy = case(seed).healthy
            heart = (healthy.heart * columns).sum() / healthy.heart.sum()
            lungs = np.flatnonzero((healthy.lungs > 0.5).any(axis=0))
            offsets.append(heart - (lungs[0] + lungs[-1]) / 2)
        assert np.median(offsets) > 0

    def test_air_beside_the_body_attenuates_nothing(self) -> None:
        bare = [case(seed).healthy for seed in SEEDS if case(seed).facts["devices"] == ""]
        assert any((image.attenuation[:, :4] == 0).any() for image in bare)


class TestCone:
    def test_front_of_the_chest_is_larger_on_ap_than_on_pa(self) -> None:
        spans = {}
        for view in ("PA", "AP"):
            patient = patient_where(view)
            front = np.array([[-5.0, 10.0, 6.0], [5.0, 10.0, 6.0]], np.float32)
            ends = project(patient, front)
            spans[view] = (ends[1, 0] - ends[0, 0]) / (10 * patient.pixels_per_cm)
        assert spans["PA"] < 1 < spans["AP"]

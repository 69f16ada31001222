"""Intervals of few images: as wide as they have to be, and warned of."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy.stats import binom, norm
from sklearn.metrics import roc_auc_score

from clients.cli.main import cli
from clients.metrics.evaluate import Method, evaluate, measure
from clients.metrics.few import ENOUGH, area_interval, class_sizes
from clients.metrics.intervals import Resampling
from clients.metrics.operating import OperatingMeasures, measure_calls, values_at
from clients.metrics.proportions import wilson_interval
from tests.clients.samples import frame, two_normals

FEW = Method(replicates=50)


def five(*, order: tuple[float, ...] = (3.0, 2.0, 1.0, -1.0, -2.0)) -> pd.DataFrame:
    """Three positives and two negatives, ranked perfectly unless told otherwise."""
    return frame(np.array([1, 1, 1, 0, 0]), np.array(order))


class TestAreaInterval:
    @pytest.mark.parametrize("sizes", [(1, 1), (3, 2), (30, 10), (500, 500)])
    def test_is_wide_at_the_boundary_and_narrower_with_more_images(
        self, sizes: tuple[int, int]
    ) -> None:
        perfect, none = area_interval(1.0, sizes), area_interval(0.0, sizes)
        assert perfect.value == perfect.high == 1
        assert 0 < perfect.low < 1
        assert none.low == none.value == 0
        assert none.high == pytest.approx(1 - perfect.low, abs=0.15)  # the variance is not even
        assert area_interval(1.0, (sizes[0] + 1, sizes[1] + 1)).low > perfect.low

    def test_ends_are_areas_that_are_just_not_rejected(self) -> None:
        found, (m, n) = area_interval(0.8, (12, 9)), (12, 9)
        for true in (found.low, found.high):
            half = (m + n) / 2 - 1
            spread = 1 + half * (1 - true) / (2 - true) + half * true / (1 + true)
            deviation = (true * (1 - true) * spread / (m * n)) ** 0.5
            assert abs(0.8 - true) / deviation == pytest.approx(norm.ppf(0.975), rel=1e-6)

    @pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
    def test_covers_the_true_area_of_five_films_as_often_as_it_says(self, shift: float) -> None:
        true = float(norm.cdf(shift / 2**0.5))
        labels = np.array([1, 1, 1, 0, 0])
        drawn = np.random.default_rng(7).normal(size=(2000, 5)) + shift * labels
        areas = [float((row[:3, None] > row[None, 3:]).mean()) for row in drawn]
        ends = {area: area_interval(area, (3, 2)) for area in set(areas)}
        covered = [ends[area].low <= true <= ends[area].high for area in areas]
        assert np.mean(covered) >= 0.94


class TestMeasures:
    def test_five_films_in_order_do_not_make_certainty(self) -> None:
        found = evaluate(five(), method=FEW)[0]
        assert found.too_few
        assert found.auroc == area_interval(1.0, (3, 2))
        assert found.aupr is not None
        assert found.aupr.low < 0.5 < found.aupr.value == 1
        assert found.auroc_delong is None

    @pytest.mark.parametrize("order", list(permutations((2.0, 1.0, 0.0, -1.0, -2.0)))[::17])
    def test_value_stays_the_area(self, order: tuple[float, ...]) -> None:
        table = five(order=order)
        found = evaluate(table, method=FEW)[0].auroc
        assert found is not None
        assert found.value == roc_auc_score(table["label"], table["probability"])
        assert found.low <= found.value <= found.high

    def test_enough_films_that_overlap_are_resampled_as_before(self) -> None:
        found = evaluate(frame(*two_normals(ENOUGH, ENOUGH, shift=1.0, seed=1)), method=FEW)[0]
        assert not found.too_few
        assert found.auroc_delong is not None

    def test_many_films_in_order_still_have_an_interval(self) -> None:
        found = evaluate(frame(*two_normals(40, 40, shift=50.0, seed=1)), method=FEW)[0]
        assert not found.too_few
        assert found.auroc is not None
        assert 0.9 < found.auroc.low < 1

    def test_patients_and_weights_leave_fewer_than_images(self) -> None:
        labels = np.repeat(np.array([1, 0]), 40)
        patients = np.arange(80) // 8
        weights = np.where(np.arange(80) % 10 == 0, 1.0, 1e-6)
        assert class_sizes(labels, Resampling(replicates=1, seed=1)) == (40, 40)
        assert class_sizes(labels, Resampling(replicates=1, seed=1, patients=patients)) == (5, 5)
        found = class_sizes(labels, Resampling(replicates=1, seed=1, weights=weights))
        assert found == pytest.approx((4, 4), rel=0.01)

    def test_calls_that_are_all_right_are_not_certain_for_two_patients(self) -> None:
        table = frame(np.repeat([1, 0], 20), np.repeat([2.0, -2.0], 20))
        table["patient"] = np.arange(40) // 10
        found = measure(table, {}, Method(replicates=20, patient="patient"))
        assert found.sensitivity is not None
        assert (found.sensitivity.value, found.sensitivity.high) == (1, 1)
        assert found.sensitivity.low < 0.5

    def test_pairs_within_few_strata_are_as_uncertain(self) -> None:
        table = frame(*two_normals(40, 40, shift=0.0, seed=1))
        table["view"] = "PA"
        table.loc[table["label"] == 1, "view"] = "AP"
        table.loc[[0, 79], "view"] = "both"
        found = measure(table, {}, Method(replicates=20, within="view")).auroc_within
        assert found is not None
        assert found.value in (0, 1)
        assert found.high - found.low > 0.7


def test_command_warns_of_the_group_alone(tmp_path: Path) -> None:
    table = frame(*two_normals(40, 40, shift=1.0, seed=1))
    table["source"] = np.where(np.arange(80) % 16 == 0, "few", "many")
    file = tmp_path / "scores.parquet"
    table.to_parquet(file)
    result = CliRunner().invoke(
        cli, ["evaluate", str(file), "--by", "source", "--replicates", "20"]
    )
    assert result.exit_code == 0, result.output
    (warning,) = result.stderr.splitlines()
    assert warning.startswith("Warning: source=few: too few, 3 with and 2 without pneumonia")


class TestCalls:
    """Rates of an operating point where all positives, or all negatives, are called alike."""

    @staticmethod
    def calls(
        labels: np.ndarray, called: np.ndarray, prevalence: float | None = None, **known: np.ndarray
    ) -> OperatingMeasures:
        drawing = Resampling(replicates=200, seed=1, **known)
        return measure_calls(
            labels, called, drawing, name="x", threshold=None, prevalence=prevalence
        )

    def test_patients_with_weights_are_as_many_as_their_weights_leave(self) -> None:
        labels = np.repeat([1, 0], 40)
        weights = np.ones(80)
        weights[:2] = 1000
        alone = self.calls(labels, labels == 1, weights=weights).sensitivity
        patients = self.calls(labels, labels == 1, weights=weights, patients=np.arange(80))
        assert alone is not None
        assert patients.sensitivity is not None
        assert alone.low < 0.5
        assert patients.sensitivity.low == pytest.approx(alone.low)

    def test_patients_count_in_a_group_of_one_class(self) -> None:
        called = np.repeat(np.arange(10) < 4, 10)
        found = self.calls(np.ones(100, int), called, patients=np.repeat(np.arange(10), 10))
        assert found.specificity is None
        assert found.at_prevalence is None
        assert found.sensitivity is not None
        assert found.sensitivity.high - found.sensitivity.low > 0.4  # ten patients, not 100 images

    @pytest.mark.parametrize("ill", [1, 12])
    def test_patients_who_agree_are_no_certainty(self, ill: int) -> None:
        """One patient of three films, or twelve of whom each has as many hits: replicates agree."""
        labels = np.repeat([1, 0], [3 * ill, 30])
        called = np.r_[np.tile([True, True, False], ill), np.arange(30) < 5]
        patients = np.r_[np.arange(3 * ill) // 3, ill + np.arange(30)]
        found = self.calls(labels, called, prevalence=0.1, patients=patients)
        assert found.specificity is not None
        assert found.sensitivity == wilson_interval(2 / 3, ill)
        assert found.at_prevalence is not None
        assert found.at_prevalence.npv is not None
        assert found.at_prevalence == values_at(0.1, found.sensitivity, found.specificity)

    def test_no_false_positive_makes_no_value_certain(self) -> None:
        labels = np.repeat([1, 0], 15)
        called = labels == 1
        called[0] = False
        found = self.calls(labels, called, prevalence=0.05).at_prevalence
        assert found is not None
        assert found.ppv is not None
        assert found.ppv.value == found.ppv.high == 1
        assert found.ppv.low < 0.3

    def test_perfect_order_is_seen_although_weights_round_the_area(self) -> None:
        labels, scores = np.repeat([1, 0], 40), np.repeat([1.0, -1.0], 40) + np.linspace(0, 0.5, 80)
        for seed in range(40):
            weights = np.random.default_rng(seed).uniform(0.5, 2, 80)
            weighted = Method(replicates=50, weights="w")
            found = measure(frame(labels, scores).assign(w=weights), {}, weighted)
            assert found.auroc is not None
            assert found.auroc.low < 0.99
            assert found.auroc.high <= 1


class TestValuesAtAPrevalence:
    FILMS = 30  # of either class

    def ends(self, hits: int, alarms: int) -> tuple[float, float, float, float]:
        """Of PPV and NPV at a prevalence of a tenth."""
        rates = (
            wilson_interval(count / self.FILMS, self.FILMS) for count in (hits, self.FILMS - alarms)
        )
        found = values_at(0.1, *rates)
        assert found.ppv is not None
        assert found.npv is not None
        return found.ppv.low, found.ppv.high, found.npv.low, found.npv.high

    def test_no_end_falls_where_one_more_film_is_read_rightly(self) -> None:
        for hits in range(1, self.FILMS):
            for alarms in range(1, self.FILMS):
                here = np.array(self.ends(hits, alarms))
                for better in (self.ends(hits + 1, alarms), self.ends(hits, alarms - 1)):
                    assert (np.array(better) >= here - 1e-12).all()

    @pytest.mark.parametrize(("sensitivity", "specificity"), [(0.8, 0.9), (0.9, 0.6), (0.6, 0.99)])
    def test_cover_the_true_values_as_often_as_they_say(
        self, sensitivity: float, specificity: float
    ) -> None:
        hits = binom.pmf(np.arange(31), 30, sensitivity)
        alarms = binom.pmf(np.arange(31), 30, 1 - specificity)
        ppv = 1 / (1 + 9 * (1 - specificity) / sensitivity)
        npv = 1 / (1 + (1 - sensitivity) / specificity / 9)
        covered = np.zeros(2)
        for hit in range(1, 31):  # no hit, or no film called healthy, hardly ever occurs
            for alarm in range(30):
                low, high, low_npv, high_npv = self.ends(hit, alarm)
                inside = np.array([low <= ppv <= high, low_npv <= npv <= high_npv])
                covered += hits[hit] * alarms[alarm] * inside
        assert (covered > 0.93).all()

"""Measures and their intervals, against definitions, a published example and simulation."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from clients.evaluate import (
    EvaluationError,
    Measures,
    evaluate,
    expected_calibration_error,
    to_json,
    to_table,
)
from clients.intervals import (
    FloatArray,
    IntArray,
    bootstrap,
    delong,
    delong_interval,
    percentile_interval,
    proportion_interval,
)


def two_normals(
    positives: int, negatives: int, *, shift: float, seed: int, decimals: int = 12
) -> tuple[IntArray, FloatArray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.array([1, 0], dtype=np.int64), [positives, negatives])
    scores: FloatArray = rng.normal(size=labels.size) + shift * labels
    return labels, scores.round(decimals)


def delong_by_definition(labels: IntArray, scores: FloatArray) -> tuple[float, float]:
    """Every pair compared, as in DeLong's 1988 paper, in O(m n)."""
    above, below = scores[labels == 1], scores[labels == 0]
    psi = np.where(above[:, None] > below, 1.0, np.where(above[:, None] == below, 0.5, 0.0))
    area = psi.mean()
    by_positive = ((psi.mean(axis=1) - area) ** 2).sum() / (above.size - 1)
    by_negative = ((psi.mean(axis=0) - area) ** 2).sum() / (below.size - 1)
    return float(area), float(by_positive / above.size + by_negative / below.size)


def frame(labels: IntArray, scores: FloatArray, threshold: float = 0.5) -> pd.DataFrame:
    probabilities = 1 / (1 + np.exp(-scores))
    return pd.DataFrame(
        {
            "label": labels,
            "probability": probabilities,
            "call": np.where(probabilities >= threshold, "pneumonia", "no pneumonia"),
            "error": pd.Series([None] * labels.size, dtype="object"),
            "source": np.where(np.arange(labels.size) % 2, "north", "south"),
        }
    )


class TestDeLong:
    @pytest.mark.parametrize("decimals", [12, 1, 0])
    def test_equals_the_definition_with_and_without_ties(self, decimals: int) -> None:
        labels, scores = two_normals(37, 61, shift=0.8, seed=3, decimals=decimals)
        assert delong(labels, scores) == pytest.approx(delong_by_definition(labels, scores))

    def test_reproduces_the_published_interval_of_the_hanley_mcneil_ct_ratings(self) -> None:
        """Data: Hanley & McNeil, Radiology 143 (1982) 29-36, table I; 109 CT images rated 1 to 5.

        Area, standard error and interval: Stata Base Reference Manual, entry roctab.
        """
        normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
        labels = np.repeat(np.array([0, 1]), [sum(normal), sum(abnormal)])
        scores = np.repeat(np.tile(np.arange(1.0, 6.0), 2), normal + abnormal)
        area, variance = delong(labels, scores)
        interval = delong_interval(labels, scores)
        assert round(area, 4) == 0.8932
        assert round(variance**0.5, 4) == 0.0307
        assert (round(interval.low, 5), round(interval.high, 5)) == (0.83295, 0.95339)

    def test_interval_stays_within_zero_and_one(self) -> None:
        labels, scores = two_normals(8, 8, shift=3.0, seed=1)
        interval = delong_interval(labels, scores)
        assert 0 <= interval.low <= interval.value <= interval.high <= 1


class TestBootstrap:
    @pytest.mark.parametrize("decimals", [12, 1])
    def test_replicates_equal_scikit_learn_on_the_same_draws(self, decimals: int) -> None:
        labels, scores = two_normals(23, 40, shift=1.0, seed=5, decimals=decimals)
        resampled = bootstrap(labels, scores, replicates=20, seed=9)
        rng = np.random.default_rng(9)
        above = scores[labels == 1][rng.integers(0, 23, size=(20, 23))]
        below = scores[labels == 0][rng.integers(0, 40, size=(20, 40))]
        drawn = np.hstack([above, below])
        np.testing.assert_allclose(resampled.auroc, [roc_auc_score(labels, r) for r in drawn])
        np.testing.assert_allclose(
            resampled.average_precision, [average_precision_score(labels, r) for r in drawn]
        )

    def test_memory_chunks_do_not_lose_replicates(self, monkeypatch: pytest.MonkeyPatch) -> None:
        labels, scores = two_normals(10, 10, shift=1.0, seed=5)
        monkeypatch.setattr("clients.intervals.CELLS_AT_ONCE", 60)
        assert bootstrap(labels, scores, replicates=10, seed=1).auroc.shape == (10,)

    def test_interval_covers_the_true_area_about_95_times_in_100(self) -> None:
        # Two normals one standard deviation apart: AUROC = Phi(1 / sqrt(2)) = 0.76025.
        covered = 0
        for seed in range(300):
            labels, scores = two_normals(60, 60, shift=1.0, seed=seed)
            replicates = bootstrap(labels, scores, replicates=400, seed=seed).auroc
            interval = percentile_interval(0.0, replicates)
            covered += interval.low <= 0.76025 <= interval.high
        assert 0.90 <= covered / 300 <= 0.98


class TestCalibrationError:
    def test_is_zero_where_frequency_meets_confidence(self) -> None:
        labels = np.array([1, 0, 0, 0] * 5)
        assert expected_calibration_error(labels, np.full(20, 0.25)) == pytest.approx(0)

    def test_weighs_bins_by_their_images(self) -> None:
        labels = np.array([0, 0, 0, 1])
        probabilities = np.array([0.1, 0.1, 0.1, 1.0])
        assert expected_calibration_error(labels, probabilities) == pytest.approx(0.075)


class TestEvaluate:
    def test_values_equal_scikit_learn_and_strata_add_up(self) -> None:
        labels, scores = two_normals(50, 70, shift=1.2, seed=2)
        table = frame(labels, scores)
        total, north, south = evaluate(table, ["source"], replicates=200)
        assert total.auroc is not None
        assert total.aupr is not None
        assert total.auroc.value == roc_auc_score(labels, scores)
        assert total.aupr.value == average_precision_score(labels, scores)
        assert total.auroc.low < total.auroc.value < total.auroc.high
        assert total.prevalence == 50 / 120
        assert (north.stratum, south.stratum) == ({"source": "north"}, {"source": "south"})
        assert north.images + south.images == total.images == 120

    def test_joined_columns_give_their_combinations(self) -> None:
        table = frame(*two_normals(40, 40, shift=1.0, seed=3))
        table["view"] = np.where(np.arange(80) % 4 < 2, "PA", "AP")
        found = evaluate(table, ["source,view"], replicates=50)[1:]
        assert [row.stratum for row in found] == [
            {"source": source, "view": view}
            for source in ("north", "south")
            for view in ("AP", "PA")
        ]
        assert [row.images for row in found] == [20] * 4

    def test_same_seed_same_intervals(self) -> None:
        table = frame(*two_normals(20, 20, shift=1.0, seed=2))
        assert evaluate(table, replicates=100) == evaluate(table, replicates=100)

    def test_sensitivity_and_specificity_follow_the_call_not_a_threshold_of_a_half(self) -> None:
        labels, scores = two_normals(30, 30, shift=1.0, seed=4)
        strict = evaluate(frame(labels, scores, threshold=0.9), replicates=10)[0]
        hits = int((1 / (1 + np.exp(-scores[labels == 1])) >= 0.9).sum())
        assert strict.sensitivity == proportion_interval(hits, 30)

    def test_refused_images_are_counted_and_not_measured(self) -> None:
        table = frame(*two_normals(20, 20, shift=1.0, seed=2))
        table.loc[0, ["probability", "call", "error"]] = [np.nan, None, "corrupt_image"]
        measures = evaluate(table, replicates=10)[0]
        assert (measures.images, measures.refused, measures.positives) == (39, 1, 19)

    def test_one_class_leaves_areas_undefined_and_keeps_the_rest(self) -> None:
        measures = evaluate(frame(*two_normals(5, 0, shift=1.0, seed=2)), replicates=10)[0]
        assert measures.auroc is None
        assert measures.specificity is None
        assert measures.sensitivity is not None
        assert measures.brier is not None

    def test_stratum_where_every_image_was_refused_is_still_a_row(self) -> None:
        table = frame(*two_normals(2, 2, shift=1.0, seed=2))
        table["error"] = "corrupt_image"
        measures = evaluate(table, replicates=10)[0]
        assert (measures.images, measures.refused, measures.prevalence) == (0, 4, None)

    def test_missing_column_is_named(self) -> None:
        with pytest.raises(EvaluationError, match="no column hospital"):
            evaluate(frame(*two_normals(2, 2, shift=1.0, seed=2)), ["hospital"])

    def test_labels_other_than_zero_and_one_are_refused(self) -> None:
        table = frame(*two_normals(2, 2, shift=1.0, seed=2))
        table["label"] = [0, 1, 2, 1]
        with pytest.raises(EvaluationError, match="neither 0 nor 1"):
            evaluate(table)

    def test_scores_without_labels_are_refused(self) -> None:
        table = frame(*two_normals(2, 2, shift=1.0, seed=2))
        table["label"] = pd.Series([pd.NA] * 4, dtype="Int64")
        with pytest.raises(EvaluationError, match="no row has a label"):
            evaluate(table)


class TestTable:
    def measures(self) -> list[Measures]:
        return evaluate(frame(*two_normals(9, 9, shift=1.0, seed=2)), ["source"], replicates=50)

    def test_columns_are_aligned(self) -> None:
        lines = to_table(self.measures()).splitlines()
        assert len({len(line) for line in lines}) == 1
        assert [line.split()[0] for line in lines[1:]] == ["all", "source=north", "source=south"]

    def test_json_holds_the_same_numbers(self) -> None:
        measures = self.measures()
        auroc = measures[0].auroc
        assert auroc is not None
        assert to_json(measures)[0]["auroc"]["low"] == auroc.low

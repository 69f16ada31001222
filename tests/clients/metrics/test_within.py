"""AUROC within strata against its definitions."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from clients.metrics.intervals import (
    FloatArray,
    IntArray,
    Resampling,
    bootstrap,
    draws,
    percentile_interval,
)
from clients.metrics.within import area_within
from tests.clients.samples import two_normals


def resampling(weights: FloatArray | None = None) -> Resampling:
    return Resampling(replicates=300, seed=1, patients=None, weights=weights)


def sample() -> tuple[IntArray, FloatArray, pd.Series]:
    labels, scores = two_normals(40, 60, shift=1.0, seed=3, decimals=1)
    return labels, scores, pd.Series(np.random.default_rng(1).choice(["AP", "PA", "LL"], size=100))


def mean_of_strata(
    labels: IntArray, scores: FloatArray, views: pd.Series, weights: FloatArray
) -> float:
    areas, pairs = [], []
    for view in views.unique():
        chosen = (views == view).to_numpy()
        ill, well = chosen & (labels == 1), chosen & (labels == 0)
        areas.append(roc_auc_score(labels[chosen], scores[chosen], sample_weight=weights[chosen]))
        pairs.append(weights[ill].sum() * weights[well].sum())
    return float(np.average(areas, weights=pairs))


class TestAreaWithin:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_is_the_mean_of_the_strata_by_their_pairs(self, weighted: bool) -> None:
        labels, scores, views = sample()
        weights = np.random.default_rng(2).uniform(0.1, 3, size=100) if weighted else np.ones(100)
        found = area_within(labels, scores, views, resampling(weights if weighted else None))
        assert found is not None
        assert found.value == pytest.approx(mean_of_strata(labels, scores, views, weights))
        assert found.low < found.value < found.high

    def test_interval_is_that_of_the_same_draws(self) -> None:
        labels, scores, views = sample()
        found = area_within(labels, scores, views, resampling())
        assert found is not None
        times = np.concatenate(list(draws(labels, resampling())))
        drawn = [mean_of_strata(labels, scores, views, row) for row in times]
        expected = percentile_interval(found.value, np.array(drawn))
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))

    def test_one_stratum_gives_the_auroc_itself(self) -> None:
        labels, scores, _ = sample()
        found = area_within(labels, scores, pd.Series([None] * 100), resampling())
        assert found is not None
        drawn = bootstrap(labels, scores, resampling()).auroc
        expected = percentile_interval(roc_auc_score(labels, scores), drawn)
        assert (found.value, found.low, found.high) == pytest.approx(
            (expected.value, expected.low, expected.high)
        )

    def test_reader_of_the_view_alone_is_left_with_nothing(self) -> None:
        """RSNA's four cells: .796 over all pairs, .5 within a view."""
        cells = [466, 134, 164, 721]
        labels = np.repeat([1, 1, 0, 0], cells)
        views = pd.Series(np.repeat(["AP", "PA", "AP", "PA"], cells))
        seen = (views == "AP").to_numpy(np.float64)
        found = area_within(labels, seen, views, resampling())
        assert roc_auc_score(labels, seen) == pytest.approx(0.796, abs=0.001)
        assert found is not None
        assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)

    def test_stratum_of_one_class_adds_no_pair(self) -> None:
        labels, scores, _ = sample()
        alone = pd.Series(np.r_[np.full(10, "ward"), np.full(90, "clinic")])  # the ten are ill
        found = area_within(labels, scores, alone, resampling())
        assert found is not None
        assert found.value == pytest.approx(roc_auc_score(labels[10:], scores[10:]))

    def test_is_undefined_where_no_stratum_holds_both_classes(self) -> None:
        labels, scores, _ = sample()
        assert area_within(labels, scores, pd.Series(labels), resampling()) is None

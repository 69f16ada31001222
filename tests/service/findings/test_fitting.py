import numpy as np
import pytest
from scipy.special import expit

from service.findings.fitting import choose_operating_points

GENERATOR = np.random.default_rng(3)


class TestChooseOperatingPoints:
    def overlapping(self) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat([0, 1], 500)
        return expit(GENERATOR.normal(np.where(labels == 1, 1.0, -1.0), 1.0)), labels

    def test_stored_rates_are_those_the_threshold_gives(self) -> None:
        scores, labels = self.overlapping()
        for point in choose_operating_points(scores, labels):
            called = np.array([point.call(score) == "pneumonia" for score in scores])
            assert point.sensitivity == pytest.approx(called[labels == 1].mean())
            assert point.specificity == pytest.approx(1 - called[labels == 0].mean())

    def test_targets_are_reached_and_thresholds_are_ordered(self) -> None:
        balanced, sensitive, specific = choose_operating_points(*self.overlapping())
        assert [p.name for p in (balanced, sensitive, specific)] == [
            "balanced",
            "sensitive",
            "specific",
        ]
        assert sensitive.sensitivity >= 0.95
        assert specific.specificity >= 0.95
        assert sensitive.threshold < balanced.threshold < specific.threshold

    def test_balanced_has_the_highest_youden_index_of_all_thresholds(self) -> None:
        scores, labels = self.overlapping()
        balanced = choose_operating_points(scores, labels)[0]
        highest = max(
            (scores[labels == 1] >= t).mean() - (scores[labels == 0] >= t).mean() for t in scores
        )
        assert balanced.sensitivity + balanced.specificity - 1 == pytest.approx(highest)

    def test_separable_scores_put_every_threshold_in_the_middle_of_the_gap(self) -> None:
        scores = np.array([0.1, 0.2, 0.8, 0.9])
        for point in choose_operating_points(scores, np.array([0, 0, 1, 1])):
            assert point.threshold == pytest.approx(0.5)
            assert (point.sensitivity, point.specificity) == (1.0, 1.0)

    def test_unreachable_specificity_gives_the_nearest_point(self) -> None:
        scores = np.array([0.9, 0.5, 0.4, 0.3])
        specific = choose_operating_points(scores, np.array([0, 1, 1, 0]))[2]
        assert specific.specificity == 0.5
        assert specific.sensitivity == 1.0

    def test_other_rates_can_be_asked_for(self) -> None:
        scores, labels = self.overlapping()
        _, sensitive, specific = choose_operating_points(
            scores, labels, sensitivity=0.99, specificity=0.98
        )
        assert sensitive.sensitivity >= 0.99
        assert specific.specificity >= 0.98

    def test_a_rate_that_is_reached_exactly_is_taken(self) -> None:
        scores = np.repeat([0.1, 0.5, 0.4, 0.9], [93, 7, 99, 1])
        specific = choose_operating_points(scores, np.repeat([0, 1], 100), specificity=0.93)[2]
        assert (specific.sensitivity, specific.specificity) == (1.0, 0.93)

import math

import numpy as np
import pytest
from scipy.special import expit

from service.findings.calibration import Calibration
from training.calibrate import (
    choose_operating_points,
    fit_temperature,
    negative_log_likelihood,
    probabilities,
)

GENERATOR = np.random.default_rng(3)


class TestFitTemperature:
    def test_recovers_the_temperature_that_made_the_labels(self) -> None:
        logits = GENERATOR.normal(0, 6, 20_000)
        labels = (GENERATOR.random(20_000) < expit(logits / 2.5)).astype(np.int64)
        assert fit_temperature(logits, labels).temperature == pytest.approx(2.5, rel=0.05)

    def test_lowers_the_likelihood_loss_of_overconfident_logits(self) -> None:
        logits = GENERATOR.normal(0, 8, 2_000)
        labels = (GENERATOR.random(2_000) < expit(logits / 4)).astype(np.int64)
        fitted = fit_temperature(logits, labels)
        raw = Calibration(temperature=1.0)
        assert negative_log_likelihood(logits, labels, fitted) < negative_log_likelihood(
            logits, labels, raw
        )

    def test_separable_logits_do_not_become_certainties(self) -> None:
        logits = np.array([-9.0] * 100 + [9.0] * 100)
        labels = np.array([0] * 100 + [1] * 100)
        top = fit_temperature(logits, labels).probability(9.0)
        assert top == pytest.approx(101 / 102, abs=1e-4)

    @pytest.mark.parametrize(
        ("logits", "labels", "message"),
        [
            ([1.0, 2.0], [1, 1], "both classes"),
            ([1.0, math.nan], [0, 1], "not finite"),
            ([1.0, 2.0, 3.0], [0, 1], "not one list each"),
        ],
    )
    def test_unusable_input_raises(
        self, logits: list[float], labels: list[int], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            fit_temperature(np.array(logits), np.array(labels))


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


def test_probabilities_are_those_of_the_service() -> None:
    calibration = Calibration(temperature=2.0)
    np.testing.assert_allclose(
        probabilities(np.array([-4.0, 0.0, 4.0]), calibration), expit([-2.0, 0.0, 2.0])
    )


def test_likelihood_of_a_confident_mistake_is_finite_in_float32() -> None:
    logits = np.array([100.0, -100.0], dtype=np.float32)
    loss = negative_log_likelihood(logits, np.array([0, 1]), Calibration(temperature=1.0))
    assert loss == pytest.approx(100.0)

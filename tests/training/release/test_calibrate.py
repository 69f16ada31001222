import math

import numpy as np
import pytest
from scipy.special import expit

from service.findings.calibration import Calibration
from training.release.calibrate import fit_temperature, negative_log_likelihood

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


def test_likelihood_of_a_confident_mistake_is_finite_in_float32() -> None:
    logits = np.array([100.0, -100.0], dtype=np.float32)
    loss = negative_log_likelihood(logits, np.array([0, 1]), Calibration(temperature=1.0))
    assert loss == pytest.approx(100.0)

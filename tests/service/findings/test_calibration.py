import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidManifest
from service.findings.calibration import Calibration, OperatingPoint, expected_calibration_error

LOGITS = st.floats(-1e6, 1e6)
POINT = OperatingPoint(name="balanced", threshold=0.4, sensitivity=0.9, specificity=0.8)


class TestCalibration:
    def test_logit_zero_without_bias_is_even_odds(self) -> None:
        assert Calibration(temperature=3.0).probability(0.0) == 0.5

    def test_log_odds_are_the_scaled_logit_plus_bias(self) -> None:
        probability = Calibration(temperature=2.0, bias=-0.5).probability(3.0)
        assert math.log(probability / (1 - probability)) == pytest.approx(3.0 / 2.0 - 0.5)

    @given(LOGITS)
    def test_opposite_logits_have_complementary_probabilities(self, logit: float) -> None:
        calibration = Calibration(temperature=1.5)
        total = calibration.probability(logit) + calibration.probability(-logit)
        assert total == pytest.approx(1.0)

    @given(LOGITS, LOGITS)
    def test_order_of_logits_is_kept(self, one: float, other: float) -> None:
        calibration = Calibration(temperature=0.7, bias=0.3)
        low, high = sorted((one, other))
        assert calibration.probability(low) <= calibration.probability(high)

    @pytest.mark.parametrize("precision", [np.float32, np.float64])
    def test_many_logits_have_the_very_probability_of_each(
        self, precision: type[np.floating]
    ) -> None:
        calibration = Calibration(temperature=1.7, bias=-0.3)
        logits = np.random.default_rng(1).normal(0, 5, 2000).astype(precision)
        found = calibration.probabilities(logits)
        assert found.dtype == np.float64
        assert found.tolist() == [calibration.probability(float(logit)) for logit in logits]

    @pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
    def test_temperature_must_be_positive_and_finite(self, temperature: float) -> None:
        with pytest.raises(InvalidManifest, match="temperature"):
            Calibration(temperature=temperature)

    def test_bias_must_be_finite(self) -> None:
        with pytest.raises(InvalidManifest, match="bias"):
            Calibration(temperature=1.0, bias=math.nan)


class TestOperatingPoint:
    def test_threshold_itself_is_called_pneumonia(self) -> None:
        assert POINT.call(0.4) == "pneumonia"

    def test_below_threshold_is_no_pneumonia(self) -> None:
        assert POINT.call(math.nextafter(0.4, 0)) == "no pneumonia"

    @pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan])
    def test_threshold_outside_probabilities_is_refused(self, threshold: float) -> None:
        with pytest.raises(InvalidManifest, match="threshold"):
            OperatingPoint(name="x", threshold=threshold, sensitivity=1, specificity=1)


class TestCalibrationError:
    def test_is_zero_where_frequency_meets_confidence(self) -> None:
        labels = np.array([1, 0, 0, 0] * 5)
        assert expected_calibration_error(labels, np.full(20, 0.25)) == pytest.approx(0)

    def test_weighs_bins_by_their_images(self) -> None:
        labels = np.array([0, 0, 0, 1])
        probabilities = np.array([0.1, 0.1, 0.1, 1.0])
        assert expected_calibration_error(labels, probabilities) == pytest.approx(0.075)

    def test_counts_images_by_their_weights(self) -> None:
        labels, probabilities = np.array([0, 1]), np.array([0.25, 1.0])
        assert expected_calibration_error(labels, probabilities, np.array([3, 1])) == 0.1875

    def test_has_fifteen_bins(self) -> None:
        labels = np.array([1, 0])  # whose surpluses cancel out in one bin, and add up in two
        one, two = np.array([0.61, 0.65]), np.array([0.61, 0.68])
        assert expected_calibration_error(labels, one) == pytest.approx((0.65 - 0.39) / 2)
        assert expected_calibration_error(labels, two) == pytest.approx((0.68 + 0.39) / 2)

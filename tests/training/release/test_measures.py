import numpy as np
import pytest

from clients.metrics.intervals import Resampling
from clients.metrics.reliability import measure_probabilities
from service.findings.calibration import OperatingPoint, expected_calibration_error
from training.release.measures import peaks_in_lesion, summarise


def test_peak_counts_where_a_quarter_of_its_cell_is_lesion() -> None:
    heatmaps = np.zeros((4, 3, 2), np.float32)
    lesions = np.zeros_like(heatmaps)
    heatmaps[:, 2, 1] = 1
    heatmaps[3, 0, 0] = 2
    lesions[0, 2, 1] = 0.25
    lesions[1, 2, 1] = 0.2
    lesions[2] = 1
    lesions[3, 2, 1] = 1  # the lesion is where the peak is not
    found = peaks_in_lesion(heatmaps, lesions)
    assert found.estimate == 0.5
    assert 0.1 < found.low < 0.5 < found.high < 0.9


def test_empty_lesion_is_never_hit() -> None:
    assert peaks_in_lesion(np.ones((2, 2, 2)), np.zeros((2, 2, 2))).estimate == 0


def test_calibration_error_is_that_of_evaluation() -> None:
    generator = np.random.default_rng(1)
    labels, scores = np.tile([0, 1], 60), generator.random(120)
    point = OperatingPoint(name="balanced", threshold=0.5, sensitivity=0.5, specificity=0.5)
    found = summarise(labels, scores, np.repeat(np.arange(60), 2), point, seed=1)
    measured = found["expected calibration error, 15 bins"]
    assert measured.estimate == expected_calibration_error(labels, scores)
    pairs = Resampling(replicates=1000, seed=1, patients=np.repeat(np.arange(60), 2))
    other = measure_probabilities(labels, scores, pairs).ece
    assert (measured.low, measured.high) == pytest.approx((other.low, other.high), abs=0.01)

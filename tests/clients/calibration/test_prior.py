"""The prevalence of simulated films whose probabilities are calibrated, and of others."""

import numpy as np
import pytest
from scipy.special import expit

from clients.calibration.prior import Calibrated, Estimate, PriorError, adjust, estimate
from clients.metrics.intervals import FloatArray, IntArray
from service.findings.calibration import OperatingPoint

SPREAD = 3**0.5  # logits of either class; means of +-1.5 make them log-likelihood ratios


def films(
    count: int, prevalence: float, *, seed: int, slope: float = 1.0
) -> tuple[FloatArray, IntArray]:
    """Probabilities that are calibrated at a prevalence of .5 where the slope is 1, and labels."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < prevalence).astype(np.int64)
    logits = rng.normal(np.where(labels == 1, 1.5, -1.5), SPREAD)
    return expit(slope * logits), labels


def calibrated(*, synthetic: bool = False, positives: int = 200) -> Calibrated:
    probabilities, labels = films(20_000, 0.5, seed=0)
    points = tuple(
        OperatingPoint(
            name=f"at {threshold}",
            threshold=threshold,
            sensitivity=float((probabilities[labels == 1] >= threshold).mean()),
            specificity=float((probabilities[labels == 0] < threshold).mean()),
        )
        for threshold in (0.2, 0.5, 0.8)
    )
    return Calibrated(positives=positives, negatives=200, points=points, films=not synthetic)


def found(probabilities: FloatArray, **change: bool) -> Estimate:
    return estimate(probabilities, calibrated(**change), replicates=300)


@pytest.mark.parametrize("prevalence", [0.03, 0.1, 0.5, 0.9])
class TestShift:
    def test_is_within_the_interval_of_nearly_all_sets(self, prevalence: float) -> None:
        sets = [found(films(500, prevalence, seed=seed)[0]) for seed in range(40)]
        inside = [e.prevalence.low <= prevalence <= e.prevalence.high for e in sets]
        assert np.mean(inside) >= 0.85
        mean = np.mean([e.prevalence.value for e in sets])
        assert mean == pytest.approx(prevalence, abs=0.015)
        assert sum(bool(e.warnings) for e in sets) <= 2

    def test_is_where_the_steps_of_em_end(self, prevalence: float) -> None:
        probabilities, _ = films(500, prevalence, seed=1)
        step = 0.5
        for _ in range(2000):
            step = float(adjust(probabilities, 0.5, step).mean())
        assert found(probabilities).prevalence.value == pytest.approx(step, abs=1e-6)

    def test_adjusted_probabilities_are_the_frequencies(self, prevalence: float) -> None:
        probabilities, labels = films(100_000, prevalence, seed=2)
        adjusted = adjust(probabilities, 0.5, found(probabilities).prevalence.value)
        for low, high in ((0.0, 0.2), (0.2, 0.6), (0.6, 1.0)):
            inside = (adjusted >= low) & (adjusted <= high)
            assert adjusted[inside].mean() == pytest.approx(labels[inside].mean(), abs=0.05)


def test_no_shift_leaves_the_numbers() -> None:
    probabilities, _ = films(2000, 0.5, seed=3)
    estimated = found(probabilities)
    assert estimated.prevalence.low <= 0.5 <= estimated.prevalence.high
    adjusted = adjust(probabilities, 0.5, estimated.prevalence.value)
    np.testing.assert_allclose(adjusted, probabilities, atol=0.02)
    np.testing.assert_allclose(adjust(probabilities, 0.3, 0.3), probabilities)


def test_prevalence_of_calibration_is_that_of_its_counts() -> None:
    """Probabilities as they are where 1 of 4 has pneumonia, of films of which 1 of 2 has."""
    probabilities = adjust(films(2000, 0.5, seed=4)[0], 0.5, 0.25)
    estimated = estimate(
        probabilities,
        Calibrated(positives=100, negatives=300, points=(), films=True),
        replicates=300,
    )
    assert estimated.before == 0.25
    assert estimated.prevalence.value == pytest.approx(0.5, abs=0.04)


def test_certainties_do_not_break_it() -> None:
    probabilities = films(500, 0.2, seed=5)[0].round(1)
    assert {0.0, 1.0} <= set(probabilities)
    estimated = found(probabilities).prevalence
    assert 0 < estimated.low < estimated.value < estimated.high < 1


class TestWarnings:
    def test_few_films(self) -> None:
        assert "40 films" in found(films(40, 0.5, seed=6)[0]).warnings[0]

    def test_synthetic_images(self) -> None:
        (warning,) = found(films(500, 0.2, seed=6)[0], synthetic=True).warnings
        assert "cxr calibrate" in warning

    @pytest.mark.parametrize(("logits", "edge"), [(-3.0, "is 0,"), (3.0, "is 1,")])
    def test_estimate_at_an_edge(self, logits: float, edge: str) -> None:
        estimated = found(expit(np.random.default_rng(7).normal(logits, 0.3, 500)))
        assert estimated.at_edge
        assert any(edge in warning for warning in estimated.warnings)

    @pytest.mark.parametrize("slope", [0.5, 2.0])
    def test_probabilities_that_are_too_timid_or_too_sure(self, slope: float) -> None:
        estimated = found(films(1000, 0.2, seed=8, slope=slope)[0])
        assert any("badly calibrated" in warning for warning in estimated.warnings)


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [
        ([], "0 films"),
        (np.linspace(0.1, 0.9, 19), "19 films"),
        (np.full(100, 0.4), "one probability"),
        ([0.1, 1.1] * 50, "not in"),
        ([0.1, np.nan] * 50, "not in"),
    ],
)
def test_degenerate_input_is_refused(probabilities: object, words: str) -> None:
    with pytest.raises(PriorError, match=words):
        found(np.asarray(probabilities, dtype=np.float64))

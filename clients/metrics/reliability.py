"""Whether probabilities can be taken at their word: reliability bins and calibration error."""

from dataclasses import dataclass

import numpy as np

from clients.metrics.intervals import (
    BoolArray,
    FloatArray,
    IntArray,
    Interval,
    Resampling,
    draws,
    percentile_interval,
)
from clients.metrics.proportions import share_interval
from service.findings.calibration import (
    BINS,
    bin_of,
    expected_calibration_error,
    without_bias,
)

LEAST_PROBABILITY = 1e-12  # a certainty that is wrong would cost an infinite likelihood


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Images whose probability lies in one fifteenth of [0, 1].

    Attributes
    ----------
    confidence
        Mean probability.
    frequency
        Fraction of positives, Wilson's interval.

    With weights both are weighted; ``images`` are counted.
    """

    images: int
    confidence: float
    frequency: Interval


def reliability(
    labels: IntArray, probabilities: FloatArray, weights: FloatArray | None = None
) -> tuple[Bin, ...]:
    """Return the bins that hold an image, lowest first; arguments of shape (n,)."""
    bins = bin_of(probabilities)

    def of(inside: BoolArray) -> Bin:
        held = None if weights is None else weights[inside]
        return Bin(
            images=int(inside.sum()),
            confidence=float(np.average(probabilities[inside], weights=held)),
            frequency=share_interval(labels[inside] == 1, held),
        )

    return tuple(of(bins == number) for number in np.unique(bins))


def least_calibration_error(probabilities: FloatArray, *, replicates: int, seed: int) -> Interval:
    """Calibration error of perfect probabilities of shape (n,), which few images do not make 0.

    The value is the mean over ``replicates`` sets of labels drawn by the probabilities, the
    interval holds 95 % of them.
    """
    rng = np.random.default_rng(seed)
    drawn = (
        (rng.random(probabilities.size) < probabilities).astype(np.int64) for _ in range(replicates)
    )
    errors = np.array([expected_calibration_error(labels, probabilities) for labels in drawn])
    return percentile_interval(float(errors.mean()), errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbabilityMeasures:
    """How far probabilities are from labels; lower is better. Intervals are by bootstrap.

    Attributes
    ----------
    ece
        Expected calibration error.
    nll
        Mean negative log-likelihood in nats.
    """

    ece: Interval
    brier: Interval
    nll: Interval


def measure_probabilities(
    labels: IntArray, probabilities: FloatArray, resampling: Resampling
) -> ProbabilityMeasures:
    """Measure probabilities of shape (n,) of labels of both classes."""
    told = np.clip(probabilities, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    squares = (probabilities - labels) ** 2
    losses = -np.log(np.where(labels == 1, told, 1 - told))
    surplus = np.zeros((labels.size, BINS))
    surplus[np.arange(labels.size), bin_of(probabilities)] = probabilities - labels
    sums = np.column_stack([surplus, squares, losses])
    drawn = draws(labels, resampling)
    means = np.concatenate([times @ sums / times.sum(axis=1, keepdims=True) for times in drawn])
    ece = expected_calibration_error(labels, probabilities)
    errors = np.abs(means[:, :BINS]).sum(axis=1)
    return ProbabilityMeasures(
        ece=percentile_interval(ece, without_bias(ece, errors)),
        brier=percentile_interval(float(squares.mean()), means[:, BINS]),
        nll=percentile_interval(float(losses.mean()), means[:, BINS + 1]),
    )

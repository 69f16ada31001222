"""Whether probabilities can be taken at their word: reliability bins and calibration error."""

from dataclasses import dataclass

import numpy as np

from clients.intervals import FloatArray, IntArray, Interval
from clients.proportions import share_interval

BINS = 15  # as in Guo et al. 2017, arXiv 1706.04599


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


def _bin_of(probabilities: FloatArray) -> IntArray:
    """Number of each image's bin; bins are [k/15, (k+1)/15), the last one closed."""
    return np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)


def reliability(
    labels: IntArray, probabilities: FloatArray, weights: FloatArray | None = None
) -> tuple[Bin, ...]:
    """Return the bins that hold an image, lowest first; arguments of shape (n,)."""
    bins = _bin_of(probabilities)
    return tuple(
        Bin(
            images=int(inside.sum()),
            confidence=float(
                np.average(
                    probabilities[inside], weights=None if weights is None else weights[inside]
                )
            ),
            frequency=share_interval(
                labels[inside] == 1, None if weights is None else weights[inside]
            ),
        )
        for inside in (bins == number for number in np.unique(bins))
    )


def expected_calibration_error(
    labels: IntArray, probabilities: FloatArray, weights: FloatArray | None = None
) -> float:
    """Mean distance between confidence and frequency over 15 equal bins, weighted by images.

    Parameters
    ----------
    labels, probabilities
        Shape (n,), n at least 1.
    weights
        Shape (n,): what each image counts, where they do not count alike.

    References
    ----------
    Guo et al. 2017, arXiv 1706.04599, for the probability of the positive class.
    """
    bins = _bin_of(probabilities)
    weights = np.ones(labels.size) if weights is None else weights
    surplus = np.bincount(bins, weights=weights * (probabilities - labels), minlength=BINS)
    return float(np.abs(surplus).sum() / weights.sum())

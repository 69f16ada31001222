"""95 % confidence intervals of the measures in :mod:`clients.evaluate`.

Everything here works on two arrays of one length: ``labels`` (0 or 1) and ``scores`` (any real
number, higher means more like pneumonia). Both classes must be present.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm, rankdata

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LEVEL = 0.95
CELLS_AT_ONCE = 4_000_000  # resampled values held in memory at a time, 32 MB for each array


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A measure with the ends of its confidence interval."""

    value: float
    low: float
    high: float


def placements(labels: IntArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fraction of the other class that each image is ranked correctly against.

    Parameters
    ----------
    labels, scores
        Shape (n,), of which m are positive.

    Returns
    -------
    positives
        Shape (m,): fraction of negatives that score below each positive, half of ties counted.
    negatives
        Shape (n - m,): fraction of positives that score above each negative.

    References
    ----------
    Sun & Xu, Fast Implementation of DeLong's Algorithm, IEEE Signal Processing Letters 21 (2014)
    1389-1393: midranks give the placements in O(n log n) instead of O(m (n - m)).
    """
    above, below = scores[labels == 1], scores[labels == 0]
    ranks = rankdata(np.concatenate([above, below]))
    positives = (ranks[: above.size] - rankdata(above)) / below.size
    negatives = 1.0 - (ranks[above.size :] - rankdata(below)) / above.size
    return positives, negatives


def delong(labels: IntArray, scores: FloatArray) -> tuple[float, float]:
    """Area under the ROC curve and its variance; NaN where a class has one image.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837-845.
    """
    positives, negatives = placements(labels, scores)
    area = float(positives.mean())
    if min(positives.size, negatives.size) < 2:
        return area, float("nan")
    variance = positives.var(ddof=1) / positives.size + negatives.var(ddof=1) / negatives.size
    return area, float(variance)


def delong_interval(labels: IntArray, scores: FloatArray) -> Interval:
    """Give the normal interval around the area under the ROC curve, cut to [0, 1]."""
    area, variance = delong(labels, scores)
    reach = float(norm.ppf(0.5 + LEVEL / 2)) * variance**0.5
    return Interval(value=area, low=max(0.0, area - reach), high=min(1.0, area + reach))


def proportion_interval(hits: int, total: int) -> Interval:
    """Wilson's score interval of ``hits`` out of ``total`` (at least 1)."""
    ends = binomtest(hits, total).proportion_ci(confidence_level=LEVEL, method="wilson")
    return Interval(value=hits / total, low=float(ends.low), high=float(ends.high))


@dataclass(frozen=True, slots=True)
class Resampled:
    """Measures of bootstrap replicates, each of shape (replicates,)."""

    auroc: FloatArray
    average_precision: FloatArray


def bootstrap(labels: IntArray, scores: FloatArray, *, replicates: int, seed: int) -> Resampled:
    """Resample images with replacement within each class and measure every replicate.

    Prevalence stays fixed, as average precision demands. A replicate is a histogram over the
    distinct scores, so neither measure sorts anything again.

    Parameters
    ----------
    labels, scores
        Shape (n,).
    replicates
        Number of resampled sets.
    seed
        The same seed gives the same replicates.
    """
    distinct, rank = np.unique(-scores, return_inverse=True)  # best score first
    positives, negatives = rank[labels == 1], rank[labels == 0]
    rng = np.random.default_rng(seed)
    step = max(1, CELLS_AT_ONCE // max(labels.size, 1))
    measured = [
        _measure(
            _histograms(rng, positives, distinct.size, min(step, replicates - start)),
            _histograms(rng, negatives, distinct.size, min(step, replicates - start)),
        )
        for start in range(0, replicates, step)
    ]
    return Resampled(*(np.concatenate(parts) for parts in zip(*measured, strict=True)))


def percentile_interval(value: float, replicates: FloatArray) -> Interval:
    """Cut the replicates at their 2.5th and 97.5th percentile."""
    low, high = np.quantile(replicates, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Interval(value=value, low=float(low), high=float(high))


def _histograms(
    rng: np.random.Generator, ranks: IntArray, bins: int, replicates: int
) -> FloatArray:
    """Count ``ranks`` drawn with replacement: shape (replicates, bins)."""
    drawn = ranks[rng.integers(0, ranks.size, size=(replicates, ranks.size))]
    drawn += np.arange(replicates)[:, np.newaxis] * bins
    counts = np.bincount(drawn.ravel(), minlength=replicates * bins)
    return counts.reshape(replicates, bins).astype(np.float64)


def _measure(positives: FloatArray, negatives: FloatArray) -> tuple[FloatArray, FloatArray]:
    """AUROC and average precision of histograms (replicates, bins), best score first."""
    true = np.cumsum(positives, axis=1)
    false = np.cumsum(negatives, axis=1)
    pairs = true[:, -1] * false[:, -1]
    auroc = (negatives * (true - positives / 2)).sum(axis=1) / pairs
    called = np.maximum(true + false, 1.0)  # 0 only where nothing was drawn, and true is 0 too
    precision = (positives * true / called).sum(axis=1) / true[:, -1]
    return auroc, precision

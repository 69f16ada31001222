"""95 % confidence intervals and paired tests of the measures in :mod:`clients.evaluate`.

Everything here works on arrays of one length n: ``labels`` (0 or 1), ``scores`` (any real number,
higher means more like pneumonia) and, where several images can be of one patient, ``patients``
(a number for each patient, 0 upwards). Without ``patients`` every image is a patient of its own.
Both classes must be present.
"""

from collections.abc import Iterator
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


def placements(labels: IntArray, scores: FloatArray) -> FloatArray:
    """Fraction of the other class that each image is ranked correctly against.

    Returns
    -------
    FloatArray
        Shape (n,): of a positive the fraction of negatives that score below it, of a negative the
        fraction of positives that score above it; half of ties counted.

    References
    ----------
    Sun & Xu, Fast Implementation of DeLong's Algorithm, IEEE Signal Processing Letters 21 (2014)
    1389-1393: midranks give the placements in O(n log n) instead of O(m (n - m)).
    """
    positive = labels == 1
    above, below = scores[positive], scores[~positive]
    ranks = rankdata(scores)
    found = np.empty(labels.size)
    found[positive] = (ranks[positive] - rankdata(above)) / below.size
    found[~positive] = 1.0 - (ranks[~positive] - rankdata(below)) / above.size
    return found


def delong(
    labels: IntArray, scores: FloatArray, patients: IntArray | None = None
) -> tuple[float, float]:
    """Area under the ROC curve and its variance; NaN where a class has one patient."""
    return _area(labels, placements(labels, scores), patients)


def delong_difference(
    labels: IntArray, first: FloatArray, second: FloatArray, patients: IntArray | None = None
) -> tuple[float, float]:
    """First area less the second, of scores of the same images, and the difference's variance.

    The placements of a difference of areas are the differences of their placements.
    """
    return _area(labels, placements(labels, first) - placements(labels, second), patients)


def _area(labels: IntArray, placed: FloatArray, patients: IntArray | None) -> tuple[float, float]:
    """Mean placement, and its variance by DeLong, or by Obuchowski where patients are given.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837-845.
    Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 53 (1997) 567-578;
    with one image a patient it is DeLong's variance.
    """
    patients = np.arange(labels.size) if patients is None else patients
    positive = labels == 1
    area = float(placed[positive].mean())
    surplus = []  # of each patient's sum over what its images would have at the mean placement
    counts = []  # patients that have images of the class
    for chosen in (positive, ~positive):
        images = np.bincount(patients[chosen], minlength=patients.max() + 1)
        sums = np.bincount(patients[chosen], weights=placed[chosen], minlength=images.size)
        surplus.append((sums - images * area) / chosen.sum())
        counts.append(int((images > 0).sum()))
    if min(counts) < 2:
        return area, float("nan")
    variance = sum(
        float(count / (count - 1) * (part**2).sum())
        for count, part in zip(counts, surplus, strict=True)
    )
    total = int(np.unique(patients).size)
    return area, variance + 2 * total / (total - 1) * float((surplus[0] * surplus[1]).sum())


def delong_interval(
    labels: IntArray, scores: FloatArray, patients: IntArray | None = None
) -> Interval | None:
    """Give the normal interval around the area under the ROC curve, cut to [0, 1].

    None where a class has one patient.
    """
    area, variance = delong(labels, scores, patients)
    if np.isnan(variance):
        return None
    reach = float(norm.ppf(0.5 + LEVEL / 2)) * variance**0.5
    return Interval(value=area, low=max(0.0, area - reach), high=min(1.0, area + reach))


def normal_p_value(difference: float, variance: float) -> float:
    """Two-sided p-value of a difference; 1 where both are zero, as between identical scores."""
    if variance == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * norm.sf(abs(difference) / variance**0.5))


def proportion_interval(hits: int, total: int) -> Interval:
    """Wilson's score interval of ``hits`` out of ``total`` (at least 1)."""
    ends = binomtest(hits, total).proportion_ci(confidence_level=LEVEL, method="wilson")
    return Interval(value=hits / total, low=float(ends.low), high=float(ends.high))


@dataclass(frozen=True, slots=True)
class Resampled:
    """Measures of bootstrap replicates, each of shape (replicates,)."""

    auroc: FloatArray
    average_precision: FloatArray


def draws(
    labels: IntArray, patients: IntArray | None, *, replicates: int, seed: int
) -> Iterator[FloatArray]:
    """Yield how often each replicate holds each image: arrays of shape (some, n), as memory allows.

    Patients are drawn with replacement, with all their images, among those whose images are all
    positive, all negative, or both: every replicate keeps the number of patients of each kind, so
    that both classes stay present, and, with one image a patient, the prevalence.

    The same labels, patients and seed give the same draws: measures of two scores pair up.
    """
    patients = np.arange(labels.size) if patients is None else patients
    images = np.bincount(patients)
    positives = np.bincount(patients, weights=labels)
    kinds = (positives == images) & (images > 0), (positives == 0) & (images > 0)
    strata = [np.flatnonzero(kind) for kind in (*kinds, (positives > 0) & (positives < images))]
    rng = np.random.default_rng(seed)
    step = max(1, CELLS_AT_ONCE // labels.size)
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        counts = np.zeros((rows, images.size))
        for stratum in strata:
            if stratum.size:
                counts[:, stratum] = _counts(rng, rows, stratum.size)
        yield counts[:, patients]


def _counts(rng: np.random.Generator, rows: int, size: int) -> IntArray:
    """How often each of ``size`` things is drawn in ``size`` draws: shape (rows, size)."""
    drawn = rng.integers(0, size, size=(rows, size)) + np.arange(rows)[:, np.newaxis] * size
    return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)


def bootstrap(
    labels: IntArray,
    scores: FloatArray,
    patients: IntArray | None = None,
    *,
    replicates: int,
    seed: int,
) -> Resampled:
    """AUROC and average precision of resampled sets of images, see :func:`draws`.

    Images are sorted once; a replicate only weighs them, so nothing is sorted again.
    """
    order = np.argsort(-scores, kind="stable")  # best score first
    sorted_scores = scores[order]
    starts = np.flatnonzero(np.r_[True, sorted_scores[1:] != sorted_scores[:-1]])
    positive = labels[order] == 1
    measured = []
    for times in draws(labels, patients, replicates=replicates, seed=seed):
        weights = times[:, order]
        measured.append(
            _measure(
                np.add.reduceat(weights * positive, starts, axis=1),
                np.add.reduceat(weights * ~positive, starts, axis=1),
            )
        )
    return Resampled(*(np.concatenate(parts) for parts in zip(*measured, strict=True)))


def bootstrap_rates(
    labels: IntArray,
    called: NDArray[np.bool_],
    patients: IntArray | None = None,
    *,
    replicates: int,
    seed: int,
) -> FloatArray:
    """True and false positives, false and true negatives of each replicate: shape (replicates, 4).

    Parameters
    ----------
    called
        Shape (n,): whether each image is called pneumonia.
    """
    cells = np.stack([called & (labels == 1), called & (labels == 0)])
    cells = np.concatenate([cells, np.stack([~called & (labels == 1), ~called & (labels == 0)])])
    parts = draws(labels, patients, replicates=replicates, seed=seed)
    return np.concatenate([times @ cells.T.astype(np.float64) for times in parts])


def percentile_interval(value: float, replicates: FloatArray) -> Interval:
    """Cut the replicates at their 2.5th and 97.5th percentile, leaving undefined ones (NaN) out."""
    low, high = np.nanquantile(replicates, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Interval(value=value, low=float(low), high=float(high))


def bootstrap_p_value(differences: FloatArray) -> float:
    """Two-sided p-value of no difference: twice the smaller share of replicates beyond zero.

    Counted with the observed set itself, so that it is never 0 (Davison & Hinkley 1997, 4.2).
    """
    fewer = min((differences <= 0).sum(), (differences >= 0).sum())
    return float(min(1.0, 2 * (1 + fewer) / (1 + differences.size)))


def _measure(positives: FloatArray, negatives: FloatArray) -> tuple[FloatArray, FloatArray]:
    """AUROC and average precision of histograms (replicates, bins), best score first."""
    true = np.cumsum(positives, axis=1)
    false = np.cumsum(negatives, axis=1)
    pairs = true[:, -1] * false[:, -1]
    auroc = (negatives * (true - positives / 2)).sum(axis=1) / pairs
    called = np.maximum(true + false, 1.0)  # 0 only where nothing was drawn, and true is 0 too
    precision = (positives * true / called).sum(axis=1) / true[:, -1]
    return auroc, precision

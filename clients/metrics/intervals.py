"""95 % confidence intervals and paired tests of the measures in :mod:`clients.metrics.evaluate`.

Everything here works on arrays of one length n: ``labels`` (0 or 1), ``scores`` (any real number,
higher means more like pneumonia) and, where several images can be of one patient, ``patients``
(a number for each patient, 0 upwards). Without ``patients`` every image is a patient of its own.
``weights`` (positive, of any scale) are sampling weights: an image counts as its weight says, and
is drawn with it. Without them all images count alike. Both classes must be present.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

LEVEL = 0.95
Z = float(ndtri(0.5 + LEVEL / 2))  # standard deviations to either side
ROUNDING = 1e-12  # share of its parts that is left of a sum that should be 0
NEARLY = 1e-9  # distance of areas that are equal but for the rounding of sums
CELLS_AT_ONCE = 4_000_000  # resampled values held in memory at a time, 32 MB for each array


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A measure with the ends of its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def signed(self) -> str:
        """The same with signs, for a difference."""
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """How intervals are made: the seed and the number of bootstrap replicates.

    Attributes
    ----------
    patients
        Shape (n,): number of each image's patient, or None where images are independent.
    weights
        Shape (n,): sampling weights, or None where images count alike.
    """

    replicates: int
    seed: int
    patients: IntArray | None = None
    weights: FloatArray | None = None

    def of(self, chosen: BoolArray) -> "Resampling":
        """The same of some images alone, shape (n,)."""
        return replace(
            self,
            patients=None if self.patients is None else self.patients[chosen],
            weights=None if self.weights is None else self.weights[chosen],
        )


def placements(
    labels: IntArray, scores: FloatArray, weights: FloatArray | None = None
) -> FloatArray:
    """Fraction of the other class (of its weight) that each image is ranked correctly against.

    Returns
    -------
    FloatArray
        Shape (n,): of a positive the fraction of negatives that score below it, of a negative the
        fraction of positives that score above it; half of ties counted.

    References
    ----------
    Sun & Xu, Fast Implementation of DeLong's Algorithm, IEEE Signal Processing Letters 21 (2014)
    1389-1393: sorting gives the placements in O(n log n) instead of O(m (n - m)); sums of weights
    up to each score take the place of midranks.
    """
    weights = np.ones(labels.size) if weights is None else weights
    positive = labels == 1
    values, at = np.unique(scores, return_inverse=True)
    up_to = []  # weight of each class below each score, half of ties counted
    for chosen in (positive, ~positive):
        held = np.bincount(at[chosen], weights=weights[chosen], minlength=values.size)
        up_to.append((np.cumsum(held) - held / 2) / held.sum())
    placed: FloatArray = np.where(positive, up_to[1][at], 1.0 - up_to[0][at])
    return placed


def delong(
    labels: IntArray,
    scores: FloatArray,
    patients: IntArray | None = None,
    weights: FloatArray | None = None,
) -> tuple[float, float]:
    """Area under the ROC curve and its variance; NaN where a class has one patient."""
    return _area(labels, placements(labels, scores, weights), patients, weights)


def delong_difference(
    labels: IntArray,
    first: FloatArray,
    second: FloatArray,
    patients: IntArray | None = None,
    weights: FloatArray | None = None,
) -> tuple[float, float]:
    """First area less the second, of scores of the same images, and the difference's variance.

    The placements of a difference of areas are the differences of their placements.
    """
    apart = placements(labels, first, weights) - placements(labels, second, weights)
    return _area(labels, apart, patients, weights)


def _area(
    labels: IntArray,
    placed: FloatArray,
    patients: IntArray | None,
    weights: FloatArray | None = None,
) -> tuple[float, float]:
    """Mean placement, and its variance by DeLong, or by Obuchowski where patients are given.

    With weights the area is a ratio of weighted sums, and its variance that of the linearised
    ratio: each patient's weighted surplus of placement, the weights taken as fixed.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837-845.
    Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 53 (1997) 567-578;
    with one image a patient it is DeLong's variance.
    """
    patients = np.arange(labels.size) if patients is None else patients
    weights = np.ones(labels.size) if weights is None else weights
    positive = labels == 1
    area = float(np.average(placed[positive], weights=weights[positive]))
    surplus = []  # of each patient's sum over what its images would have at the mean placement
    counts = []  # patients that have images of the class
    for chosen in (positive, ~positive):
        own = weights[chosen] * (placed[chosen] - area) / weights[chosen].sum()
        surplus.append(np.bincount(patients[chosen], weights=own, minlength=patients.max() + 1))
        counts.append(int(np.unique(patients[chosen]).size))
    if min(counts) < 2:
        return area, float("nan")
    apart = sum(
        float(count / (count - 1) * (part**2).sum())
        for count, part in zip(counts, surplus, strict=True)
    )
    total = int(np.unique(patients).size)
    variance = apart + 2 * total / (total - 1) * float((surplus[0] * surplus[1]).sum())
    # Where both classes of each patient cancel out, rounding would leave it just above or below 0.
    return area, variance if variance > ROUNDING * apart else 0.0


def delong_interval(
    labels: IntArray,
    scores: FloatArray,
    patients: IntArray | None = None,
    weights: FloatArray | None = None,
) -> Interval | None:
    """Give the normal interval around the area under the ROC curve, cut to [0, 1].

    None where a class has one patient.
    """
    area, variance = delong(labels, scores, patients, weights)
    if np.isnan(variance):
        return None
    reach = Z * variance**0.5
    return Interval(value=area, low=max(0.0, area - reach), high=min(1.0, area + reach))


def normal_p_value(difference: float, variance: float) -> float:
    """Two-sided p-value of a difference; 1 where it is zero, as between identical scores."""
    if abs(difference) < NEARLY:  # rounded sums would be many deviations of a variance near 0
        return 1.0
    return float(2 * ndtr(-abs(difference) / variance**0.5)) if variance else 0.0


@dataclass(frozen=True, slots=True)
class Resampled:
    """Measures of bootstrap replicates, each of shape (replicates,)."""

    auroc: FloatArray
    average_precision: FloatArray


def draws(labels: IntArray, resampling: Resampling) -> Iterator[FloatArray]:
    """Yield how often each replicate holds each image: arrays of shape (some, n), as memory allows.

    With weights it is the weight of an image times how often it is held.

    Patients are drawn with replacement, with all their images, among those whose images are all
    positive, all negative, or both: every replicate keeps the number of patients of each kind, so
    that both classes stay present, and, with one image a patient, the prevalence.

    The same labels, patients and seed give the same draws: measures of two scores pair up.
    """
    patients, weights = resampling.patients, resampling.weights
    patients = np.arange(labels.size) if patients is None else patients
    images = np.bincount(patients)
    positives = np.bincount(patients, weights=labels)
    kinds = (positives == images) & (images > 0), (positives == 0) & (images > 0)
    strata = [np.flatnonzero(kind) for kind in (*kinds, (positives > 0) & (positives < images))]
    rng = np.random.default_rng(resampling.seed)
    step = max(1, CELLS_AT_ONCE // labels.size)
    for start in range(0, resampling.replicates, step):
        rows = min(step, resampling.replicates - start)
        counts = np.zeros((rows, images.size))
        for stratum in strata:
            if stratum.size:
                counts[:, stratum] = _counts(rng, rows, stratum.size)
        times = counts[:, patients]
        yield times if weights is None else times * weights


def _counts(rng: np.random.Generator, rows: int, size: int) -> IntArray:
    """How often each of ``size`` things is drawn in ``size`` draws: shape (rows, size)."""
    drawn = rng.integers(0, size, size=(rows, size)) + np.arange(rows)[:, np.newaxis] * size
    return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)


def bootstrap(labels: IntArray, scores: FloatArray, resampling: Resampling) -> Resampled:
    """AUROC and average precision of resampled sets of images, see :func:`draws`."""
    measured = [_measure(*histograms(labels, scores, times)) for times in draws(labels, resampling)]
    return Resampled(*(np.concatenate(parts) for parts in zip(*measured, strict=True)))


def histograms(
    labels: IntArray, scores: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Weight of positives and of negatives at each score, best score first.

    Parameters
    ----------
    weights
        Shape (replicates, n). Images are sorted once for all replicates, which only weigh them.

    Returns
    -------
    tuple of numpy.ndarray
        Both of shape (replicates, different scores).
    """
    order = np.argsort(-scores, kind="stable")
    sorted_scores = scores[order]
    starts = np.flatnonzero(np.r_[True, sorted_scores[1:] != sorted_scores[:-1]])
    positive = labels[order] == 1
    weights = weights[:, order]
    return (
        np.add.reduceat(weights * positive, starts, axis=1),
        np.add.reduceat(weights * ~positive, starts, axis=1),
    )


def pairs_won(positives: FloatArray, negatives: FloatArray) -> FloatArray:
    """Weight of the pairs that histograms rank rightly, half of ties counted: (replicates,)."""
    true = np.cumsum(positives, axis=1)
    won: FloatArray = (negatives * (true - positives / 2)).sum(axis=1)
    return won


def bootstrap_rates(labels: IntArray, called: BoolArray, resampling: Resampling) -> FloatArray:
    """True and false positives, false and true negatives of each replicate: shape (replicates, 4).

    Parameters
    ----------
    called
        Shape (n,): whether each image is called pneumonia.
    """
    fields = four_fields(labels == 1, called).T.astype(np.float64)
    return np.concatenate([times @ fields for times in draws(labels, resampling)])


def four_fields(ill: BoolArray, called: BoolArray) -> BoolArray:
    """Which images, of shape (n,), each field of :func:`bootstrap_rates` counts: shape (4, n)."""
    return np.stack([called & ill, called & ~ill, ~called & ill, ~called & ~ill])


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
    auroc = pairs_won(positives, negatives) / (true[:, -1] * false[:, -1])
    # 0 only where nothing was drawn, and true is 0 too
    called = np.maximum(true + false, np.finfo(np.float64).tiny)
    precision = (positives * true / called).sum(axis=1) / true[:, -1]
    return auroc, precision

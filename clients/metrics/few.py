"""Intervals where resampling has too little to say: few images of a class, or every pair right.

A bootstrap of five films whose order is right has no replicate with another order, and calls an
AUROC of 1 certain. Score intervals, which Wilson's is for a share, stay honest there.
"""

import numpy as np

from clients.metrics.intervals import NEARLY, BoolArray, IntArray, Interval, Resampling, Z
from clients.metrics.proportions import effective_size, wilson_interval

ENOUGH = 10  # images (patients where they are known) of either class


def class_sizes(labels: IntArray, resampling: Resampling) -> tuple[float, float]:
    """How many positives and negatives there are to resample.

    Patients count once where they are known, and of weights counts what Kish's effective size
    leaves.
    """
    return resampled_size(labels == 1, resampling), resampled_size(labels == 0, resampling)


def resampled_size(chosen: BoolArray, resampling: Resampling) -> float:
    """How many of some images, of shape (n,), :func:`class_sizes` counts."""
    held = np.arange(chosen.size) if resampling.patients is None else resampling.patients
    size = float(np.unique(held[chosen]).size)
    if resampling.weights is None or not chosen.any():
        return size
    return min(size, effective_size(resampling.weights[chosen]))


def resampling_says_little(value: float, sizes: tuple[float, float]) -> bool:
    """Whether an area needs an interval of this module."""
    return min(sizes) < ENOUGH or min(value, 1 - value) < NEARLY  # weighted sums are rounded


def area_interval(area: float, sizes: tuple[float, float]) -> Interval:
    """Score interval of an area under the ROC curve, of the numbers of both classes (at least 1).

    The areas whose distance from the observed one is at most 1.96 standard deviations, the
    deviation being that of the tested area.

    References
    ----------
    Newcombe, Confidence intervals for an effect size measure based on the Mann-Whitney statistic,
    part 2, Statistics in Medicine 25 (2006) 559-573, method 5.
    """
    from scipy.optimize import brentq  # noqa: PLC0415  half a second to load, with the commands

    area = float(np.clip(area, 0, 1))
    pairs, half = sizes[0] * sizes[1], sum(sizes) / 2 - 1

    def variance(true: float) -> float:
        spread = 1 + half * (1 - true) / (2 - true) + half * true / (1 + true)
        return true * (1 - true) * spread / pairs

    def beyond(true: float) -> float:
        return (true - area) ** 2 - Z**2 * variance(true)

    inside = float(np.clip(area, NEARLY, 1 - NEARLY))  # at 0 and 1 the area itself is a solution
    return Interval(
        value=area,
        low=brentq(beyond, 0.0, inside) if area > 0 else 0.0,
        high=brentq(beyond, inside, 1.0) if area < 1 else 1.0,
    )


def precision_interval(precision: float, sizes: tuple[float, float]) -> Interval:
    """Wilson's interval of an average precision, a share of as many things as there are positives.

    References
    ----------
    Boyd, Eng & Page, Area under the precision-recall curve: point estimates and confidence
    intervals, ECML PKDD 2013, 451-466: the binomial interval, which takes the same number.
    """
    return wilson_interval(float(np.clip(precision, 0, 1)), sizes[0])

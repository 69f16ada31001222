"""What a threshold does: sensitivity, specificity and predictive values with 95 % intervals.

scores + operating points of the manifest -> [operating] -> evaluate
"""

from dataclasses import dataclass
from math import exp, hypot, inf, log

import numpy as np

from clients.metrics.few import resampled_size
from clients.metrics.intervals import (
    NEARLY,
    BoolArray,
    FloatArray,
    IntArray,
    Interval,
    Resampling,
    bootstrap_rates,
    percentile_interval,
)
from clients.metrics.proportions import share_interval, wilson_interval

# Columns of the four-field table, as bootstrap_rates orders them.
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, TRUE_NEGATIVE = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictiveValues:
    """What a call is worth where pneumonia is as frequent as ``prevalence``, see :func:`values_at`.

    A value is None where nothing is called so.
    """

    prevalence: float
    ppv: Interval | None
    npv: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingMeasures:
    """One operating point on one group of images; a rate without denominator is None.

    Attributes
    ----------
    name
        As in the model's manifest.
    threshold
        Calibrated probability from which on an image is called; None where only the calls are
        known.
    called
        Images called pneumonia; counted, not weighted.
    ppv, npv
        Among these images, at their own prevalence.
    at_prevalence
        The same at a prevalence of the user's choice, or None.
    """

    name: str
    threshold: float | None
    called: int
    sensitivity: Interval | None
    specificity: Interval | None
    ppv: Interval | None
    npv: Interval | None
    at_prevalence: PredictiveValues | None


def values_at(prevalence: float, sensitivity: Interval, specificity: Interval) -> PredictiveValues:
    """Positive and negative predictive value by Bayes' theorem.

    Both follow from a ratio of rates alone. Its interval is made of those of the rates, which are
    taken as independent, by the method of variance estimates recovery on the scale of logarithms.
    A rate that rises, with its interval, lets no end fall.

    Parameters
    ----------
    prevalence
        Frequency of pneumonia in (0, 1).

    References
    ----------
    Zou & Donner, Construction of confidence limits about effect measures: a general approach,
    Statistics in Medicine 27 (2008) 1693-1702.
    """
    odds = prevalence / (1 - prevalence)
    return PredictiveValues(
        prevalence=prevalence,
        ppv=_share_right(odds, sensitivity, _complement(specificity)),
        npv=_share_right(1 / odds, specificity, _complement(sensitivity)),
    )


def _complement(rate: Interval) -> Interval:
    return Interval(value=1 - rate.value, low=1 - rate.high, high=1 - rate.low)


def _share_right(odds: float, right: Interval, wrong: Interval) -> Interval | None:
    """How many of those who are called alike are called rightly.

    Parameters
    ----------
    odds
        Of those who should be called so.
    right, wrong
        Rates of the call among them, and among the others.
    """
    if right.value == wrong.value == 0:
        return None
    ratio = right.value / wrong.value if wrong.value else inf
    inverse = _least_ratio(wrong, right)
    value, low, high = (
        odds * times / (1 + odds * times) if times < inf else 1.0
        for times in (ratio, _least_ratio(right, wrong), 1 / inverse if inverse else inf)
    )
    return Interval(value=value, low=low, high=high)


def _least_ratio(above: Interval, below: Interval) -> float:
    """Lower end of the interval of a ratio of rates, in a form that holds at 0 too."""
    if above.value == 0 or above.low <= 0:
        return 0.0
    down = log(above.value / above.low)
    up = log(below.high / below.value) if below.value else inf
    reach = down**2 / (up + hypot(down, up)) if down else 0.0
    return above.value / below.high * exp(-reach)


def measure_calls(
    labels: IntArray,
    called: BoolArray,
    resampling: Resampling,
    *,
    name: str,
    threshold: float | None,
    prevalence: float | None = None,
) -> OperatingMeasures:
    """Measure the calls of one operating point.

    Intervals are Wilson's where images are independent (of Kish's effective size where they have
    weights), else by bootstrap over patients; Wilson's, of their number, where all patients agree.
    Those at a given prevalence are made of the intervals of both rates.

    Parameters
    ----------
    labels, called
        Shape (n,); n may be 0.
    """
    ill, weights = labels == 1, resampling.weights
    drawn = None
    if labels.size and resampling.patients is not None:
        drawn = bootstrap_rates(labels, called, resampling)

    def rate(hits: BoolArray, among: BoolArray, hit: int, other: int) -> Interval | None:
        if not among.any():
            return None
        share = share_interval(hits[among], None if weights is None else weights[among])
        if drawn is None:
            return share
        replicates = _shares(drawn, hit, other)
        if _agree(replicates):
            return wilson_interval(share.value, resampled_size(among, resampling))
        return percentile_interval(share.value, replicates)

    sensitivity = rate(called, ill, TRUE_POSITIVE, FALSE_NEGATIVE)
    specificity = rate(~called, ~ill, TRUE_NEGATIVE, FALSE_POSITIVE)
    at_prevalence = None
    if prevalence is not None and sensitivity and specificity:
        at_prevalence = values_at(prevalence, sensitivity, specificity)
    return OperatingMeasures(
        name=name,
        threshold=threshold,
        called=int(called.sum()),
        sensitivity=sensitivity,
        specificity=specificity,
        ppv=rate(ill, called, TRUE_POSITIVE, FALSE_POSITIVE),
        npv=rate(~ill, ~called, TRUE_NEGATIVE, FALSE_NEGATIVE),
        at_prevalence=at_prevalence,
    )


def _shares(tables: FloatArray, hit: int, other: int) -> FloatArray:
    with np.errstate(invalid="ignore"):
        shares: FloatArray = tables[..., hit] / (tables[..., hit] + tables[..., other])
    return shares


def _agree(replicates: FloatArray) -> bool:
    """Whether replicates have one value, as of one patient, or of any that are all alike."""
    known = replicates[~np.isnan(replicates)]
    return known.size == 0 or float(np.ptp(known)) < NEARLY

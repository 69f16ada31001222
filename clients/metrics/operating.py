"""What a threshold does: sensitivity, specificity and predictive values with 95 % intervals.

scores + operating points of the manifest -> [operating] -> evaluate
"""

from dataclasses import dataclass

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
    four_fields,
    percentile_interval,
)
from clients.metrics.proportions import share_interval, wilson_interval

# Columns of the four-field table, as bootstrap_rates orders them.
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, TRUE_NEGATIVE = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictiveValues:
    """What a call is worth where pneumonia is as frequent as ``prevalence``; by Bayes' theorem."""

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


def predictive_values(
    sensitivity: FloatArray, specificity: FloatArray, prevalence: float
) -> tuple[FloatArray, FloatArray]:
    """Positive and negative predictive value by Bayes' theorem; NaN where nothing is called so.

    Parameters
    ----------
    sensitivity, specificity
        Arrays of one shape.
    prevalence
        Frequency of pneumonia in (0, 1).
    """
    hits, false_alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    clear, misses = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    with np.errstate(invalid="ignore"):
        return hits / (hits + false_alarms), clear / (clear + misses)


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
    Those at a given prevalence are by bootstrap, or where all agree of the rates' own ends.

    Parameters
    ----------
    labels, called
        Shape (n,); n may be 0.
    """
    both = np.unique(labels).size == 2
    drawn = None
    if labels.size and (resampling.patients is not None or (both and prevalence is not None)):
        drawn = bootstrap_rates(labels, called, resampling)
    ill, weights = labels == 1, resampling.weights
    clustered = drawn if resampling.patients is not None else None

    def rate(hits: BoolArray, among: BoolArray, hit: int, other: int) -> Interval | None:
        if not among.any():
            return None
        share = share_interval(hits[among], None if weights is None else weights[among])
        if clustered is None:
            return share
        replicates = _shares(clustered, hit, other)
        if _agree(replicates):
            return wilson_interval(share.value, resampled_size(among, resampling))
        return percentile_interval(share.value, replicates)

    sensitivity = rate(called, ill, TRUE_POSITIVE, FALSE_NEGATIVE)
    specificity = rate(~called, ~ill, TRUE_NEGATIVE, FALSE_POSITIVE)
    at_prevalence = None
    if prevalence is not None and drawn is not None and sensitivity and specificity:
        table = four_fields(ill, called) @ (np.ones(ill.size) if weights is None else weights)
        at_prevalence = _at_prevalence(table, drawn, prevalence, sensitivity, specificity)
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


def _at_prevalence(
    table: FloatArray,
    drawn: FloatArray,
    prevalence: float,
    sensitivity: Interval,
    specificity: Interval,
) -> PredictiveValues:
    """Values by Bayes' theorem.

    Where all positives or all negatives are right, or all wrong, or as often right in every
    patient, replicates know no other value: there the ends are those of both rates' own intervals,
    with which both values rise. That is wider than it has to be.
    """

    def rates(tables: FloatArray) -> tuple[FloatArray, FloatArray]:
        return (
            _shares(tables, TRUE_POSITIVE, FALSE_NEGATIVE),
            _shares(tables, TRUE_NEGATIVE, FALSE_POSITIVE),
        )

    observed = predictive_values(*rates(table), prevalence)
    resampled = predictive_values(*rates(drawn), prevalence)
    certain = any(_agree(rate) for rate in rates(drawn))
    outer = predictive_values(
        np.array([sensitivity.low, sensitivity.high]),
        np.array([specificity.low, specificity.high]),
        prevalence,
    )
    ppv, npv = (
        _defined(float(value), replicates, between if certain else None)
        for value, replicates, between in zip(observed, resampled, outer, strict=True)
    )
    return PredictiveValues(prevalence=prevalence, ppv=ppv, npv=npv)


def _defined(value: float, replicates: FloatArray, ends: FloatArray | None) -> Interval | None:
    if np.isnan(value):
        return None
    if ends is not None:
        return Interval(value=value, low=float(ends[0]), high=float(ends[1]))
    return percentile_interval(value, replicates)

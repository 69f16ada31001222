"""Shares of images with Wilson's 95 % intervals, of weighted images by their effective number."""

import numpy as np

from clients.metrics.intervals import BoolArray, FloatArray, Interval, Z


def proportion_interval(hits: int, total: int) -> Interval:
    """Wilson's score interval of ``hits`` out of ``total`` (at least 1)."""
    return wilson_interval(hits / total, total)


def effective_size(weights: FloatArray) -> float:
    """How many images of equal weight tell as much: Kish, Survey Sampling (1965), 11.7."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def share_interval(hits: BoolArray, weights: FloatArray | None = None) -> Interval:
    """Share of ``hits`` (shape (n,), n at least 1) with Wilson's score interval.

    With weights the share is theirs, and Wilson's interval that of Kish's effective size.
    """
    if weights is None:
        return proportion_interval(int(hits.sum()), hits.size)
    return wilson_interval(float(np.average(hits, weights=weights)), effective_size(weights))


def wilson_interval(share: float, size: float) -> Interval:
    """Wilson's score interval of a share of ``size`` things (more than 0).

    An effective size need not be whole, as the counts of scipy's ``binomtest`` must.
    """
    centre = (share + Z**2 / (2 * size)) / (1 + Z**2 / size)
    reach = Z / (1 + Z**2 / size) * (share * (1 - share) / size + Z**2 / (4 * size**2)) ** 0.5
    # An end that is 0 or 1 is so only up to rounding.
    low, high = min(share, centre - reach), max(share, centre + reach)
    return Interval(value=share, low=max(0.0, low), high=min(1.0, high))

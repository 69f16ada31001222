"""What a model's calibration and a site's are fitted with: targets, loss and thresholds.

Used by training.release.calibrate on synthetic images, and by clients.calibration.site on a
site's films.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.findings.calibration import Floats, Ints, OperatingPoint

TARGET = 0.95  # asked of "sensitive" and of "specific"


def platt_targets(labels: Ints) -> NDArray[np.float64]:
    """Give Platt's targets, ``(n1 + 1) / (n1 + 2)`` and ``1 / (n0 + 2)``, for labels 1 and 0.

    Where the logits separate the classes completely, plain targets would be fitted best by a
    temperature of 0, and every probability would be 0 or 1.

    References
    ----------
    Platt 1999, "Probabilistic outputs for support vector machines", section 2.2.
    """
    positives = int(labels.sum())
    negatives = labels.size - positives
    return np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def mean_loss(scaled: Floats, targets: Floats | Ints) -> float:
    """Mean negative log-likelihood in nats of (N,) targets under (N,) calibrated logits."""
    # -log p(target) = log(1 + e^x) - target * x, written so that it does not overflow
    return float(np.mean(np.logaddexp(0.0, scaled) - targets * scaled))


def check(scores: Floats, labels: Ints) -> None:
    """Raise ValueError unless both are one list, scores finite, and both classes occur."""
    if scores.shape != labels.shape or scores.ndim != 1:
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} are not one list each")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite; the network's output is broken")
    if set(np.unique(labels).tolist()) != {0, 1}:
        raise ValueError("calibration needs images of both classes, labelled 0 and 1")


def choose_operating_points(
    scores: Floats, labels: Ints, *, sensitivity: float = TARGET, specificity: float = TARGET
) -> tuple[OperatingPoint, ...]:
    """Choose ``balanced``, ``sensitive`` and ``specific`` thresholds, in this order.

    ``balanced`` maximises Youden's J = sensitivity + specificity - 1. ``sensitive`` has the highest
    specificity at the sensitivity asked for, and is never less sensitive than ``balanced``;
    ``specific`` the other way round. Hence sensitive <= balanced <= specific as thresholds. Where
    what is asked is out of reach the nearest point is taken: the values reached are those stored.

    Parameters
    ----------
    scores
        Calibrated probabilities, shape (N,), in [0, 1].
    labels
        Shape (N,), 0 or 1; both must occur.
    sensitivity, specificity
        Asked of ``sensitive`` and of ``specific``.

    Returns
    -------
    tuple of OperatingPoint
        Thresholds lie midway between neighbouring scores, so that rounding on another processor
        does not flip the image they were found at.

    Raises
    ------
    ValueError
        If shapes differ, a score is not finite, or only one class is present.
    """
    check(scores, labels)
    cuts, found, kept = _rates(scores, labels)
    thresholds = (cuts + np.append(cuts[1:], 0.0)) / 2

    def point(name: str, index: int) -> OperatingPoint:
        return OperatingPoint(
            name=name,
            threshold=float(thresholds[index]),
            sensitivity=float(found[index]),
            specificity=float(kept[index]),
        )

    balanced = int(np.argmax(found + kept))
    sensitive = _best(kept, found, max(sensitivity, found[balanced]), max)
    specific = _best(found, kept, max(specificity, kept[balanced]), min)
    return point("balanced", balanced), point("sensitive", sensitive), point("specific", specific)


def _rates(scores: Floats, labels: Ints) -> tuple[Floats, Floats, Floats]:
    """Every score as a threshold, highest first, with the sensitivity and specificity there."""
    negated, bins = np.unique(-scores, return_inverse=True)
    positives = np.cumsum(np.bincount(bins, weights=labels == 1))
    negatives = np.cumsum(np.bincount(bins, weights=labels == 0))
    total = negatives[-1]
    # One division of whole numbers: 1 - 7 / 100 is less than the 0.93 that a user asks for.
    return -negated, positives / positives[-1], (total - negatives) / total


def _best(gain: Floats, constrained: Floats, least: float, tie: Callable[[list[int]], int]) -> int:
    """Index of the highest ``gain`` where ``constrained`` reaches ``least``, or its maximum."""
    allowed = np.flatnonzero(constrained >= min(least, float(constrained.max())))
    ties = allowed[gain[allowed] == gain[allowed].max()]
    return tie(ties.tolist())

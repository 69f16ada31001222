"""Temperature and operating points from logits on a held-out synthetic split.

fit -> export -> [calibrate] -> package
Plain arrays in, the types of ``service.findings.calibration`` out. The logits are those of the
graph as shipped (int8, through onnxruntime), so that what quantisation does to them is calibrated
too.

Both are fitted on synthetic images alone. On real radiographs the distribution of logits shifts: a
threshold that reaches 95 % sensitivity here promises nothing there, and the probability is
calibrated to the synthetic prevalence of about one half. The model card repeats this.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_curve

from service.findings.calibration import Calibration, OperatingPoint

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

TARGET = 0.95  # asked of "sensitive" and of "specific"
TEMPERATURES = (1e-2, 1e2)


def probabilities(logits: Floats, calibration: Calibration) -> NDArray[np.float64]:
    """Calibrated probabilities of shape (N,) for logits of shape (N,)."""
    return np.array([calibration.probability(float(logit)) for logit in logits])


def fit_temperature(logits: Floats, labels: Ints) -> Calibration:
    """Find the temperature that minimises the negative log-likelihood.

    The targets are Platt's, ``(n1 + 1) / (n1 + 2)`` and ``1 / (n0 + 2)``, not 1 and 0: where the
    logits separate the classes completely, as they may on synthetic images, plain targets would be
    fitted best by a temperature of 0 and every probability would be 0 or 1.

    Parameters
    ----------
    logits
        Shape (N,), of images that were not trained on.
    labels
        Shape (N,), 0 or 1; both must occur.

    Returns
    -------
    Calibration
        With ``bias`` 0: the rank and the sign of a logit stay what the network made them.

    Raises
    ------
    ValueError
        If shapes differ, a logit is not finite, or only one class is present.

    References
    ----------
    Guo et al. 2017, "On calibration of modern neural networks" (arXiv 1706.04599).
    Platt 1999, "Probabilistic outputs for support vector machines", section 2.2.
    """
    _check(logits, labels)
    positives = int(labels.sum())
    negatives = len(labels) - positives
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    scores = np.asarray(logits, dtype=np.float64)

    def loss(log_temperature: float) -> float:
        return _mean_loss(scores / np.exp(log_temperature), targets)

    low, high = np.log(TEMPERATURES)
    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return Calibration(temperature=float(np.exp(best.x)))


def choose_operating_points(scores: Floats, labels: Ints) -> tuple[OperatingPoint, ...]:
    """Choose ``balanced``, ``sensitive`` and ``specific`` thresholds, in this order.

    ``balanced`` maximises Youden's J = sensitivity + specificity - 1. ``sensitive`` has the highest
    specificity at a sensitivity of at least 0.95, and is never less sensitive than ``balanced``;
    ``specific`` the other way round. Hence sensitive <= balanced <= specific as thresholds. Where
    0.95 is out of reach the nearest point is taken: the values reached are those stored.

    Parameters
    ----------
    scores
        Calibrated probabilities, shape (N,), in [0, 1].
    labels
        Shape (N,), 0 or 1; both must occur.

    Returns
    -------
    tuple of OperatingPoint
        Thresholds lie midway between neighbouring scores, so that rounding on another processor
        does not flip the image they were found at.

    Raises
    ------
    ValueError
        As :func:`fit_temperature`.
    """
    _check(scores, labels)
    false_rate, sensitivity, cuts = roc_curve(labels, scores, drop_intermediate=False)
    # The first point of roc_curve calls nothing (threshold infinity) and is no choice.
    specificity, sensitivity, cuts = 1 - false_rate[1:], sensitivity[1:], cuts[1:]
    thresholds = (cuts + np.append(cuts[1:], 0.0)) / 2

    def point(name: str, index: int) -> OperatingPoint:
        return OperatingPoint(
            name=name,
            threshold=float(thresholds[index]),
            sensitivity=float(sensitivity[index]),
            specificity=float(specificity[index]),
        )

    balanced = int(np.argmax(sensitivity + specificity))
    sensitive = _best(specificity, sensitivity, max(TARGET, sensitivity[balanced]), max)
    specific = _best(sensitivity, specificity, max(TARGET, specificity[balanced]), min)
    return point("balanced", balanced), point("sensitive", sensitive), point("specific", specific)


def _best(gain: Floats, constrained: Floats, least: float, tie: Callable[[list[int]], int]) -> int:
    """Index of the highest ``gain`` where ``constrained`` reaches ``least``, or its maximum."""
    allowed = np.flatnonzero(constrained >= min(least, float(constrained.max())))
    ties = allowed[gain[allowed] == gain[allowed].max()]
    return tie(ties.tolist())


def _check(scores: Floats, labels: Ints) -> None:
    if scores.shape != labels.shape or scores.ndim != 1:
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} are not one list each")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite; the network's output is broken")
    if set(np.unique(labels).tolist()) != {0, 1}:
        raise ValueError("calibration needs images of both classes, labelled 0 and 1")


def negative_log_likelihood(logits: Floats, labels: Ints, calibration: Calibration) -> float:
    """Mean negative log-likelihood in nats of (N,) labels under calibrated (N,) logits."""
    scores = np.asarray(logits, dtype=np.float64)
    return _mean_loss(scores / calibration.temperature + calibration.bias, labels)


def _mean_loss(scaled: Floats, targets: Floats | Ints) -> float:
    # -log p(target) = log(1 + e^x) - target * x, written so that it does not overflow
    return float(np.mean(np.logaddexp(0.0, scaled) - targets * scaled))

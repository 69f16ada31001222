"""From a logit to a probability, from a probability to a call, and how far both are from truth."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidManifest

Call = Literal["pneumonia", "no pneumonia"]
Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

BINS = 15  # of every expected calibration error: another number gives another error


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Platt scaling, ``probability = sigmoid(logit / temperature + bias)``.

    With ``bias`` 0 this is temperature scaling (Guo et al. 2017, arXiv 1706.04599).
    """

    temperature: float
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InvalidManifest(f"calibration temperature {self.temperature} is not positive")
        if not math.isfinite(self.bias):
            raise InvalidManifest(f"calibration bias {self.bias} is not finite")

    def probability(self, logit: float) -> float:
        """Calibrated probability in [0, 1] of pneumonia for one raw logit."""
        scaled = logit / self.temperature + self.bias
        if scaled >= 0:
            return 1.0 / (1.0 + math.exp(-scaled))
        return math.exp(scaled) / (1.0 + math.exp(scaled))

    def probabilities(self, logits: Floats) -> NDArray[np.float64]:
        """:meth:`probability` of each of (n,) logits, to the last bit.

        One after the other: numpy's exponential differs in the last bit of one in twenty, and the
        film that a threshold was taken from would fall below it when it is served.
        """
        return np.fromiter(map(self.probability, logits.tolist()), np.float64, logits.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A threshold on the calibrated probability, with what it reached where it was chosen.

    ``sensitivity`` and ``specificity`` are those on the synthetic calibration split; in a site's
    calibration, those on films of the site that the threshold was not chosen on.
    """

    name: str
    threshold: float
    sensitivity: float
    specificity: float

    def __post_init__(self) -> None:
        for field in ("threshold", "sensitivity", "specificity"):
            if not 0 <= getattr(self, field) <= 1:
                raise InvalidManifest(
                    f"operating point {field} {getattr(self, field)} is not in [0, 1]"
                )

    def call(self, probability: float) -> Call:
        """``pneumonia`` at or above the threshold."""
        return "pneumonia" if probability >= self.threshold else "no pneumonia"


def bin_of(probabilities: Floats) -> NDArray[np.int64]:
    """Number of each probability's bin; bins are [k/15, (k+1)/15), the last one closed."""
    return np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)


def expected_calibration_error(
    labels: Ints, probabilities: Floats, weights: Floats | None = None
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
    weights = np.ones(labels.size) if weights is None else weights
    surplus = np.bincount(
        bin_of(probabilities), weights=weights * (probabilities - labels), minlength=BINS
    )
    return float(np.abs(surplus).sum() / weights.sum())


def without_bias(error: float, resampled: Floats) -> NDArray[np.float64]:
    """Calibration errors of resampled images, less what resampling adds to them.

    Of fewer different images the error is higher than of the images themselves, so that its
    percentiles would lie above it: they are shifted by that bias of the bootstrap.

    Parameters
    ----------
    error
        Of the images themselves.
    resampled
        Shape (replicates,).
    """
    shifted: NDArray[np.float64] = np.maximum(resampled - (resampled.mean() - error), 0.0)
    return shifted

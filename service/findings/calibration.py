"""From a logit to a probability, and from a probability to a call."""

import math
from dataclasses import dataclass
from typing import Literal

from service.errors import InvalidManifest

Call = Literal["pneumonia", "no pneumonia"]


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
        if not 0 <= self.threshold <= 1:
            raise InvalidManifest(f"operating point threshold {self.threshold} is not in [0, 1]")

    def call(self, probability: float) -> Call:
        """``pneumonia`` at or above the threshold."""
        return "pneumonia" if probability >= self.threshold else "no pneumonia"

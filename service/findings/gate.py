"""Whether an image looks like what the model was trained for.

decode -> standardise -> session + [gate] -> calibration
A header can lie or be missing; the gate judges the pixels.
"""

import math
from dataclasses import dataclass

from service.errors import InvalidManifest, UnfamiliarImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The part of a manifest that says what is refused by its pixels.

    Attributes
    ----------
    graph
        File name of the gate's ONNX graph beside the manifest.
    threshold
        Least familiarity that is read, in (0, 1); chosen on synthetic images.
    """

    graph: str
    threshold: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and 0 < self.threshold < 1):
            raise InvalidManifest(f"the gate's threshold {self.threshold} is not in (0, 1)")

    def refusal(self, familiarity: float) -> UnfamiliarImage | None:
        """Why an image of this familiarity in [0, 1] is not read, or None where it is."""
        if familiarity >= self.threshold:
            return None
        return UnfamiliarImage(familiarity, self.threshold)

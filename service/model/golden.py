"""Tell whether a model reads here as it did where it was packaged.

bundle -> [golden] -> reader
Packaging stores a few synthetic images with their readings; whoever doubts replays them.
"""

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.errors import InvalidManifest, ModelUnavailable, UnfamiliarImage
from service.imaging.radiograph import FloatImage
from service.model.bundle import GOLDEN, Bundle
from service.model.reader import Outcome, Reader

TOLERANCE = 1e-3  # of probability, and of the heatmap in units of the logit


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenReading:
    """What the model said of one image where it was packaged.

    Attributes
    ----------
    image
        A PNG file.
    heatmap
        Shape (h, w), in units of the logit.
    """

    image: bytes
    probability: float
    heatmap: FloatImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Largest differences of a replay; infinite where an image got no comparable reading."""

    images: int
    probability: float
    heatmap: float

    @property
    def holds(self) -> bool:
        """Whether both are within ``TOLERANCE``; NaN never is."""
        return self.probability <= TOLERANCE and self.heatmap <= TOLERANCE


def golden_readings(bundle: Bundle) -> list[GoldenReading]:
    """Give the golden readings of a verified model.

    Raises
    ------
    ModelUnavailable
        If it has none.
    InvalidManifest
        If they are not readable.
    """
    try:
        entries = json.loads(bundle.golden)["readings"] if bundle.golden else []
        readings = [
            GoldenReading(
                image=base64.b64decode(entry["image"]),
                probability=float(entry["probability"]),
                heatmap=np.array(entry["heatmap"], np.float32),
            )
            for entry in entries
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidManifest(
            f"{GOLDEN} is not readable ({type(error).__name__}); package the model again"
        ) from error
    if not readings:
        raise ModelUnavailable(
            f"The model has no golden readings ({GOLDEN}) to compare with. Package it again."
        )
    return readings


def replay(reader: Reader, golden: Sequence[GoldenReading]) -> Agreement:
    """Read the images of golden readings, one at a time, and compare.

    Raises
    ------
    ReadingError
        If an image cannot be decoded.
    """
    differences = np.array(
        [_difference(g, reader.infer([reader.prepare(g.image)])[0]) for g in golden]
    )
    probability, heatmap = differences.max(axis=0)
    return Agreement(images=len(golden), probability=float(probability), heatmap=float(heatmap))


def _difference(golden: GoldenReading, found: Outcome) -> tuple[float, float]:
    """Of probability, and of the heatmap where it differs most."""
    if isinstance(found, UnfamiliarImage):
        return math.inf, math.inf
    probability = abs(found.probability - golden.probability)
    if found.heatmap.shape != golden.heatmap.shape:
        return probability, math.inf
    return probability, float(np.abs(found.heatmap - golden.heatmap).max())

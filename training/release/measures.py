"""What a graph yields on many images, and how well its scores separate the classes.

Intervals resample pairs, not images: the two images of a pair share their anatomy and are not
independent.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn import config_context
from sklearn.metrics import roc_auc_score

from service.findings.calibration import (
    BINS,
    OperatingPoint,
    expected_calibration_error,
    without_bias,
)
from service.imaging.radiograph import FloatImage
from service.model.session import Outputs, Session

BATCH = 32
RESAMPLES = 1000
LESION_COVERAGE = 0.25  # of a cell that counts as lesion
CALIBRATION_ERROR = f"expected calibration error, {BINS} bins"

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.3f} ({self.low:.3f} to {self.high:.3f})"


def run_graph(graph: bytes, images: FloatImage) -> Outputs:
    """Run an ONNX graph on (N, 1, S, S) images, a batch at a time, one thread per core."""
    session = Session(graph, threads=0)
    parts = [session.run(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    return Outputs(
        logit=np.concatenate([part.logit for part in parts]),
        heatmap=np.concatenate([part.heatmap for part in parts]),
        embedding=np.concatenate([part.embedding for part in parts]),
    )


def auroc(labels: Ints, scores: Floats) -> float:
    """Area under the ROC curve of (N,) scores; raises ValueError where one class is missing."""
    if len(np.unique(labels)) != 2:
        raise ValueError("AUROC needs images of both classes")
    return float(roc_auc_score(labels, scores))


def summarise(
    labels: Ints, scores: Floats, groups: NDArray[np.generic], point: OperatingPoint, seed: int
) -> dict[str, Interval]:
    """AUROC, sensitivity, specificity, Brier score and calibration error, each with its interval.

    Parameters
    ----------
    labels, scores, groups
        Shape (N,): 0 or 1; calibrated probability; the pair an image belongs to.
    point
        Decides what sensitivity and specificity are of.
    seed
        Of the bootstrap: 1,000 resamples of groups, percentiles 2.5 and 97.5; those of the
        calibration error without the bootstrap's bias.
    """

    def measure(rows: Ints) -> dict[str, float]:
        y, p = labels[rows], scores[rows]
        called = p >= point.threshold
        return {
            "AUROC": auroc(y, p),
            "sensitivity": float(called[y == 1].mean()),
            "specificity": float(1 - called[y == 0].mean()),
            "Brier score": float(np.square(p - y).mean()),
            CALIBRATION_ERROR: expected_calibration_error(y, p),
        }

    members = list(pd.Series(groups).groupby(groups).indices.values())
    generator = np.random.default_rng(seed)
    samples: list[dict[str, float]] = []
    with config_context(assume_finite=True, skip_parameter_validation=True):  # a third faster
        for _ in range(RESAMPLES):
            chosen = generator.integers(len(members), size=len(members))
            rows = np.concatenate([members[group] for group in chosen])
            if len(np.unique(labels[rows])) == 2:
                samples.append(measure(rows))
    estimates = measure(np.arange(len(labels)))
    drawn = {name: np.array([sample[name] for sample in samples]) for name in estimates}
    drawn[CALIBRATION_ERROR] = without_bias(estimates[CALIBRATION_ERROR], drawn[CALIBRATION_ERROR])
    return {
        name: Interval(estimate=estimate, low=float(low), high=float(high))
        for name, estimate in estimates.items()
        for low, high in [np.percentile(drawn[name], [2.5, 97.5])]
    }


def peaks_in_lesion(heatmaps: Floats, lesions: Floats) -> Interval:
    """How often a heatmap's hottest cell holds lesion; Wilson's interval.

    Parameters
    ----------
    heatmaps, lesions
        Shape (N, h, w), N at least 1: heatmaps, and lesion coverage of the same cells.
    """
    hottest = heatmaps.reshape(len(heatmaps), -1).argmax(axis=1)
    covered = lesions.reshape(len(lesions), -1)[np.arange(len(lesions)), hottest]
    hits = int((covered >= LESION_COVERAGE).sum())
    ends = binomtest(hits, len(heatmaps)).proportion_ci(method="wilson")
    return Interval(estimate=hits / len(heatmaps), low=float(ends.low), high=float(ends.high))

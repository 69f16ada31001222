"""Temperature and operating points from one held-out synthetic split, measures from another.

fit -> export -> [calibrate] -> package
Operating points are chosen by ``service.findings.fitting``, as those of a site are. The logits are
those of the graph as shipped (int8, through onnxruntime), so that what quantisation does to them is
calibrated too.

Both are fitted on synthetic images alone. On real radiographs the distribution of logits shifts: a
threshold that reaches 95 % sensitivity here promises nothing there, and the probability is
calibrated to the synthetic prevalence of about one half. The model card repeats this.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from service.findings.calibration import Calibration, Floats, Ints, OperatingPoint
from service.findings.fitting import check, choose_operating_points, mean_loss, platt_targets
from service.imaging.radiograph import FloatImage
from training.config import Config
from training.fit.dataset import load_cells, load_tensors
from training.networks.pneumonia import STRIDE
from training.release.measures import Interval, peaks_in_lesion, run_graph, summarise

TEMPERATURES = (1e-2, 1e2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What calibration and validation found for one graph."""

    calibration: Calibration
    points: tuple[OperatingPoint, ...]
    heatmap_scale: float
    nll_before: float
    nll_after: float
    measures: dict[str, Interval]


def fit_to_splits(config: Config, graph: bytes, splits: dict[str, pd.DataFrame]) -> Fitted:
    """Calibrate on one split and measure on another, with the graph as shipped."""
    folder, spec = config.dataset.folder, config.served_input
    images, labels = load_tensors(splits["calibration"], folder, spec)
    outputs = run_graph(graph, images)
    logits = outputs.logit
    calibration = fit_temperature(logits, labels)
    points = choose_operating_points(calibration.probabilities(logits), labels)

    held_out = splits["validation"]
    images, truth = load_tensors(held_out, folder, spec)
    read = run_graph(graph, images)
    scores = calibration.probabilities(read.logit)
    measures = summarise(truth, scores, held_out["group"].to_numpy(), points[0], config.seed)
    called = ((held_out["mask"] != "") & (scores >= points[0].threshold)).to_numpy()
    if called.any():
        cells = replace(spec, size=STRIDE * read.heatmap.shape[1])  # of the first network
        lesions = load_cells(held_out[called], folder, cells)
        name = "heatmap peak in the lesion, of called positives"
        measures[name] = peaks_in_lesion(read.heatmap[called], lesions)
    return Fitted(
        calibration=calibration,
        points=points,
        heatmap_scale=peak_scale(outputs.heatmap[labels == 1]),
        nll_before=negative_log_likelihood(logits, labels, Calibration(temperature=1.0)),
        nll_after=negative_log_likelihood(logits, labels, calibration),
        measures=measures,
    )


def peak_scale(heatmaps: FloatImage) -> float:
    """Median over positives of the peak of their (N, h, w) heatmaps, as a local logit."""
    cells = heatmaps.shape[1] * heatmaps.shape[2]
    return float(np.median(heatmaps.max(axis=(1, 2))) * cells)


def fit_temperature(logits: Floats, labels: Ints) -> Calibration:
    """Find the temperature that minimises the negative log-likelihood.

    The targets are Platt's: the logits may separate the classes on synthetic images completely.

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
    check(logits, labels)
    targets = platt_targets(labels)
    scores = np.asarray(logits, dtype=np.float64)

    def loss(log_temperature: float) -> float:
        return mean_loss(scores / np.exp(log_temperature), targets)

    low, high = np.log(TEMPERATURES)
    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return Calibration(temperature=float(np.exp(best.x)))


def negative_log_likelihood(logits: Floats, labels: Ints, calibration: Calibration) -> float:
    """Mean negative log-likelihood in nats of (N,) labels under calibrated (N,) logits."""
    scores = np.asarray(logits, dtype=np.float64)
    return mean_loss(scores / calibration.temperature + calibration.bias, labels)

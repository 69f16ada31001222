"""Temperature from logits on a held-out synthetic split.

fit -> export -> [calibrate] -> package
Operating points are chosen by ``service.findings.fitting``, as those of a site are.
Plain arrays in, the types of ``service.findings.calibration`` out. The logits are those of the
graph as shipped (int8, through onnxruntime), so that what quantisation does to them is calibrated
too.

Both are fitted on synthetic images alone. On real radiographs the distribution of logits shifts: a
threshold that reaches 95 % sensitivity here promises nothing there, and the probability is
calibrated to the synthetic prevalence of about one half. The model card repeats this.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from service.findings.calibration import Calibration
from service.findings.fitting import Floats, Ints, check, mean_loss, platt_targets

TEMPERATURES = (1e-2, 1e2)


def probabilities(logits: Floats, calibration: Calibration) -> NDArray[np.float64]:
    """Calibrated probabilities of shape (N,) for logits of shape (N,)."""
    return np.array([calibration.probability(float(logit)) for logit in logits])


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

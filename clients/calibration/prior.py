"""Films without labels from where pneumonia is rarer or more frequent than in calibration.

probabilities + counts of their calibration -> [prior] -> adjusted
Assumed is a shift of the prior alone: ill films look as the ill ones of calibration did, healthy
films as the healthy ones, and the probabilities were right there.

References
----------
Saerens, Latinne & Decaestecker, Adjusting the outputs of a classifier to new a priori
probabilities: a simple procedure, Neural Computation 14 (2002) 21-41.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from clients.metrics.evaluate import REPLICATES, SEED
from clients.metrics.intervals import FloatArray, IntArray, Interval, percentile_interval
from clients.reports.tables import format_interval
from clients.scoring.score import ADJUSTED
from clients.scoring.scored import EvaluationError
from service.findings.calibration import OperatingPoint

LEAST = 20  # films
RECOMMENDED = 100
EDGE = 1e-6  # an estimate as near to 0 or 1 is there
CERTAIN = 1e-12  # a probability of 0 or 1 would stay what it is at any prevalence
STEP = 0.05  # of log-odds that the bootstrap tells apart
HALVINGS = 40
FAR = 3.0  # standard errors


class PriorError(EvaluationError):
    """No prevalence can be estimated; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What probabilities were calibrated on.

    Attributes
    ----------
    positives, negatives
        Images with and without pneumonia, at least 1 each.
    points
        Operating points with what they reached there, or on films held out from there.
    films
        Whether these were a site's films; else synthetic images.
    """

    positives: int
    negatives: int
    points: tuple[OperatingPoint, ...]
    films: bool

    @property
    def prevalence(self) -> float:
        """Share of images with pneumonia."""
        return self.positives / (self.positives + self.negatives)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The prevalence that EM finds.

    Attributes
    ----------
    before
        Prevalence where the probabilities were calibrated.
    prevalence
        Of these films, interval by bootstrap over films; it takes the probabilities as exact.
    images
        Films with a reading.
    warnings
        Why it should not be trusted; empty where nothing speaks against it.
    """

    before: float
    prevalence: Interval
    images: int
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"prevalence by EM: {format_interval(self.prevalence)} over {self.images} images; "
            f"{self.before:.3f} where the probabilities were calibrated"
        )

    @property
    def at_edge(self) -> bool:
        """Whether it is 0 or 1, so that every film would have a probability of 0 or 1."""
        return _at_edge(self.prevalence.value)


def adjust(probabilities: FloatArray, before: float, after: float) -> FloatArray:
    """Probabilities of shape (n,) as they are where the prevalence is ``after``, by Bayes' theorem.

    Both prevalences are in (0, 1).
    """
    moved: FloatArray = expit(_log_odds(probabilities) + logit(after) - logit(before))
    return moved


def estimate(
    probabilities: FloatArray, calibrated: Calibrated, *, replicates: int = REPLICATES
) -> Estimate:
    """Estimate the prevalence of films from their probabilities of shape (n,).

    It is the one of the highest likelihood, at which the mean adjusted probability is the
    prevalence: EM's fixed point.

    Raises
    ------
    PriorError
        If there are fewer than 20 films, a probability is none, or all are equal.
    """
    _check(probabilities)
    before = calibrated.prevalence
    ratios = _log_odds(probabilities) - logit(before)
    value = float(_likeliest(ratios, np.ones((1, ratios.size)))[0])
    steps, held = np.unique(np.round(ratios / STEP), return_counts=True)
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(ratios.size, held / ratios.size, size=replicates)
    prevalence = percentile_interval(value, _likeliest(steps * STEP, drawn))
    return Estimate(
        before=before,
        prevalence=prevalence,
        images=probabilities.size,
        warnings=tuple(_warnings(probabilities, value, calibrated)),
    )


def _check(probabilities: FloatArray) -> None:
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise PriorError("a probability is not in [0, 1]; score the images again")
    if probabilities.size < LEAST:
        raise PriorError(
            f"{probabilities.size} films with a reading; a prevalence needs at least {LEAST}, "
            f"better {RECOMMENDED}. Score more films together, or leave --prior out."
        )
    if np.ptp(probabilities) == 0:
        raise PriorError(
            "all films have one probability, which says nothing of their prevalence. Look at the "
            "images, or leave --prior out."
        )


def _log_odds(probabilities: FloatArray) -> FloatArray:
    odds: FloatArray = logit(np.clip(probabilities, CERTAIN, 1 - CERTAIN))
    return odds


def _likeliest(ratios: FloatArray, counts: FloatArray | IntArray) -> FloatArray:
    """Prevalences of the highest likelihood.

    The likelihood is concave, and the zero of its derivative is found by halving: EM's steps end
    there too, but never where it is 0 or 1.

    Parameters
    ----------
    ratios
        Logarithms of the densities of ill films by those of healthy ones, shape (n,).
    counts
        How often each counts, shape (replicates, n).

    Returns
    -------
    FloatArray
        Shape (replicates,).
    """
    surplus = np.expm1(ratios)
    low, high = np.zeros(len(counts)), np.ones(len(counts))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        slope = (counts * (surplus / (1 + middle[:, np.newaxis] * surplus))).sum(axis=1)
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    found: FloatArray = (low + high) / 2
    return found


def _at_edge(prevalence: float) -> bool:
    return min(prevalence, 1 - prevalence) < EDGE


def _warnings(
    probabilities: FloatArray, prevalence: float, calibrated: Calibrated
) -> Iterator[str]:
    if not calibrated.films:
        yield (
            "the probabilities were calibrated on synthetic images, and EM takes them at their "
            "word. Calibrate with labelled films (`cxr calibrate`) and read with --calibration"
        )
    if probabilities.size < RECOMMENDED:
        yield f"{probabilities.size} films; with fewer than {RECOMMENDED} a prevalence is rough"
    if _at_edge(prevalence):
        yield (
            f"the estimate is {prevalence:.0f}, at which every film would have that probability: "
            f"{ADJUSTED} is left empty"
        )
    far = list(_far_points(probabilities, prevalence, calibrated))
    if far:
        yield (
            f"at this prevalence other shares of the films should be called at {', '.join(far)} "
            "than are: the probabilities are badly calibrated for these films, or more than the "
            "prevalence differs. Do not use the estimate; calibrate with labelled films"
        )


def _far_points(
    probabilities: FloatArray, prevalence: float, calibrated: Calibrated
) -> Iterator[str]:
    """Operating points at which the calls do not fit what they reached in calibration.

    If the prior alone has shifted, a share of ``prevalence`` times the sensitivity plus the rest
    times one less the specificity is called.
    """
    for point in calibrated.points:
        called = float((probabilities >= point.threshold).mean())
        hits, alarms = point.sensitivity, 1 - point.specificity
        expected = prevalence * hits + (1 - prevalence) * alarms
        variance = (
            _spread(expected, probabilities.size)
            + prevalence**2 * _spread(hits, calibrated.positives)
            + (1 - prevalence) ** 2 * _spread(alarms, calibrated.negatives)
        )
        if abs(called - expected) > FAR * variance**0.5:
            yield f"{point.name} ({called:.3f} called, {expected:.3f} expected)"


def _spread(share: float, count: int) -> float:
    """Variance of a share of ``count``, one more of either kind seen: never 0."""
    seen = (share * count + 1) / (count + 2)
    return seen * (1 - seen) / count

"""Scores of a site's labelled films -> its own temperature, bias and operating points.

scores.parquet -> [calibrate] -> site.json -> service.model.site
What is told of the result is cross-validated: each film is measured with what was fitted to others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from clients.metrics.evaluate import REPLICATES, SEED, patient_numbers
from clients.metrics.intervals import FloatArray, IntArray, Interval, Resampling, delong_interval
from clients.metrics.operating import OperatingMeasures, measure_calls
from clients.metrics.reliability import (
    ProbabilityMeasures,
    least_calibration_error,
    measure_probabilities,
)
from clients.scoring.scored import EvaluationError, open_scores, repeated_films
from service.findings.calibration import Calibration, OperatingPoint
from service.findings.fitting import TARGET, choose_operating_points, mean_loss, platt_targets
from service.model.manifest import ModelIdentity
from service.model.site import SiteFile
from service.version import VERSION

LEAST = 20  # films, or patients, of either class
RECOMMENDED = 100
FOLDS = 10  # five vary more with the partition (docs/experiments.md); Kohavi 1995, IJCAI 14, 1137
SLOPES = (1e-2, 1e2)  # 1 / temperature
REQUIRED = ("logit", "probability", "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """What a calibration is made for.

    Attributes
    ----------
    label
        Column with 1 for pneumonia and 0 for none.
    sensitivity, specificity
        Of the operating points "sensitive" and "specific".
    patient
        Column that names the patient, whose films stay together; None: films are independent.
    """

    label: str = "label"
    sensitivity: float = TARGET
    specificity: float = TARGET
    patient: str | None = None
    replicates: int = REPLICATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Films:
    """Labelled films with a reading, and how many were left out.

    Attributes
    ----------
    logits, probabilities, labels
        Shape (n,); ``probabilities`` are those of the scores.
    patients
        Shape (n,), or None.
    unread, unlabelled, repeated
        Rows without a reading, without a label, and of a file that an earlier row has.
    """

    model: ModelIdentity
    logits: FloatArray
    probabilities: FloatArray
    labels: IntArray
    patients: IntArray | None
    unread: int
    unlabelled: int
    repeated: int

    @property
    def fewest(self) -> int:
        """Films of the rarer class, or patients with such a film where they are known."""
        return min(
            int(chosen.sum()) if self.patients is None else np.unique(self.patients[chosen]).size
            for chosen in (self.labels == 0, self.labels == 1)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A site's calibration, with measures before and after.

    Attributes
    ----------
    before, after
        With the probabilities of the scores, and cross-validated.
    least
        ECE of so many films if the probabilities after were perfect.
    points
        Cross-validated, in the order of ``site``.
    area
        Under the ROC curve of the logits.
    """

    site: SiteFile
    before: ProbabilityMeasures
    after: ProbabilityMeasures
    least: Interval
    points: tuple[OperatingMeasures, ...]
    area: Interval | None


def open_films(files: Sequence[Path], options: FitOptions) -> Films:
    """Read the labelled films of score files of one model and one calibration.

    Raises
    ------
    EvaluationError
        If a file names no model, files name several or have several calibrations, a column is
        missing, a label is neither 0 nor 1, a film has both labels, or there are too few films of
        a class.
    """
    scored = [open_scores(file) for file in files]
    model = _only({found.model for found in scored})
    if len({found.calibration for found in scored}) > 1:
        raise EvaluationError(
            "the probabilities of the files are of several calibrations, so there is no one to "
            "compare with. Score all films with the same --calibration, or without."
        )
    table = pd.concat([found.table for found in scored], ignore_index=True)
    patient = [] if options.patient is None else [options.patient]
    missing = [name for name in (*REQUIRED, options.label, *patient) if name not in table]
    if missing:
        raise EvaluationError(f"no column {', '.join(missing)} in the scores")
    labelled = table[table[options.label].notna()]
    read = labelled[labelled["error"].isna()]
    without = int(read["logit"].isna().sum())
    if without:
        raise EvaluationError(
            f"{without:,} of {len(read):,} readings have no logit, a service sends none: score "
            "with --model, without --url, into a new --out"
        )
    labels = _labels(read[options.label])
    repeated = repeated_films(read, labels)
    films = read.drop_duplicates("sha256").sort_values("sha256", kind="stable")
    found = Films(
        model=model,
        logits=films["logit"].to_numpy(dtype=np.float64),
        probabilities=films["probability"].to_numpy(dtype=np.float64),
        labels=labels[films.index].to_numpy(),
        patients=patient_numbers(films, options.patient),
        unread=len(labelled) - len(read),
        unlabelled=len(table) - len(labelled),
        repeated=repeated,
    )
    if found.fewest < LEAST:
        what = "films" if options.patient is None else "patients"
        raise EvaluationError(
            f"{found.fewest} {what} of one class; a calibration needs at least {LEAST} with and "
            f"{LEAST} without pneumonia, better {RECOMMENDED} each. Label more films."
        )
    return found


def _only(models: set[ModelIdentity | None]) -> ModelIdentity:
    known = [model for model in models if model is not None]
    if len(known) < len(models):
        raise EvaluationError(
            "a file does not name its model; use files of `cxr score` as they are"
        )
    if len(known) > 1:
        names = ", ".join(sorted(f"{model} ({model.sha256[:12]}...)" for model in known))
        raise EvaluationError(
            f"scores of several models: {names}. Calibrate each with its own scores."
        )
    return known[0]


def _labels(column: "pd.Series[str]") -> "pd.Series[int]":
    """Labels as numbers; columns of a dataset beside `label` are text in a score file."""
    numbers = pd.to_numeric(column, errors="coerce")
    if not numbers.isin([0, 1]).all():
        raise EvaluationError("a label is neither 0 nor 1")
    return numbers.astype(np.int64)


def fit(logits: FloatArray, labels: IntArray) -> Calibration:
    """Find the temperature and bias of the highest likelihood.

    The targets are Platt's, so that films which the logits separate do not become certainties.
    Temperatures lie in [0.01, 100]: a logit that falls with pneumonia is all but ignored.

    Parameters
    ----------
    logits, labels
        Shape (n,); labels 0 or 1, both must occur.

    References
    ----------
    Platt 1999, "Probabilistic outputs for support vector machines", section 2.2.
    """
    from scipy.optimize import minimize  # noqa: PLC0415  half a second to load, with the commands

    targets = platt_targets(labels)

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        scaled = logits * parameters[0] + parameters[1]
        surplus = expit(scaled) - targets
        return mean_loss(scaled, targets), np.array([(surplus * logits).mean(), surplus.mean()])

    best = minimize(
        loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[SLOPES, (None, None)]
    )
    slope, bias = best.x
    return Calibration(temperature=float(1 / slope), bias=float(bias))


def calibrate(films: Films, options: FitOptions) -> Fitted:
    """Fit to all films, and measure each with what was fitted to the films of other folds."""
    calibration, points = _fit_all(films.logits, films.labels, options)
    held_out, called = _cross_validated(films, options)
    resampling = Resampling(replicates=options.replicates, seed=SEED, patients=films.patients)
    measured = tuple(
        measure_calls(films.labels, calls, resampling, name=point.name, threshold=point.threshold)
        for point, calls in zip(points, called, strict=True)
    )
    return Fitted(
        site=_site(films, calibration, measured),
        before=measure_probabilities(films.labels, films.probabilities, resampling),
        after=measure_probabilities(films.labels, held_out, resampling),
        least=least_calibration_error(held_out, replicates=options.replicates, seed=SEED),
        points=measured,
        area=delong_interval(films.labels, films.logits, films.patients),
    )


def _fit_all(
    logits: FloatArray, labels: IntArray, options: FitOptions
) -> tuple[Calibration, tuple[OperatingPoint, ...]]:
    calibration = fit(logits, labels)
    points = choose_operating_points(
        calibration.probabilities(logits),
        labels,
        sensitivity=options.sensitivity,
        specificity=options.specificity,
    )
    return calibration, points


def _cross_validated(films: Films, options: FitOptions) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Held-out probabilities of shape (n,), and calls of shape (points, n)."""
    # A second to load, with the commands.
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # noqa: PLC0415

    held_out = np.empty(films.labels.size)
    called = np.empty((3, films.labels.size), dtype=np.bool_)
    kind = StratifiedKFold if films.patients is None else StratifiedGroupKFold
    folds = kind(n_splits=FOLDS, shuffle=True, random_state=SEED)
    for others, fold in folds.split(films.logits, films.labels, films.patients):
        calibration, points = _fit_all(films.logits[others], films.labels[others], options)
        held_out[fold] = calibration.probabilities(films.logits[fold])
        for row, point in zip(called, points, strict=True):
            row[fold] = held_out[fold] >= point.threshold
    return held_out, called


def _site(
    films: Films, calibration: Calibration, measured: Sequence[OperatingMeasures]
) -> SiteFile:
    return SiteFile(
        model=films.model,
        calibration=calibration,
        operating_points=tuple(_point(point) for point in measured),
        films=films.labels.size,
        positives=int(films.labels.sum()),
        date=datetime.now(UTC).date(),
        nanocxr=VERSION,
    )


def _point(measured: OperatingMeasures) -> OperatingPoint:
    if measured.threshold is None or measured.sensitivity is None or measured.specificity is None:
        raise EvaluationError("an operating point was measured without films of both classes")
    return OperatingPoint(
        name=measured.name,
        threshold=measured.threshold,
        sensitivity=measured.sensitivity.value,
        specificity=measured.specificity.value,
    )

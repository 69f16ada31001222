"""Scores and labels -> measures with 95 % confidence intervals, for all images and by stratum.

scores.parquet -> [evaluate] -> table, JSON or HTML report
``*_score``-like measures (AUROC, AUPR, sensitivity, specificity) are better when higher; Brier
score and ECE are better when lower.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from clients.metrics.few import (
    ENOUGH,
    area_interval,
    class_sizes,
    precision_interval,
    resampling_says_little,
)
from clients.metrics.intervals import (
    FloatArray,
    IntArray,
    Interval,
    Resampling,
    bootstrap,
    delong_interval,
    percentile_interval,
)
from clients.metrics.operating import OperatingMeasures, measure_calls
from clients.metrics.proportions import effective_size
from clients.metrics.reliability import Bin, reliability
from clients.metrics.strata import Stratum, columns_of, strata, stratum_title
from clients.metrics.weighting import sampling_weights
from clients.metrics.within import area_within
from clients.scoring.scored import EvaluationError, repeated_films
from service.findings.calibration import OperatingPoint, expected_calibration_error

REPLICATES = 2000
SEED = 20_251_124
REQUIRED = ("label", "probability", "call", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How scores are measured.

    Attributes
    ----------
    replicates, seed
        Of the bootstrap.
    patient
        Column that names the patient; its images are drawn together. None: images are independent.
    points
        Operating points of the model that gave the scores; empty where only its calls are known.
    call_name
        Name of the operating point that decided ``call``.
    prevalence
        In (0, 1): PPV and NPV are also given for this frequency of pneumonia.
    weights
        Column of sampling weights: every share and every area counts images by them.
    within
        Column of strata: the AUROC is also given over pairs of the same stratum alone.
    """

    replicates: int = REPLICATES
    seed: int = SEED
    patient: str | None = None
    points: tuple[OperatingPoint, ...] = ()
    call_name: str = "call"
    prevalence: float | None = None
    weights: str | None = None
    within: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What one group of images shows.

    Measures that need both classes, or one that is absent, are None.

    Attributes
    ----------
    stratum
        Column -> value; empty for all images.
    images
        Images with a label and a probability.
    patients
        Patients they are of; None where no column names them.
    refused
        Images with a label that got an error code instead of a probability; not measured.
    repeated
        Images whose file, by its SHA-256, an earlier one is; they count again. 0 where digests are
        not known.
    effective
        Images of equal weight that would tell as much (Kish); None where no weights are used.
    prevalence
        Fraction of positives (of their weight); also the AUPR of a reader who guesses.
    model_sha256
        Of the model that gave the scores; None where it is not known.
    too_few
        Fewer than 10 images (patients) of a class: no measure that compares the classes is worth
        much, however good it looks.
    auroc, aupr
        Interval by stratified bootstrap, over patients where they are known; by the score methods
        of :mod:`clients.metrics.few` where they are too few or every pair is ranked alike.
    auroc_delong
        The same value, interval by DeLong (by Obuchowski where patients are known); None in the
        same two cases, where a normal interval is none.
    auroc_within
        Over the pairs of the same stratum of :attr:`Method.within`, pooled; None without it.
    sensitivity, specificity
        At the operating point that decided ``call``.
    operating_points
        All operating points of the model where they are known, else that of ``call`` alone.
    ece
        Expected calibration error over the bins of ``reliability``.
    """

    stratum: Stratum
    images: int
    patients: int | None
    refused: int
    repeated: int
    effective: float | None
    positives: int
    prevalence: float | None
    auroc: Interval | None
    auroc_delong: Interval | None
    auroc_within: Interval | None
    aupr: Interval | None
    sensitivity: Interval | None
    specificity: Interval | None
    operating_points: tuple[OperatingMeasures, ...]
    brier: float | None
    ece: float | None
    reliability: tuple[Bin, ...]
    too_few: bool
    model_sha256: str | None = None

    @property
    def title(self) -> str:
        """The stratum in words, ``all`` for every image."""
        return stratum_title(self.stratum)


def evaluate(
    scores: pd.DataFrame, by: Sequence[str] = (), method: Method | None = None
) -> list[Measures]:
    """Measure all images, then every value of each column in ``by``.

    Parameters
    ----------
    scores
        Rows as ``cxr score`` writes them; rows without a label are left out.
    by
        Strata: a column each, or several joined by commas for all their combinations.
    method
        Intervals, patients and operating points; the defaults of :class:`Method` if None.

    Raises
    ------
    EvaluationError
        If a column is missing, no row has a label, a label is not 0 or 1, or a film has both.
    WeightError
        If an image that is measured has no positive finite weight.
    """
    method = method or Method()
    columns = columns_of(by)
    columns += [name for name in (method.patient, method.within) if name is not None]
    labelled = labelled_rows(scores, columns)
    return [measure(rows, stratum, method) for stratum, rows in strata(labelled, by)]


def labelled_rows(scores: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Rows with a label, by path: scoring ends in any order, and a seed should mean the same rows.

    Raises EvaluationError where a column or every label is missing.
    """
    missing = [name for name in (*REQUIRED, *columns) if name not in scores.columns]
    if missing:
        raise EvaluationError(
            f"no column {', '.join(missing)}; there are {', '.join(map(str, scores.columns))}"
        )
    labelled = scores[scores["label"].notna()]
    if labelled.empty:
        raise EvaluationError("no row has a label; score a manifest with a label column")
    if not labelled["label"].isin([0, 1]).all():
        raise EvaluationError("a label is neither 0 nor 1")
    return labelled.sort_values("path", kind="stable") if "path" in labelled else labelled


def patient_numbers(rows: pd.DataFrame, patient: str | None) -> IntArray | None:
    """Number the patients of rows, shape (n,); an image without a patient is one of its own."""
    if patient is None:
        return None
    codes, names = pd.factorize(rows[patient])
    numbers: IntArray = codes.astype(np.int64)
    unknown = numbers < 0
    numbers[unknown] = len(names) + np.arange(unknown.sum())
    return numbers


def resampling_of(rows: pd.DataFrame, method: Method) -> Resampling:
    """How a method draws from rows; raises WeightError where one has no usable weight."""
    return Resampling(
        replicates=method.replicates,
        seed=method.seed,
        patients=patient_numbers(rows, method.patient),
        weights=sampling_weights(rows, method.weights),
    )


def measure(rows: pd.DataFrame, stratum: Stratum, method: Method) -> Measures:
    """Measure one group of labelled rows."""
    read = rows[rows["error"].isna()]
    labels = read["label"].to_numpy(dtype=np.int64)
    probabilities = read["probability"].to_numpy(dtype=np.float64)
    resampling = resampling_of(read, method)
    calls, *points = (
        measure_calls(
            labels, called, resampling, name=name, threshold=threshold, prevalence=method.prevalence
        )
        for name, threshold, called in (
            (method.call_name, None, (read["call"] == "pneumonia").to_numpy()),
            *((p.name, p.threshold, probabilities >= p.threshold) for p in method.points),
        )
    )
    sizes = class_sizes(labels, resampling)
    auroc, auroc_delong, aupr = _areas(labels, probabilities, resampling, sizes)
    patients, weights = resampling.patients, resampling.weights
    return Measures(
        stratum=stratum,
        images=labels.size,
        patients=None if patients is None else int(np.unique(patients).size),
        refused=len(rows) - labels.size,
        repeated=repeated_films(read, read["label"]),
        effective=None if method.weights is None else _effective(weights, labels.size),
        positives=int(labels.sum()),
        prevalence=float(np.average(labels, weights=weights)) if labels.size else None,
        auroc=auroc,
        auroc_delong=auroc_delong,
        auroc_within=None
        if method.within is None
        else _within(labels, probabilities, read[method.within], resampling),
        aupr=aupr,
        sensitivity=calls.sensitivity,
        specificity=calls.specificity,
        operating_points=tuple(points) or (calls,),
        brier=_brier(labels, probabilities, weights) if labels.size else None,
        ece=expected_calibration_error(labels, probabilities, weights) if labels.size else None,
        reliability=reliability(labels, probabilities, weights),
        too_few=min(sizes) < ENOUGH,
    )


def _brier(labels: IntArray, probabilities: FloatArray, weights: FloatArray | None) -> float:
    from sklearn.metrics import brier_score_loss  # noqa: PLC0415  a second to load, as in _areas

    return float(brier_score_loss(labels, probabilities, sample_weight=weights, labels=[0, 1]))


def _effective(weights: FloatArray | None, images: int) -> float:
    return float(images) if weights is None else effective_size(weights)


def _areas(
    labels: IntArray,
    probabilities: FloatArray,
    resampling: Resampling,
    sizes: tuple[float, float],
) -> tuple[Interval | None, Interval | None, Interval | None]:
    if np.unique(labels).size < 2:
        return None, None, None
    # Every command imports this module; those that measure nothing start without scikit-learn.
    from sklearn.metrics import average_precision_score, roc_auc_score  # noqa: PLC0415

    patients, weights = resampling.patients, resampling.weights
    auroc = float(roc_auc_score(labels, probabilities, sample_weight=weights))
    aupr = float(average_precision_score(labels, probabilities, sample_weight=weights))
    if resampling_says_little(auroc, sizes):
        return area_interval(auroc, sizes), None, precision_interval(aupr, sizes)
    resampled = bootstrap(labels, probabilities, resampling)
    return (
        percentile_interval(auroc, resampled.auroc),
        delong_interval(labels, probabilities, patients, weights),
        percentile_interval(aupr, resampled.average_precision),
    )


def _within(
    labels: IntArray, probabilities: FloatArray, groups: pd.Series, resampling: Resampling
) -> Interval | None:
    """AUROC within groups; its interval is of the groups that hold a pair where that is little."""
    found = area_within(labels, probabilities, groups, resampling)
    if found is None:
        return None
    numbers, _ = pd.factorize(groups, use_na_sentinel=False)
    both = np.isin(numbers, np.intersect1d(numbers[labels == 1], numbers[labels == 0]))
    sizes = class_sizes(labels[both], resampling.of(both))
    return (
        area_interval(found.value, sizes) if resampling_says_little(found.value, sizes) else found
    )

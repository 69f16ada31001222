"""Scores and labels -> measures with 95 % confidence intervals, for all images and by stratum.

scores.parquet -> [measure] -> table or JSON
``*_score``-like measures (AUROC, AUPR, sensitivity, specificity) are better when higher; Brier
score and ECE are better when lower.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from clients.intervals import (
    FloatArray,
    IntArray,
    Interval,
    bootstrap,
    delong_interval,
    percentile_interval,
    proportion_interval,
)

REPLICATES = 2000
SEED = 20_251_124
ECE_BINS = 15  # as in Guo et al. 2017, arXiv 1706.04599
REQUIRED = ("label", "probability", "call", "error")


class EvaluationError(ValueError):
    """The scores cannot be evaluated; the message says why."""


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
    refused
        Images with a label that got an error code instead of a probability; not measured.
    prevalence
        Fraction of positives; also the AUPR of a reader who guesses.
    auroc
        Interval by stratified bootstrap.
    auroc_delong
        The same value, interval by DeLong.
    sensitivity, specificity
        At the operating point that decided ``call``; Wilson's interval.
    ece
        Expected calibration error over 15 equal bins of probability.
    """

    stratum: dict[str, str]
    images: int
    refused: int
    positives: int
    prevalence: float | None
    auroc: Interval | None
    auroc_delong: Interval | None
    aupr: Interval | None
    sensitivity: Interval | None
    specificity: Interval | None
    brier: float | None
    ece: float | None


def evaluate(
    scores: pd.DataFrame, by: Sequence[str] = (), *, replicates: int = REPLICATES, seed: int = SEED
) -> list[Measures]:
    """Measure all images, then every value of each column in ``by``.

    Parameters
    ----------
    scores
        Rows as ``cxr score`` writes them; rows without a label are left out.
    by
        Strata: a column each, or several joined by commas for all their combinations.
    replicates, seed
        Of the bootstrap.

    Raises
    ------
    EvaluationError
        If a column is missing, no row has a label, or a label is not 0 or 1.
    """
    wanted = (*REQUIRED, *(name for columns in by for name in columns.split(",")))
    missing = [name for name in wanted if name not in scores.columns]
    if missing:
        raise EvaluationError(
            f"no column {', '.join(missing)}; there are {', '.join(map(str, scores.columns))}"
        )
    labelled = scores[scores["label"].notna()]
    if labelled.empty:
        raise EvaluationError("no row has a label; score a manifest with a label column")
    if not labelled["label"].isin([0, 1]).all():
        raise EvaluationError("a label is neither 0 nor 1")
    return [
        measure(rows, stratum, replicates=replicates, seed=seed)
        for stratum, rows in _strata(labelled, by)
    ]


def _strata(
    scores: pd.DataFrame, by: Sequence[str]
) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    yield {}, scores
    for joined in by:
        columns = joined.split(",")
        for values, rows in scores.groupby(columns, sort=True, dropna=False):
            named = zip(columns, values, strict=True)
            yield {name: "(none)" if pd.isna(value) else str(value) for name, value in named}, rows


def measure(
    rows: pd.DataFrame,
    stratum: dict[str, str],
    *,
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> Measures:
    """Measure one group of labelled rows (columns label, probability, call, error)."""
    read = rows[rows["error"].isna()]
    labels = read["label"].to_numpy(dtype=np.int64)
    probabilities = read["probability"].to_numpy(dtype=np.float64)
    called = (read["call"] == "pneumonia").to_numpy()
    positives = int(labels.sum())
    negatives = labels.size - positives
    auroc, auroc_delong, aupr = _areas(labels, probabilities, replicates, seed)
    return Measures(
        stratum=stratum,
        images=labels.size,
        refused=len(rows) - labels.size,
        positives=positives,
        prevalence=positives / labels.size if labels.size else None,
        auroc=auroc,
        auroc_delong=auroc_delong,
        aupr=aupr,
        sensitivity=_proportion(int((called & (labels == 1)).sum()), positives),
        specificity=_proportion(int((~called & (labels == 0)).sum()), negatives),
        brier=float(brier_score_loss(labels, probabilities, labels=[0, 1]))
        if labels.size
        else None,
        ece=expected_calibration_error(labels, probabilities) if labels.size else None,
    )


def _areas(
    labels: IntArray, probabilities: FloatArray, replicates: int, seed: int
) -> tuple[Interval | None, Interval | None, Interval | None]:
    if np.unique(labels).size < 2:
        return None, None, None
    resampled = bootstrap(labels, probabilities, replicates=replicates, seed=seed)
    auroc = float(roc_auc_score(labels, probabilities))
    aupr = float(average_precision_score(labels, probabilities))
    # One image of a class leaves DeLong's variance undefined.
    enough = min(labels.sum(), labels.size - labels.sum()) > 1
    return (
        percentile_interval(auroc, resampled.auroc),
        delong_interval(labels, probabilities) if enough else None,
        percentile_interval(aupr, resampled.average_precision),
    )


def _proportion(hits: int, total: int) -> Interval | None:
    return proportion_interval(hits, total) if total else None


def expected_calibration_error(labels: IntArray, probabilities: FloatArray) -> float:
    """Mean distance between confidence and frequency over 15 equal bins, weighted by images.

    Parameters
    ----------
    labels, probabilities
        Shape (n,), n at least 1; bins are [k/15, (k+1)/15), the last one closed.

    References
    ----------
    Guo et al. 2017, arXiv 1706.04599, for the probability of the positive class.
    """
    bins = np.minimum((probabilities * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    surplus = np.bincount(bins, weights=probabilities - labels, minlength=ECE_BINS)
    return float(np.abs(surplus).sum() / labels.size)


def to_json(measures: Sequence[Measures]) -> list[dict[str, Any]]:
    """Plain values for ``json.dumps``, one object a stratum."""
    return [asdict(row) for row in measures]


def to_table(measures: Sequence[Measures]) -> str:
    """Aligned plain text, one line a stratum; ``-`` where a measure is undefined."""
    header = [
        "stratum", "images", "refused", "positive", "AUROC [bootstrap]", "[DeLong]",
        "AUPR [bootstrap]", "guess", "sensitivity", "specificity", "Brier", "ECE",
    ]  # fmt: skip
    lines = [header, *(_cells(row) for row in measures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    )


def _cells(row: Measures) -> list[str]:
    delong = row.auroc_delong
    return [
        ", ".join(f"{column}={value}" for column, value in row.stratum.items()) or "all",
        str(row.images),
        str(row.refused),
        str(row.positives),
        _interval(row.auroc),
        "-" if delong is None else f"[{delong.low:.3f}, {delong.high:.3f}]",
        _interval(row.aupr),
        _number(row.prevalence),
        _interval(row.sensitivity),
        _interval(row.specificity),
        _number(row.brier),
        _number(row.ece),
    ]


def _interval(value: Interval | None) -> str:
    return "-" if value is None else f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

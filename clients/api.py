"""What ``cxr score`` and ``cxr evaluate`` do, as functions; the commands call the same.

dataset -> [score] -> table -> [evaluate] -> measures
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pandas as pd

from clients.calibration.adjusted import add_adjusted, calibrated_on
from clients.calibration.prior import Calibrated
from clients.datasets.items import Dataset, DatasetError
from clients.datasets.open import Columns, Layout, check_present, open_dataset
from clients.metrics.evaluate import REPLICATES, Measures, Method
from clients.metrics.evaluate import evaluate as measure_strata
from clients.metrics.intervals import Interval
from clients.reports.tables import repeats
from clients.scoring.engines import EngineOptions, open_engine
from clients.scoring.score import Advance, ScoringError, Summary, done_names, parts_folder
from clients.scoring.score import score as score_items
from clients.scoring.scored import (
    EvaluationError,
    Scored,
    as_scored,
    open_scores,
    operating_points,
)
from service.schemas import Prediction, Problem
from service.settings import Settings

__all__ = [
    "DatasetError", "EvaluationError", "Measures", "ScoringError", "evaluate", "rows", "score",
]  # fmt: skip

ANSWERED = (
    "probability", "familiarity", "call", "width", "height", "view", "model_sha256", "error",
    "detail",
)  # fmt: skip
Watch = Callable[[int], AbstractContextManager[Advance]]  # given how many images are done already


def score_to(
    out: Path, dataset: Dataset, options: EngineOptions, watch: Watch, *, prior: bool
) -> tuple[Summary, Calibrated | None]:
    """Score a dataset into the Parquet file ``out``.

    Returns
    -------
    Summary, Calibrated or None
        The second is for :func:`add_adjusted`, where ``prior`` asks for it.
    """
    if not out.exists():
        check_present(dataset)
    done = len(done_names(parts_folder(out)))
    with open_engine(options) as engine, watch(done) as advance:
        # Looked up before the images are read: what is missing ends the run at once.
        calibrated = calibrated_on(engine, options.model, options.calibration) if prior else None
        summary = score_items(dataset, engine, out, advance=advance)
    return summary, calibrated


def score(  # noqa: PLR0913  an argument for each option of the command
    dataset: Path | str,
    *,
    out: Path | str | None = None,
    layout: Layout | None = None,
    all_classes: bool = False,
    path_column: str | None = None,
    label_column: str | None = None,
    label_map: Mapping[str, int | None] | None = None,
    model: Path | str | None = None,
    url: str | None = None,
    ray_address: str | None = None,
    calibration: Path | str | None = None,
    embeddings: bool = False,
    prior: Literal["em"] | None = None,
) -> pd.DataFrame:
    """Read every image of a dataset: one row an image, as ``cxr score`` writes them.

    What speaks against the dataset or the estimate of its prevalence is a warning.

    Parameters
    ----------
    dataset
        Folder of images, or a CSV or Parquet file with a column ``path`` and optionally ``label``.
    out
        Parquet file to keep; an interrupted run goes on there. None: nothing is kept.
    layout, all_classes
        As for :func:`clients.datasets.open.open_dataset`.
    path_column, label_column, label_map
        Of a table whose columns or labels have other names, see
        :class:`clients.datasets.open.Columns`.
    model
        Folder of the model that reads on this computer, or on the cluster at ``ray_address``; by
        default that of ``CXR_MODEL``, or the one of nanocxr.
    url
        Address of a running service that reads instead.
    calibration
        File of ``cxr calibrate`` to read with.
    embeddings
        Whether to add the column ``embedding``.
    prior
        "em": estimate the prevalence, and add the column ``probability_adjusted``.

    Raises
    ------
    DatasetError, EvaluationError, ScoringError, ChestXrayError
        If the dataset cannot be listed, the prevalence not estimated, the run not go on, or the
        service not be asked.
    ValueError
        If ``url`` is given with ``model``, ``ray_address``, ``calibration`` or ``embeddings``.
    """
    options = EngineOptions(
        url=url,
        ray_address=ray_address,
        model=None if model is None else Path(model),
        calibration=None if calibration is None else Path(calibration),
        embeddings=embeddings,
    )
    columns = Columns(path=path_column, label=label_column, label_map=label_map or {})
    listed = open_dataset(Path(dataset), layout=layout, all_classes=all_classes, columns=columns)
    _warn(listed.warnings)
    with TemporaryDirectory() as folder:
        target = Path(folder, "scores.parquet") if out is None else Path(out)
        _, calibrated = score_to(target, listed, options, _unwatched, prior=prior is not None)
        if calibrated is not None:
            _warn(add_adjusted(target, calibrated).warnings)
        return open_scores(target, embeddings=embeddings).table


def _unwatched(_done: int) -> AbstractContextManager[Advance]:
    return nullcontext(lambda _: None)


def _warn(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        warnings.warn(sentence, stacklevel=2)


def evaluate_scored(
    scored: Scored, by: Sequence[str], method: Method, model: Path | None
) -> tuple[list[Measures], Method]:
    """Measure scores at the operating points of the model that gave them, where it is known.

    Returns
    -------
    list of Measures, Method
        All images, then the strata; and ``method`` with those points.
    """
    points = (
        ()
        if scored.calibration is not None
        else operating_points(scored.model, model, Settings.from_env().model)
    )
    method = replace(method, points=points, call_name=scored.operating_point or method.call_name)
    model_sha256 = None if scored.model is None else scored.model.sha256
    measured = measure_strata(scored.table, by, method)
    return [replace(row, model_sha256=model_sha256) for row in measured], method


def evaluate(  # noqa: PLR0913  an argument for each option of the command
    scores: pd.DataFrame | Path | str,
    *,
    by: str | Sequence[str] = (),
    patient: str | None = None,
    prevalence: float | None = None,
    weights: str | None = None,
    within: str | None = None,
    model: Path | str | None = None,
    replicates: int = REPLICATES,
) -> list[Measures]:
    """Measure scores as ``cxr evaluate`` does, with 95 % confidence intervals.

    That a film comes twice is a warning.

    Parameters
    ----------
    scores
        What :func:`score` returned, or a file of ``cxr score``.
    by
        Column, or several: also measure each of its values. ``a,b``: their combinations.
    patient, prevalence, weights, within, replicates
        As for :class:`clients.metrics.evaluate.Method`.
    model
        Folder of the model that gave the scores, for its operating points; by default that of
        ``CXR_MODEL``, or the one of nanocxr, if it is that model.

    Returns
    -------
    list of Measures
        All images, then the strata; :func:`rows` makes a table of them.

    Raises
    ------
    EvaluationError
        If a column is missing, no row has a label, a film has both, or ``model`` is not the one of
        the scores.
    """
    method = Method(
        replicates=replicates,
        patient=patient,
        prevalence=prevalence,
        weights=weights,
        within=within,
    )
    scored = as_scored(scores) if isinstance(scores, pd.DataFrame) else open_scores(Path(scores))
    folder = None if model is None else Path(model)
    columns = [by] if isinstance(by, str) else by
    measures, _ = evaluate_scored(scored, columns, method, folder)
    _warn(repeats(measures[0]))
    return measures


def rows(results: Iterable[Prediction | Problem | Measures]) -> list[dict[str, Any]]:
    """Flatten readings or measures to rows that ``pandas.DataFrame`` takes.

    Parameters
    ----------
    results
        What ``predict`` or ``predict_batch`` of a client returned, in the columns of :func:`score`
        as far as a service tells them; or what :func:`evaluate` returned, with ``<measure>_low``
        and ``<measure>_high`` for the ends of each interval.
    """
    return [_measured(r) if isinstance(r, Measures) else _answered(r) for r in results]


def _answered(result: Prediction | Problem) -> dict[str, Any]:
    if isinstance(result, Problem):
        return dict.fromkeys(ANSWERED) | {"error": result.code, "detail": result.detail}
    seen = result.input
    return dict.fromkeys(ANSWERED) | {
        "probability": result.probability,
        "familiarity": result.familiarity,
        "call": result.call,
        "width": seen.columns,
        "height": seen.rows,
        "view": seen.view,
        "model_sha256": result.model.sha256,
    }


def _measured(row: Measures) -> dict[str, Any]:
    found: dict[str, Any] = dict(row.stratum)
    for field in fields(row):
        value = getattr(row, field.name)
        if isinstance(value, Interval):
            ends = {f"{field.name}_low": value.low, f"{field.name}_high": value.high}
            found |= {field.name: value.value} | ends
        elif not isinstance(value, dict | tuple):
            found[field.name] = value
    return found

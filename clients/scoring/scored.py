"""A file of scores as :mod:`clients.scoring.score` writes it: the rows, and which model gave them.

score -> scores.parquet -> [scored] -> evaluate, compare
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clients.scoring.score import EMBEDDING, METADATA
from service.findings.calibration import OperatingPoint
from service.model.bundle import MANIFEST
from service.model.manifest import Manifest, ModelIdentity

RUN = METADATA.decode()  # among the attributes of a table: the run that gave its rows


class EvaluationError(ValueError):
    """The scores cannot be evaluated; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Rows of a score file without embeddings, and the model where the file names it.

    Attributes
    ----------
    operating_point
        Name of the one that decided ``call``; None where the file does not tell.
    calibration
        SHA-256 of the site's calibration behind the probabilities, to which the manifest's
        thresholds do not belong; None: the model's own.
    """

    table: pd.DataFrame
    model: ModelIdentity | None
    operating_point: str | None = None
    calibration: str | None = None


def open_scores(path: Path, *, embeddings: bool = False) -> Scored:
    """Read a score file, its embeddings only where asked for.

    Raises
    ------
    EvaluationError
        If it is not Parquet.
    """
    try:
        schema = pq.read_schema(path)
        columns = [name for name in schema.names if embeddings or name != EMBEDDING]
        table = pq.read_table(path, columns=columns).to_pandas()
    except pa.ArrowInvalid as error:
        raise EvaluationError(f"{path.name} is not a Parquet file of scores") from error
    table.attrs[RUN] = json.loads((schema.metadata or {}).get(METADATA, b"null"))
    return as_scored(table)


def as_scored(table: pd.DataFrame) -> Scored:
    """Say which model gave the rows of :func:`open_scores`; None where a table is of elsewhere."""
    run = table.attrs.get(RUN)
    if run is None:
        return Scored(table=table, model=None)
    model = run["model"]
    return Scored(
        table=table,
        model=ModelIdentity(**{key: model[key] for key in ("name", "version", "sha256")}),
        operating_point=model["operating_point"],
        calibration=run.get("calibration"),
    )


def repeated_films(read: pd.DataFrame, labels: "pd.Series[int]") -> int:
    """Count the rows of a film, by its SHA-256, that an earlier row has; 0 without digests.

    Parameters
    ----------
    read
        Rows with a reading.
    labels
        0 or 1, by the index of ``read``.

    Raises
    ------
    EvaluationError
        If a film has both labels.
    """
    if "sha256" not in read:
        return 0
    digests = read["sha256"].dropna()
    both = int((labels[digests.index].groupby(digests).nunique() > 1).sum())
    if both:
        raise EvaluationError(
            f"{both:,} films come with both labels, 0 and 1 (same sha256). Correct their labels."
        )
    return int(digests.duplicated().sum())


def read_embeddings(path: Path) -> NDArray[np.float32] | None:
    """Read the pooled features of a score file, or None where they were not asked for.

    Returns
    -------
    numpy.ndarray
        float32 of shape (rows, features); NaN where an image has no reading.
    """
    if EMBEDDING not in pq.read_schema(path).names:
        return None
    column = pq.read_table(path, columns=[EMBEDDING])[EMBEDDING].combine_chunks()
    held = np.asarray(column.is_valid())
    if not held.any():
        return None
    values = np.asarray(column.flatten(), dtype=np.float32).reshape(int(held.sum()), -1)
    embeddings = np.full((len(column), values.shape[1]), np.nan, dtype=np.float32)
    embeddings[held] = values
    return embeddings


def operating_points(
    model: ModelIdentity | None, folder: Path | None, default: Path
) -> tuple[OperatingPoint, ...]:
    """Look the operating points up in the manifest of the model that gave the scores.

    Parameters
    ----------
    model
        As the score file names it.
    folder
        The model's folder if the user named one; it must hold that very model.
    default
        The folder tried otherwise; empty is returned where it holds another model.

    Raises
    ------
    EvaluationError
        If ``folder`` holds another model than the one that gave the scores.
    InvalidManifest
        If a manifest cannot be read.
    """
    if folder is None and not (default / MANIFEST).is_file():
        return ()
    manifest = Manifest.load((folder or default) / MANIFEST)
    same = model is not None and manifest.identity.sha256 == model.sha256
    if folder is not None and not same:
        raise other_model(folder, manifest.identity, model)
    return manifest.operating_points if same else ()


def other_model(folder: Path, held: ModelIdentity, gave: ModelIdentity | None) -> EvaluationError:
    """Say that a folder holds another model than the one that gave the scores, and what to do."""
    named = "not named in the file" if gave is None else f"{gave}, SHA-256 {gave.sha256:.12}"
    return EvaluationError(
        f"{folder} holds {held}, SHA-256 {held.sha256:.12}, and not the model that gave the scores "
        f"({named}); name the folder of that one with --model"
    )

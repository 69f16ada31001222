"""What ``cxr compare`` compares: score files and model folders, on the images all of them have.

arguments -> [open_models -> match] -> compare
A model folder that gave one of the score files lends it its heatmaps; any other model folder reads
the dataset now.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from clients.datasets.items import Dataset
from clients.metrics.evaluate import labelled_rows
from clients.scoring.local import LocalEngine
from clients.scoring.score import score
from clients.scoring.scored import EvaluationError, open_scores, read_embeddings
from service.model.bundle import Bundle
from service.model.manifest import ModelIdentity
from service.model.reader import Reader
from service.model.shipped import default_model
from service.settings import Settings

DEFAULT = "default"  # what the model that comes with nanocxr is called, wherever it lies


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedModel:
    """One model's scores.

    Attributes
    ----------
    label
        Its name in tables and figures.
    source
        The score file or model folder.
    table
        Rows as ``cxr score`` writes them.
    identity
        Which model it is; None where the score file does not name it.
    embeddings
        float32 of shape (rows, features), NaN where an image has no reading; None if unknown.
    reader
        The model itself where its folder is at hand, for heatmaps.
    """

    label: str
    source: Path
    table: pd.DataFrame
    identity: ModelIdentity | None
    embeddings: NDArray[np.float32] | None = None
    reader: Reader | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Labelled images of one model that are not compared."""

    refused: int  # by this model
    not_in_all: int  # missing from another model, or refused by it


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Models on the same images in the same order.

    Attributes
    ----------
    key
        What an image is recognised by.
    dropped
        One entry a model.
    """

    key: Literal["sha256", "path"]
    models: tuple[ComparedModel, ...]
    dropped: tuple[Dropped, ...]

    @property
    def table(self) -> pd.DataFrame:
        """The first model's rows: labels, strata and patients are taken from it."""
        return self.models[0].table


def open_models(
    arguments: Sequence[str], dataset: Dataset | None, settings: Settings
) -> list[ComparedModel]:
    """Open what the user named, in that order.

    Parameters
    ----------
    arguments
        Score files and model folders, each optionally as ``LABEL=PATH``. Unnamed ones are called
        after their model. ``default`` is the model that comes with nanocxr, unless there is a path
        of that name.
    dataset
        The images that models without a score file read.

    Raises
    ------
    EvaluationError
        If a path is missing, fewer than two models are left, two have one name, or a model
        has nothing to read.
    ModelUnavailable
        As :meth:`Reader.open`.
    """
    opened = [_open(argument, settings) for argument in arguments]
    readers = {c.identity.sha256: c.reader for c in opened if c.reader and c.identity}
    scored = {c.identity.sha256 for c in opened if c.identity and not c.reader}
    models = []
    for model in opened:
        sha256 = model.identity.sha256 if model.identity else ""
        if model.reader is None:
            models.append(replace(model, reader=readers.get(sha256)))
        elif sha256 not in scored:
            models.append(_read(model, dataset, settings))
    if len(models) < 2:
        raise EvaluationError("name at least two score files or models to compare")
    return _named_apart(models)


def _open(argument: str, settings: Settings) -> ComparedModel:
    label, path = _label_and_path(argument)
    if path.is_file():
        scored = open_scores(path)
        return ComparedModel(
            label=label or str(scored.model or path.stem),
            source=path,
            table=scored.table,
            identity=scored.model,
            embeddings=read_embeddings(path),
        )
    reader = Reader.open(
        path, limits=settings.limits, threads=settings.threads, key=settings.model_key
    )
    return ComparedModel(
        label=label or str(reader.model),
        source=path,
        table=pd.DataFrame(),
        identity=reader.model,
        reader=reader,
    )


def _label_and_path(argument: str) -> tuple[str, Path]:
    label, equals, rest = argument.partition("=")
    if Path(argument).exists() or not equals:
        label, rest = "", argument
    if rest == DEFAULT and not Path(rest).exists():
        return label, default_model()
    if not Path(rest).exists():
        raise EvaluationError(f"{rest} is neither a score file nor a model folder")
    return label, Path(rest)


def _read(model: ComparedModel, dataset: Dataset | None, settings: Settings) -> ComparedModel:
    """Let the model read the whole dataset."""
    if dataset is None:
        raise EvaluationError(
            f"{model.source} has no score file here: give it one, or --data to read"
        )
    with (
        TemporaryDirectory() as folder,
        LocalEngine(
            Bundle.open(model.source, settings.model_key), settings, embeddings=True
        ) as engine,
        tqdm(total=len(dataset.items), desc=model.label, unit="image", disable=None) as bar,
    ):
        out = Path(folder, "scores.parquet")
        score(dataset, engine, out, advance=lambda _: bar.update())
        table, embeddings = open_scores(out).table, read_embeddings(out)
    if embeddings is None:
        raise EvaluationError(f"{model.label} reads no image of the dataset")
    return replace(model, table=table, embeddings=embeddings)


def _named_apart(models: Sequence[ComparedModel]) -> list[ComparedModel]:
    """Add the source to labels that several models share."""
    uses = Counter(model.label for model in models)
    apart = [
        replace(c, label=f"{c.label} ({c.source.stem})") if uses[c.label] > 1 else c for c in models
    ]
    label, count = Counter(model.label for model in apart).most_common(1)[0]
    if count > 1:
        raise EvaluationError(f"{count} of them are called {label!r}; name them as LABEL=PATH")
    return apart


def match(models: Sequence[ComparedModel], columns: Sequence[str]) -> Matched:
    """Keep the labelled images that every model has read, in the first one's order.

    Images are recognised by the SHA-256 of their file where every model has it and none has
    one twice, else by path.

    Parameters
    ----------
    columns
        Strata and patient that the first model must have.

    Raises
    ------
    EvaluationError
        If there is no common image, or a label differs.
    """
    labelled = [
        labelled_rows(model.table, columns if number == 0 else ())
        for number, model in enumerate(models)
    ]
    read = [rows[rows["error"].isna()] for rows in labelled]
    key = _key(read)
    shared = set.intersection(*(set(rows[key]) for rows in read))
    if not shared:
        raise EvaluationError(f"no image has a reading by all; compared was the {key}")
    order = [name for name in read[0][key] if name in shared]
    matched = [_in_order(c, rows, key, order) for c, rows in zip(models, read, strict=True)]
    for model in matched[1:]:
        differ = model.table["label"].to_numpy() != matched[0].table["label"].to_numpy()
        if differ.any():
            raise EvaluationError(
                f"{int(differ.sum())} images have another label in {model.label} than in "
                f"{matched[0].label}"
            )
    dropped = [
        Dropped(refused=len(rows) - len(kept), not_in_all=len(kept) - len(order))
        for rows, kept in zip(labelled, read, strict=True)
    ]
    return Matched(key=key, models=tuple(matched), dropped=tuple(dropped))


def _key(read: Sequence[pd.DataFrame]) -> Literal["sha256", "path"]:
    for rows in read:
        if "sha256" not in rows or rows["sha256"].isna().any() or rows["sha256"].duplicated().any():
            return "path"
    return "sha256"


def _in_order(
    model: ComparedModel, rows: pd.DataFrame, key: str, order: Sequence[str]
) -> ComparedModel:
    at = model.table.index.get_indexer(rows.index)
    positions = pd.Series(at, index=rows[key]).loc[list(order)].to_numpy()
    embeddings = model.embeddings
    return replace(
        model,
        table=model.table.iloc[positions].reset_index(drop=True),
        embeddings=None if embeddings is None else embeddings[positions],
    )

"""Dataset -> scores.parquet, one row an image; an interrupted run continues where it stopped.

open_dataset -> [engine -> parts -> merge] -> evaluate
An engine turns items into rows. Rows are collected in parts, each written at once or not at all;
what the parts hold is never scored again. The folder of parts is tied to the model's digest and to
the dataset's, so two runs cannot be mixed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq

from clients.datasets import Dataset, Item

PART_ROWS = 256  # images that an interruption can cost
METADATA = b"nanocxr"
MEASURED: dict[str, pa.DataType] = {
    "path": pa.string(),
    "sha256": pa.string(),  # of the file
    "label": pa.int8(),
    "probability": pa.float64(),  # calibrated
    "logit": pa.float64(),  # raw; null where a service was asked
    "call": pa.string(),
    "width": pa.int32(),  # pixels
    "height": pa.int32(),
    "view": pa.string(),  # as the file states it
    "peak_x": pa.float64(),  # pixels: middle of the heatmap's hottest cell; null where a service
    "peak_y": pa.float64(),  # was asked, or the map holds nothing
    "milliseconds": pa.float64(),
    "error": pa.string(),  # stable code; null where the image was read
}
UNREADABLE_FILE = "unreadable_file"


class ScoringError(Exception):
    """The run cannot start or go on; what is done is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Which model gives the scores, and the operating point that decides ``call``."""

    name: str
    version: str
    sha256: str
    operating_point: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one image gave: a reading, or an error code and nothing else."""

    sha256: str | None = None
    probability: float | None = None
    logit: float | None = None
    call: str | None = None
    width: int | None = None
    height: int | None = None
    view: str | None = None
    peak_x: float | None = None
    peak_y: float | None = None
    milliseconds: float | None = None
    error: str | None = None


class Engine(Protocol):
    """Where images are read: in this process, by a service, on a cluster."""

    @property
    def model(self) -> ModelIdentity:
        """The model all scores of this engine come from."""
        ...

    def score(self, items: Iterable[Item]) -> Iterator[tuple[Item, Score]]:
        """Score every item once, in any order; an image that is refused is a score too."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a finished run holds."""

    images: int
    errors: int


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def score(
    dataset: Dataset, engine: Engine, out: Path, *, advance: Callable[[Score], None]
) -> Summary:
    """Score what is not scored yet and write ``out`` when every image has a row.

    Parameters
    ----------
    dataset, engine
        Where images come from and who reads them.
    out
        Parquet file to write; ``<out>.parts`` beside it holds the rows of an unfinished run.
    advance
        Called once for each image scored in this call.

    Raises
    ------
    ScoringError
        If ``out`` or its parts belong to another model or dataset.
    """
    run = {"model": asdict(engine.model), "dataset": dataset.sha256}
    folder = parts_folder(out)
    if out.exists():
        _check_same_run(_run_of(out), run, out)
    else:
        schema = _schema(dataset, run)
        _open_parts(folder, run)
        done = done_names(folder)
        left = [item for item in dataset.items if item.name not in done]
        with _Parts(folder, schema) as parts:
            for item, found in engine.score(left):
                parts.add(item, found)
                advance(found)
        _merge(folder, schema, out)
    shutil.rmtree(folder, ignore_errors=True)
    errors = pq.read_table(out, columns=["error"])["error"]
    return Summary(images=len(errors), errors=len(errors) - errors.null_count)


def parts_folder(out: Path) -> Path:
    """Where the rows of an unfinished run are kept."""
    return out.with_name(out.name + ".parts")


def done_names(folder: Path) -> set[str]:
    """Names of the images that the parts already hold."""
    names: set[str] = set()
    for part in _parts(folder):
        names.update(pq.read_table(part, columns=["path"])["path"].to_pylist())
    return names


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def _open_parts(folder: Path, run: dict[str, Any]) -> None:
    """Make the folder, or check that it belongs to this run."""
    facts = folder / "run.json"
    if facts.exists():
        _check_same_run(json.loads(facts.read_text(encoding="utf-8")), run, folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(facts) as temporary:
        temporary.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")


def _run_of(out: Path) -> Any:
    metadata = pq.read_schema(out).metadata or {}
    return json.loads(metadata.get(METADATA, b"null"))


def _check_same_run(found: Any, run: dict[str, Any], where: Path) -> None:
    if found != run:
        raise ScoringError(
            f"{where} holds scores of another model or dataset. Delete it, or choose another --out."
        )


def _schema(dataset: Dataset, run: dict[str, Any]) -> pa.Schema:
    strata = [(column_of(name), pa.string()) for name in dataset.strata]
    metadata = {METADATA: json.dumps(run).encode()}
    return pa.schema([*MEASURED.items(), *strata], metadata=metadata)


def column_of(stratum: str) -> str:
    """Column of a stratum: its own name, or ``dataset_<name>`` where a measured one has it."""
    return f"dataset_{stratum}" if stratum in MEASURED else stratum


class _Parts:
    """Rows on their way to disk; what is there is written even when the engine fails."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    def add(self, item: Item, found: Score) -> None:
        strata = {column_of(name): value for name, value in item.strata.items()}
        self._rows.append({"path": item.name, "label": item.label, **asdict(found), **strata})
        if len(self._rows) == PART_ROWS:
            self._write()

    def _write(self) -> None:
        if not self._rows:
            return
        number = len(_parts(self._folder))
        with replacing(self._folder / f"{number:08d}.parquet") as temporary:
            pq.write_table(pa.Table.from_pylist(self._rows, schema=self._schema), temporary)
        self._rows = []


def _merge(folder: Path, schema: pa.Schema, out: Path) -> None:
    """Join the parts, one in memory at a time."""
    with replacing(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for part in _parts(folder):
            writer.write_table(pq.read_table(part, schema=schema))


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield the name of a file beside ``target`` that takes its place only if all went well."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)

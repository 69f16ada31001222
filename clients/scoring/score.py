"""Dataset -> scores.parquet, one row an image; an interrupted run continues where it stopped.

open_dataset -> [engine -> parts -> merge] -> evaluate
An engine turns items into rows, in any order. Rows are collected in parts, each written at once or
not at all; what the parts hold is never scored again. The folder of parts is tied to the model's
digest, to a site's calibration, to the dataset's digest and to whether a service reads, so two runs
cannot be mixed.
"""

import json
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, get_args, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clients.datasets.items import Dataset, Item
from service.files import replace_file, replacing
from service.model.manifest import ModelIdentity

PART_ROWS = 256  # images that an interruption can cost
METADATA = b"nanocxr"
ADJUSTED = "probability_adjusted"  # to another prevalence; only where it was asked for
EMBEDDING = "embedding"  # float32, a list of fixed size; only where it was asked for


class ScoringError(Exception):
    """The run cannot start or go on; what is done is kept."""


class OtherRun(ScoringError):
    """The file holds scores of another run; the message says what differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one image gave: a reading, or an error code and nothing else; a column each."""

    sha256: str | None = None  # of the file
    probability: float | None = None  # calibrated
    familiarity: float | None = None  # of the gate; null where the model has none
    logit: float | None = None  # raw; null where a service was asked
    call: str | None = None
    width: int | None = None  # pixels
    height: int | None = None
    view: str | None = None  # as the file states it
    patient_sex: str | None = None  # F, M or O, as a DICOM header states it
    age_band: str | None = None  # decade of the age in a DICOM header, e.g. 40-49
    peak_x: float | None = None  # pixels: middle of the heatmap's hottest cell; null where a
    peak_y: float | None = None  # service was asked, or the map holds nothing
    milliseconds: float | None = None  # decoding and a share of its inference, or the whole request
    error: str | None = None  # stable code; null where the image was read
    embedding: NDArray[np.float32] | None = None  # only where it was asked for


_TYPES = {str: pa.string(), float: pa.float64(), int: pa.int32()}
SCORE_COLUMNS: dict[str, pa.DataType] = {
    name: _TYPES[get_args(kind)[0]]  # of `kind | None`
    for name, kind in get_type_hints(Score).items()
    if name != EMBEDDING
}
ITSELF = "the model itself"  # who reads where a run does not say it
MEASURED = {*SCORE_COLUMNS, ADJUSTED, EMBEDDING}

Advance = Callable[[Score], object]  # called once for each image that is scored


class Engine(Protocol):
    """Where images are read: in this process, by a service, on a cluster.

    Attributes
    ----------
    model
        All scores of this engine come from it.
    operating_point
        Name of the one that decides ``call``.
    calibration
        SHA-256 of the site's calibration behind the probabilities; None: the model's own.
    embedding_size
        Numbers in the embedding of each score; None where scores carry none.
    read_by
        Who reads, in words; a service sends fewer facts than the model itself gives.
    """

    model: ModelIdentity
    operating_point: str
    calibration: str | None
    embedding_size: int | None
    read_by: str

    def score(self, items: Iterable[Item]) -> Generator[tuple[Item, Score], None, None]:
        """Score every item once, in any order; an image that is refused is a score too."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a finished run holds."""

    images: int
    errors: int


def score(dataset: Dataset, engine: Engine, out: Path, *, advance: Advance) -> Summary:
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
    OtherRun
        If ``out`` or its parts belong to another model, calibration, reader or dataset.
    ScoringError
        If the engine left images out.
    """
    model = asdict(engine.model) | {"operating_point": engine.operating_point}
    run: dict[str, Any] = {"model": model, "dataset": dataset.sha256}
    if engine.embedding_size is not None:
        run["embedding"] = engine.embedding_size
    if engine.calibration is not None:
        run["calibration"] = engine.calibration
    if engine.read_by != ITSELF:
        run["read_by"] = engine.read_by
    folder = parts_folder(out)
    if out.exists():
        _check_same_run(_run_of(out), run, out, [out], dataset)
    else:
        schema = _schema(dataset, run, engine.embedding_size)
        _open_parts(folder, run, dataset)
        _score_what_is_left(dataset, engine, _Parts(folder, schema), advance)
        _merge(folder, schema, out)
    shutil.rmtree(folder, ignore_errors=True)
    errors = pq.read_table(out, columns=["error"])["error"]
    return Summary(images=len(errors), errors=len(errors) - errors.null_count)


def _score_what_is_left(
    dataset: Dataset, engine: Engine, parts: "_Parts", advance: Advance
) -> None:
    """One row for every item that has none; a second score of an item is dropped."""
    done = done_names(parts.folder)
    left = {item.name: item for item in dataset.items if item.name not in done}
    with parts, closing(engine.score(list(left.values()))) as scores:
        for item, found in scores:
            if left.pop(item.name, None) is not None:
                parts.add(item, found)
                advance(found)
    if left:
        raise ScoringError(f"{len(left):,} images got no row; run again to score them")


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


def _open_parts(folder: Path, run: dict[str, Any], dataset: Dataset) -> None:
    """Make the folder, or check that it belongs to this run."""
    facts = folder / "run.json"
    if facts.exists():
        found = json.loads(facts.read_text(encoding="utf-8"))
        _check_same_run(found, run, folder, _parts(folder), dataset)
        return
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(facts, json.dumps(run, indent=2) + "\n")


def _run_of(out: Path) -> Any:
    try:
        metadata = pq.read_schema(out).metadata or {}
    except pa.ArrowInvalid:
        return None
    return json.loads(metadata.get(METADATA, b"null"))


def _check_same_run(
    found: Any, run: dict[str, Any], where: Path, parts: Sequence[Path], dataset: Dataset
) -> None:
    if found == run:
        return
    if found is None:
        raise OtherRun(f"{where} is no file of scores. Choose another --out.")
    changes = [*_other_reader(found, run)]
    if found["dataset"] != run["dataset"]:
        changes.append(f"the dataset ({_other_images(parts, dataset)})")
    raise OtherRun(
        f"{where} holds scores of another run. What differs: {'; '.join(changes)}. Delete it, or "
        "choose another --out."
    )


def _other_reader(found: dict[str, Any], run: dict[str, Any]) -> Iterator[str]:
    """What reads otherwise than in the run that was found."""
    then, now = found["model"], run["model"]
    if then != now:
        yield f"the model (was {_named(then)}, now {_named(now)})"
    then, now = found.get("calibration"), run.get("calibration")
    if then != now:
        yield f"the calibration (was {then or 'that of the model'}, now {now or 'of the model'})"
    then, now = found.get("read_by", ITSELF), run.get("read_by", ITSELF)
    if then != now:
        yield f"who reads (was {then}, now {now})"
    if found.get("embedding") != run.get("embedding"):
        yield "whether embeddings are kept"


def _named(model: dict[str, Any]) -> str:
    return "{name} {version}, {sha256:.12}, at {operating_point}".format_map(model)


def _other_images(parts: Sequence[Path], dataset: Dataset) -> str:
    """How the dataset differs from the rows that were scored, of which a run may lack some."""
    items = {item.name: _facts(item) for item in dataset.items}
    columns = ["path", "label", *(column_of(name) for name in dataset.strata)]
    tables = [pq.read_table(part) for part in parts]
    before = {name for table in tables for name in table.column_names if name not in MEASURED}
    if tables and before != set(columns):
        return f"its columns were {', '.join(sorted(before))}, and are {', '.join(sorted(columns))}"
    rows = {row["path"]: row for t in tables for row in t.select(columns).to_pylist()}
    gone = len(rows.keys() - items.keys())
    shared = [(rows[name], items[name]) for name in rows.keys() & items.keys()]
    labels = sum(row["label"] != facts["label"] for row, facts in shared)
    others = sum(row != facts for row, facts in shared) - labels
    counts = {
        "images are gone": gone,
        "labels are others": labels,
        "images have other facts": others,
    }
    changes = [f"{number:,} {what}" for what, number in counts.items() if number > 0]
    return ", ".join(changes) or "images were added or stand in another order"


def _facts(item: Item) -> dict[str, Any]:
    """Columns of a row that the dataset gives."""
    strata = {column_of(name): value for name, value in item.strata.items()}
    return {"path": item.name, "label": item.label, **strata}


def score_columns(embedding_size: int | None) -> dict[str, pa.DataType]:
    """Columns that hold a :class:`Score`, and their types; the embedding where there is one."""
    if embedding_size is None:
        return SCORE_COLUMNS
    return SCORE_COLUMNS | {EMBEDDING: pa.list_(pa.float32(), embedding_size)}


def _schema(dataset: Dataset, run: dict[str, Any], embedding_size: int | None) -> pa.Schema:
    measured = {"path": pa.string(), "label": pa.int8(), **score_columns(embedding_size)}
    strata = [(column_of(name), pa.string()) for name in dataset.strata]
    metadata = {METADATA: json.dumps(run).encode()}
    return pa.schema([*measured.items(), *strata], metadata=metadata)


def column_of(stratum: str) -> str:
    """Column of a stratum: its own name, or ``dataset_<name>`` where a measured one has it."""
    return f"dataset_{stratum}" if stratum in {"path", "label", *MEASURED} else stratum


class _Parts(AbstractContextManager["_Parts"]):
    """Rows on their way to disk; what is there is written even when the engine fails."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder
        self._schema = schema
        self._rows: list[dict[str, Any]] = []

    def __exit__(self, *_: object) -> None:
        self._write()

    def add(self, item: Item, found: Score) -> None:
        self._rows.append(_facts(item) | asdict(found))
        if len(self._rows) == PART_ROWS:
            self._write()

    def _write(self) -> None:
        if not self._rows:
            return
        number = len(_parts(self.folder))
        with replacing(self.folder / f"{number:08d}.parquet") as temporary:
            pq.write_table(pa.Table.from_pylist(self._rows, schema=self._schema), temporary)
        self._rows = []


def _merge(folder: Path, schema: pa.Schema, out: Path) -> None:
    """Join the parts, one in memory at a time; what a killed run leaves goes with the folder."""
    merged = folder / "merged"
    with pq.ParquetWriter(merged, schema) as writer:
        for part in _parts(folder):
            writer.write_table(pq.read_table(part, schema=schema))
    merged.replace(out)

"""Score on a Ray cluster that already runs; Ray Data shares out the images and repeats what fails.

items -> [blocks of paths -> actors with a LocalEngine each -> blocks of scores] -> rows
The model travels through Ray's object store. Images do not: each node reads them under the path
they have here, from a file system that all nodes mount.
"""

import logging
import socket
from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayError

from clients.datasets.items import Item
from clients.scoring.local import LocalEngine
from clients.scoring.score import EMBEDDING, ITSELF, Score, ScoringError, score_columns
from service.model.bundle import Bundle
from service.model.reader import Reader
from service.settings import Settings

BLOCK = 64  # images that are handed out at once, and done again where a node is lost
CONNECT_SECONDS = 5.0
POSITION, FILE = "position", "file"


class RayEngine(AbstractContextManager["RayEngine"]):
    """An engine of :mod:`clients.scoring.score`; close it after use.

    Parameters
    ----------
    bundle
        The model.
    settings
        Limits of an image; ``threads`` of one inference, and CPUs of each actor.
    address
        Of the cluster, as ``ray.init`` takes it.
    embeddings
        Whether scores carry the embedding.

    Raises
    ------
    ScoringError
        If there is no cluster at that address.
    """

    read_by = ITSELF

    def __init__(
        self, bundle: Bundle, settings: Settings, *, address: str, embeddings: bool = False
    ) -> None:
        reader = Reader(bundle, limits=settings.limits, threads=1)  # a broken model ends here
        self.model = bundle.manifest.identity
        self.operating_point = bundle.manifest.default_operating_point
        self.calibration = reader.calibration.sha256
        self.embedding_size = reader.embedding_size if embeddings else None
        self._settings = settings
        _check_that_something_listens(address)
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, RayError) as error:
            raise ScoringError(f"no Ray cluster answers at {address!r}") from error
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # it reports each step of its plan
        self._bundle = ray.put(bundle)

    def __exit__(self, *_: object) -> None:
        ray.shutdown()

    def score(self, items: Iterable[Item]) -> Generator[tuple[Item, Score], None, None]:
        """Score in the order in which blocks are done.

        Raises
        ------
        ScoringError
            If Ray gives up; what it yielded until then counts.
        """
        listed = list(items)
        if not listed:
            return
        blocks: Iterable[Any] = self._scored(listed).iter_batches(
            batch_size=None, batch_format="pyarrow"
        )
        try:
            for block in blocks:
                for row in block.to_pylist():
                    yield listed[row.pop(POSITION)], _score(row)
        except RayError as error:
            raise ScoringError(
                f"Ray stopped the run ({type(error).__name__}); run again to continue"
            ) from error

    def _scored(self, items: Sequence[Item]) -> ray.data.Dataset:
        blocks = [
            _block(start, items[start : start + BLOCK]) for start in range(0, len(items), BLOCK)
        ]
        dataset = ray.data.from_arrow(blocks).map_batches(
            _Scorer,
            fn_constructor_args=([self._bundle], self._settings, self.embedding_size),
            batch_size=None,  # a block
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=self._actors()),
            num_cpus=self._settings.threads or 1,
            udf_modifying_row_count=False,
        )
        dataset.context.enable_progress_bars = False  # `cxr score` has its own
        dataset.context.print_on_execution_start = False
        return dataset

    def _actors(self) -> int:
        """As many as the cluster has room for now; Ray Data adds and gives up some later."""
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return max(1, int(resources.get("CPU", 1)) // (self._settings.threads or 1))


def _check_that_something_listens(address: str) -> None:
    """Ray itself asks an address at which nobody listens again for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # auto, local
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ScoringError(f"no Ray cluster answers at {address!r}") from error


class _Scorer:
    """What an actor does with blocks of paths; decoding is in a process of its own even here.

    A file that kills its decoder must not kill the actor: Ray would give it to the next one.
    """

    def __init__(
        self, bundle: Sequence["ray.ObjectRef[Bundle]"], settings: Settings, size: int | None
    ) -> None:
        self._columns = {POSITION: pa.int64(), **score_columns(size)}
        self._engine = LocalEngine(
            ray.get(bundle[0]),
            settings,
            embeddings=size is not None,
            cores_used=settings.threads or 1,
        )

    def __call__(self, block: pa.Table) -> pa.Table:
        items = [
            Item(name=str(row[POSITION]), file=Path(row[FILE]), label=None)
            for row in block.to_pylist()
        ]
        rows = [
            {POSITION: int(item.name), **asdict(found)} for item, found in self._engine.score(items)
        ]
        return pa.Table.from_pylist(rows, schema=pa.schema(self._columns))


def _block(start: int, items: Sequence[Item]) -> pa.Table:
    return pa.table(
        {
            POSITION: pa.array(range(start, start + len(items)), pa.int64()),
            FILE: [str(item.file.resolve()) for item in items],
        }
    )


def _score(row: dict[str, Any]) -> Score:
    embedding = row.pop(EMBEDDING, None)
    return Score(
        **row, embedding=None if embedding is None else np.asarray(embedding, dtype=np.float32)
    )

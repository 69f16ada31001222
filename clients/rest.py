"""Score by asking a running service, a few images at a time."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from clients.datasets import Item
from clients.score import UNREADABLE_FILE, ModelIdentity, Score, ScoringError, digest
from clients.sdk import ChestXrayClient, ImageRefused, ServiceFailed

CONCURRENCY = 4  # requests under way


class RestEngine:
    """An engine of :mod:`clients.score`.

    An image that is refused, or that the service fails on with status 500, is a row with its
    code; a service that is busy, gone or replaced by another model stops the run.
    """

    def __init__(self, client: ChestXrayClient) -> None:
        self._client = client
        manifest = client.model().manifest
        self.model = ModelIdentity(
            name=manifest.name,
            version=manifest.version,
            sha256=manifest.sha256[manifest.graph],
            operating_point=manifest.default_operating_point,
        )

    def score(self, items: Iterable[Item]) -> Iterator[tuple[Item, Score]]:
        """Score in the order of ``items``."""
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            waiting = iter(items)
            while group := list(islice(waiting, CONCURRENCY)):
                yield from zip(group, pool.map(self._one, group), strict=True)

    def _one(self, item: Item) -> Score:
        try:
            content = item.file.read_bytes()
        except OSError:
            return Score(error=UNREADABLE_FILE)
        sha256 = digest(content)
        start = time.perf_counter()
        try:
            reading = self._client.predict(content)
        except ImageRefused as refusal:
            return Score(sha256=sha256, error=refusal.code)
        except ServiceFailed as failure:
            if failure.status != 500:
                raise
            return Score(sha256=sha256, error=failure.code)
        if reading.model.sha256 != self.model.sha256:
            raise ScoringError("the service changed its model during the run; start a new --out")
        return Score(
            sha256=sha256,
            probability=reading.probability,
            call=reading.call,
            width=reading.input.columns,
            height=reading.input.rows,
            view=reading.input.view,
            milliseconds=(time.perf_counter() - start) * 1000,
        )

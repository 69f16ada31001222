"""Score in this process with a model folder; no service is needed."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from clients.datasets import Item
from clients.score import UNREADABLE_FILE, ModelIdentity, Score, digest
from service.errors import ModelUnavailable, ReadingError
from service.model.reader import Reader
from service.settings import Settings


class LocalEngine:
    """An engine of :mod:`clients.score` on the very Reader that serves.

    An image that is refused is a row with its code; a model that cannot be read stops the run.
    """

    def __init__(self, model: Path, settings: Settings) -> None:
        self._reader = Reader.open(model, limits=settings.limits, threads=settings.threads)
        manifest = self._reader.manifest
        self.model = ModelIdentity(
            name=manifest.name,
            version=manifest.version,
            sha256=manifest.sha256[manifest.graph],
            operating_point=manifest.default_operating_point,
        )

    def score(self, items: Iterable[Item]) -> Iterator[tuple[Item, Score]]:
        """Score in the order of ``items``."""
        for item in items:
            yield item, self._one(item)

    def _one(self, item: Item) -> Score:
        try:
            content = item.file.read_bytes()
        except OSError:
            return Score(error=UNREADABLE_FILE)
        sha256 = digest(content)
        start = time.perf_counter()
        try:
            reading = self._reader.read(content)
        except ModelUnavailable:
            raise
        except ReadingError as refusal:
            return Score(sha256=sha256, error=refusal.code)
        peak_x, peak_y = reading.peak or (None, None)
        return Score(
            sha256=sha256,
            probability=reading.probability,
            logit=reading.logit,
            call=reading.call,
            width=reading.radiograph.columns,
            height=reading.radiograph.rows,
            view=reading.radiograph.view,
            peak_x=peak_x,
            peak_y=peak_y,
            milliseconds=(time.perf_counter() - start) * 1000,
        )

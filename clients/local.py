"""Score on this computer with a model folder; no service is needed.

items -> [Decoders -> batches -> Reader.infer] -> rows
Decoding has processes of its own and goes on while the network runs. Inferences of one thread run
side by side: none waits at a barrier for a thread that a decoder has pushed off its core.
"""

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Self

from clients.decoders import Decoders
from clients.decoding import Decoded
from clients.flow import in_flight
from clients.items import Item
from clients.score import ModelIdentity, Score
from service.model.bundle import Bundle
from service.model.reader import Reader, Reading
from service.model.session import cores
from service.settings import Settings

BATCH = 8  # images of one inference

Task = tuple[Item, Decoded]


class LocalEngine:
    """An engine of :mod:`clients.score` on the very Reader that serves; close it after use.

    Parameters
    ----------
    bundle
        The model.
    settings
        Limits of an image; ``threads`` of one inference, where 0 means 1 and as many inferences
        side by side as there are cores.
    embeddings
        Whether scores carry the embedding.
    cores_used
        Decoding processes, and threads of all inferences together; all cores by default.
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: Settings,
        *,
        embeddings: bool = False,
        cores_used: int | None = None,
    ) -> None:
        cores_used = cores_used or cores()
        threads = settings.threads or 1
        self._lanes = max(1, cores_used // threads)
        self._reader = Reader(bundle, limits=settings.limits, threads=threads)
        self._decoders = Decoders(cores_used, limits=settings.limits, spec=bundle.manifest.input)
        self.model = ModelIdentity.of(bundle.manifest)
        self.embedding_size = self._reader.embedding_size if embeddings else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._decoders.close()

    def score(self, items: Iterable[Item]) -> Generator[tuple[Item, Score], None, None]:
        """Score in the order in which images are done."""
        batches = _batched(self._decoders.decode(items), BATCH)
        with ThreadPoolExecutor(self._lanes) as lanes:

            def submit(batch: Sequence[Task]) -> "Future[list[Score]]":
                return lanes.submit(self._score, batch)

            for batch, future in in_flight(submit, batches, self._lanes + 1):
                for (item, _), found in zip(batch, future.result(), strict=True):
                    yield item, found

    def _score(self, batch: Sequence[Task]) -> list[Score]:
        prepared = [decoded.prepared for _, decoded in batch if decoded.prepared is not None]
        start = time.perf_counter()
        readings = iter(self._reader.infer(prepared))
        share = (time.perf_counter() - start) * 1000 / max(1, len(prepared))
        return [
            Score(sha256=decoded.sha256, error=decoded.error)
            if decoded.prepared is None
            else self._row(decoded, next(readings), share)
            for _, decoded in batch
        ]

    def _row(self, decoded: Decoded, reading: Reading, inference_ms: float) -> Score:
        peak_x, peak_y = reading.peak or (None, None)
        return Score(
            sha256=decoded.sha256,
            probability=reading.probability,
            logit=reading.logit,
            call=reading.call,
            width=reading.radiograph.columns,
            height=reading.radiograph.rows,
            view=reading.radiograph.view,
            patient_sex=decoded.patient_sex,
            age_band=decoded.age_band,
            peak_x=peak_x,
            peak_y=peak_y,
            milliseconds=decoded.milliseconds + inference_ms,
            embedding=None if self.embedding_size is None else reading.embedding,
        )


def _batched(tasks: Iterator[Task], size: int) -> Iterator[Sequence[Task]]:
    while batch := tuple(islice(tasks, size)):
        yield batch

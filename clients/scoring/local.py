"""Score on this computer with a model folder; no service is needed.

items -> [batches -> Decoders -> Reader.infer] -> rows
Decoding has processes of its own and goes on while the network runs. Inferences of one thread run
side by side: none waits at a barrier for a thread that a decoder has pushed off its core.
"""

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import islice

from clients.datasets.items import Item
from clients.scoring.decoders import Decoders
from clients.scoring.decoding import Decoded
from clients.scoring.flow import in_flight
from clients.scoring.score import ITSELF, Score
from service.errors import UnfamiliarImage
from service.model.bundle import Bundle
from service.model.reader import Outcome, Reader
from service.processor import cores
from service.settings import Settings

BATCH = 8  # images that are decoded and inferred together

Batch = tuple[Sequence[Item], Sequence[Decoded]]


class LocalEngine(AbstractContextManager["LocalEngine"]):
    """An engine of :mod:`clients.scoring.score` on the very Reader that serves; close it after use.

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

    read_by = ITSELF

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
        self._reader = Reader(
            bundle, limits=settings.limits, threads=threads, provider=settings.provider
        )
        self._decoders = Decoders(cores_used, limits=settings.limits, spec=bundle.manifest.input)
        self.model = bundle.manifest.identity
        self.operating_point = bundle.manifest.default_operating_point
        self.calibration = self._reader.calibration.sha256
        self.embedding_size = self._reader.embedding_size if embeddings else None

    def __exit__(self, *_: object) -> None:
        self._decoders.close()

    def score(self, items: Iterable[Item]) -> Generator[tuple[Item, Score], None, None]:
        """Score in the order in which batches are done."""
        decoded = self._decoders.decode(_batched(items, BATCH))
        with ThreadPoolExecutor(self._lanes) as lanes:
            for (batch, _), future in in_flight(lanes, self._scores, decoded, self._lanes + 1):
                yield from zip(batch, future.result(), strict=True)

    def _scores(self, batch: Batch) -> list[Score]:
        _, files = batch
        prepared = [decoded.prepared for decoded in files if decoded.prepared is not None]
        start = time.perf_counter()
        outcomes = iter(self._reader.infer(prepared))
        share = (time.perf_counter() - start) * 1000 / max(1, len(prepared))
        return [
            Score(sha256=decoded.sha256, error=decoded.error)
            if decoded.prepared is None
            else self._row(decoded, next(outcomes), share)
            for decoded in files
        ]

    def _row(self, decoded: Decoded, reading: Outcome, inference_ms: float) -> Score:
        if isinstance(reading, UnfamiliarImage):
            return Score(sha256=decoded.sha256, error=reading.code)
        peak_x, peak_y = reading.peak or (None, None)
        return Score(
            sha256=decoded.sha256,
            probability=reading.probability,
            familiarity=reading.familiarity,
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


def _batched(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    rest = iter(items)
    while batch := tuple(islice(rest, size)):
        yield batch

"""A pool of decoding processes that outlives what a file does to one of them.

items -> [Decoders -> decode_file] -> inference
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future
from types import TracebackType
from typing import Self

from loky import ProcessPoolExecutor

from clients.decoding import DECODER_CRASHED, Decoded, decode_file, start_worker
from clients.flow import in_flight
from clients.items import Item
from service.imaging.decode import Limits
from service.imaging.standardise import InputSpec

WAITING = 16  # decoded images a process may be ahead of inference


class Decoders:
    """Decode in ``processes`` processes of loky, which do not import the main script again.

    A process that dies takes every file under way with it. Those are decoded again at the end, one
    at a time: the one that kills its process gets :data:`DECODER_CRASHED`, the others are read.
    """

    def __init__(self, processes: int, *, limits: Limits, spec: InputSpec) -> None:
        self._processes = processes
        self._limits = limits
        self._spec = spec
        self._pool = self._new_pool()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        self._pool.shutdown(wait=True, kill_workers=True)

    def decode(self, items: Iterable[Item]) -> Iterator[tuple[Item, Decoded]]:
        """Decode every item once, in any order, never more than a few ahead of the caller."""
        suspects = []
        for item, future in in_flight(self._submit, items, self._processes * WAITING):
            try:
                decoded = future.result()
            except BrokenExecutor:
                suspects.append(item)
                continue
            yield item, decoded
        for item in suspects:
            yield item, self._decode_alone(item)

    def _decode_alone(self, item: Item) -> Decoded:
        try:
            return self._submit(item).result()
        except BrokenExecutor:
            return Decoded(error=DECODER_CRASHED)

    def _submit(self, item: Item) -> "Future[Decoded]":
        try:
            return self._try_submit(item)
        except BrokenExecutor:
            self.close()
            self._pool = self._new_pool()
            return self._try_submit(item)

    def _try_submit(self, item: Item) -> "Future[Decoded]":
        future: Future[Decoded] = self._pool.submit(
            decode_file, str(item.file), self._limits, self._spec
        )
        return future

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._processes, initializer=start_worker, initargs=(os.getpid(),)
        )

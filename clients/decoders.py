"""A pool of decoding processes that outlives what a file does to one of them.

batches of items -> [Decoders -> decode_files] -> inference
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from types import TracebackType
from typing import Self

from loky import ProcessPoolExecutor

from clients.decoding import DECODER_CRASHED, Decoded, decode_files, start_worker
from clients.flow import in_flight
from clients.items import Item
from service.imaging.decode import Limits
from service.imaging.standardise import InputSpec

AHEAD = 3  # batches of each process that are under way or wait for inference
MIB = 2**20
# glibc would give the megabytes of each image back to the kernel and fetch them again for the next:
# 4 of 12 ms an image. What a process keeps instead is bounded by the second number.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * MIB),
    "MALLOC_TRIM_THRESHOLD_": str(128 * MIB),
}


class Decoders:
    """Decode in ``processes`` processes of loky, which do not import the main script again.

    A process that dies takes every batch under way with it. Their images are decoded again at the
    end, one at a time: the one that kills its process gets :data:`DECODER_CRASHED`, the others are
    read.
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

    def decode(
        self, batches: Iterable[Sequence[Item]]
    ) -> Iterator[tuple[Sequence[Item], Sequence[Decoded]]]:
        """Decode every item once, in any order, never more than a few batches ahead."""
        suspects: list[Item] = []
        for batch, future in in_flight(self._submit, batches, self._processes * AHEAD):
            try:
                decoded = future.result()
            except BrokenExecutor:
                suspects.extend(batch)
                continue
            yield batch, decoded
        for item in suspects:
            yield [item], self._decode_alone(item)

    def _decode_alone(self, item: Item) -> Sequence[Decoded]:
        try:
            return self._submit([item]).result()
        except BrokenExecutor:
            return [Decoded(error=DECODER_CRASHED)]

    def _submit(self, batch: Sequence[Item]) -> "Future[list[Decoded]]":
        try:
            return self._try_submit(batch)
        except BrokenExecutor:
            self.close()
            self._pool = self._new_pool()
            return self._try_submit(batch)

    def _try_submit(self, batch: Sequence[Item]) -> "Future[list[Decoded]]":
        files = [str(item.file) for item in batch]
        future: Future[list[Decoded]] = self._pool.submit(
            decode_files, files, self._limits, self._spec
        )
        return future

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._processes, initializer=start_worker, initargs=(os.getpid(),), env=MALLOC
        )

"""Decode many files in processes of which any may die at any moment.

batches of items -> [Decoders -> service.inference.worker_pool] -> inference
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from clients.datasets.items import Item
from clients.scoring.decoding import Decoded, decode_files
from clients.scoring.flow import in_flight
from clients.scoring.score import ScoringError
from service import memory
from service.errors import DecoderCrashed, DecodeTimeout
from service.imaging.decode import Limits
from service.imaging.prepare import RESULTS
from service.imaging.standardise import InputSpec
from service.inference.worker_pool import DecodingError, Pool
from service.memory import Budget

AHEAD = 3  # batches of each process that are under way or wait for inference
SECONDS = 60.0  # for one file, which may come over a network


class Decoders:
    """Decode in ``processes`` processes; close it after use.

    Where a process dies, the files it was given are decoded again one at a time: the one that kills
    its process again gets ``decoder_crashed``, or ``decode_timeout``; the others are read.
    """

    def __init__(self, processes: int, *, limits: Limits, spec: InputSpec) -> None:
        self._pool = Pool(
            processes,
            modules=("clients.scoring.decoding",),
            memory=limits.decoding_memory,
            results=(Decoded, *RESULTS),
        )
        self._threads = ThreadPoolExecutor(processes)  # each waits for one process
        self._budget = Budget(memory.limit() - memory.beside_readings(processes))
        self._arguments = (limits, spec)
        self._processes = processes

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.close()
        self._threads.shutdown()

    def decode(
        self, batches: Iterable[Sequence[Item]]
    ) -> Iterator[tuple[Sequence[Item], Sequence[Decoded]]]:
        """Decode every item once, in any order, never more than a few batches ahead.

        Raises
        ------
        ScoringError
            If a process cannot be started.
        """
        most = self._processes * AHEAD
        for batch, future in in_flight(self._threads, self._decode, batches, most):
            yield batch, future.result()

    def _decode(self, batch: Sequence[Item]) -> list[Decoded]:
        files = [str(item.file) for item in batch]
        try:
            return self._run(files)
        except (DecoderCrashed, DecodeTimeout):
            return [self._decode_alone(file) for file in files]

    def _decode_alone(self, file: str) -> Decoded:
        try:
            return self._run([file])[0]
        except (DecoderCrashed, DecodeTimeout) as error:
            return Decoded(error=error.code)

    def _run(self, files: list[str]) -> list[Decoded]:
        decode = partial(self._pool.run, decode_files, files, *self._arguments)
        try:
            with self._budget.lease() as lease:
                admit = partial(lease.decide, seconds=math.inf)
                return decode(seconds=SECONDS * len(files), admit=admit)
        except DecodingError as error:
            raise ScoringError(str(error)) from error

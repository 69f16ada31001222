"""A pool of decoding processes, of which any may die at any moment.

batches of items -> [Decoders -> processes of clients.decoding] -> inference

Each process has pipes of its own, so that its death is the end of its answers and nothing else.
Executors of the standard library and of loky share one pipe for all results: they wait for ever
when a process is killed while it writes to it, and fail every task under way when it dies before.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any, Self, cast

from clients.decoding import DECODER_CRASHED, READY, Decoded
from clients.flow import in_flight
from clients.items import Item
from clients.score import ScoringError
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
    """Decode in ``processes`` processes; close it after use.

    Where a process dies, the files it was given are decoded again one at a time by its successor:
    the one that kills its process again gets :data:`DECODER_CRASHED`, the others are read.
    """

    def __init__(self, processes: int, *, limits: Limits, spec: InputSpec) -> None:
        self._all = [_Decoder(limits, spec) for _ in range(processes)]
        self._idle: SimpleQueue[_Decoder] = SimpleQueue()
        for decoder in self._all:
            self._idle.put(decoder)
        self._threads = ThreadPoolExecutor(processes)  # each waits for one process
        self._closed = False

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
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for decoder in self._all:
            decoder.end()
        self._threads.shutdown()
        for decoder in self._all:  # a thread may have started one in the meantime
            decoder.end()

    def decode(
        self, batches: Iterable[Sequence[Item]]
    ) -> Iterator[tuple[Sequence[Item], Sequence[Decoded]]]:
        """Decode every item once, in any order, never more than a few batches ahead.

        Raises
        ------
        ScoringError
            If a process cannot be started.
        """

        def submit(batch: Sequence[Item]) -> "Future[list[Decoded]]":
            return self._threads.submit(self._decode, batch)

        for batch, future in in_flight(submit, batches, len(self._all) * AHEAD):
            yield batch, future.result()

    def _decode(self, batch: Sequence[Item]) -> list[Decoded]:
        files = [str(item.file) for item in batch]
        decoder = self._idle.get()
        try:
            return decoder.decode(files)
        except _Died:
            return [self._decode_alone(decoder, file) for file in files]
        finally:
            self._idle.put(decoder)

    def _decode_alone(self, decoder: "_Decoder", file: str) -> Decoded:
        if self._closed:
            raise ScoringError("the run was closed")
        try:
            return decoder.decode([file])[0]
        except _Died:
            return Decoded(error=DECODER_CRASHED)


class _Died(Exception):
    """The process ended before it answered."""


class _Decoder:
    """One process at a time; the next is started when the last has died and files come."""

    def __init__(self, limits: Limits, spec: InputSpec) -> None:
        self._setting = (limits, spec)
        self._start()

    def decode(self, files: list[str]) -> list[Decoded]:
        """Raise :class:`_Died` where the process does not live to answer."""
        if self._process.poll() is not None:
            self._start()
        if not self._ready:
            self._wait_until_ready()
        decoded: list[Decoded] = self._ask(files)
        return decoded

    def end(self) -> None:
        """Kill the process and wait for its end."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._answers):
            with suppress(OSError):  # of what was not sent
                pipe.close()

    def _start(self) -> None:
        as_here = os.pathsep.join(map(os.path.abspath, sys.path))
        self._ready = False
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from clients.decoding import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | MALLOC | {"PYTHONPATH": as_here},
        )
        self._requests = cast("IO[bytes]", self._process.stdin)
        self._answers = cast("IO[bytes]", self._process.stdout)

    def _wait_until_ready(self) -> None:
        try:
            self._ready = self._ask(self._setting) == READY
        except _Died as error:
            raise ScoringError("a decoding process cannot be started") from error

    def _ask(self, request: object) -> Any:
        try:
            pickle.dump(request, self._requests, protocol=pickle.HIGHEST_PROTOCOL)
            self._requests.flush()
            return pickle.load(self._answers)  # noqa: S301  our own child wrote it
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            self.end()
            raise _Died from error

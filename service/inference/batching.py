"""Inference for many requests at once: whatever waits when an inference ends goes together.

decode -> [batches] -> session -> calibrate
Nothing waits for a batch to fill: alone, a radiograph is inferred at once. What else
is in a batch moves a logit by rounding at most.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context

from service.imaging.prepare import Prepared
from service.model.reader import Outcome, Reading, admitted
from service.observe.metrics import BATCH_IMAGES, QUEUE_LENGTH
from service.observe.stages import Stage, add

Infer = Callable[[Sequence[Prepared]], Awaitable[list[Outcome]]]
Answer = tuple[Outcome, Stage]  # and the inference that gave it
Waiting = tuple[Prepared, "asyncio.Future[Answer]"]


class Batches:
    """Shares inferences, one after the other, out among the requests of one event loop.

    Parameters
    ----------
    infer
        Usually :meth:`service.model.reader.Reader.infer`, in a thread.
    most
        Radiographs in one inference.
    """

    def __init__(self, infer: Infer, *, most: int) -> None:
        self._infer = infer
        self._most = most
        self._waiting: deque[Waiting] = deque()
        self._under_way: asyncio.Task[None] | None = None

    async def infer(self, prepared: Prepared) -> Reading:
        """Read one radiograph, in the next inference that has room; raises the gate's refusal."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        asked = time.time_ns()
        self._waiting.append((prepared, answer))
        QUEUE_LENGTH.inc()
        if self._under_way is None:
            self._under_way = asyncio.create_task(self._run(), context=Context())  # of no request
        entry, inference = await answer
        add([Stage("wait", asked, inference.start), inference])
        return admitted(entry)

    async def _run(self) -> None:
        """Infer until nobody waits."""
        try:
            while self._waiting:
                size = min(self._most, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(size)]
                QUEUE_LENGTH.dec(size)
                BATCH_IMAGES.observe(size)
                await self._answer(batch)
        finally:
            self._under_way = None

    async def _answer(self, batch: list[Waiting]) -> None:
        start = time.time_ns()
        try:
            entries = await self._infer([prepared for prepared, _ in batch])
        except Exception as error:  # noqa: BLE001  every request of the batch is told
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            inference = Stage("infer", start, time.time_ns())
            for (_, future), entry in zip(batch, entries, strict=True):
                if not future.done():  # cancelled
                    future.set_result((entry, inference))

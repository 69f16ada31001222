"""Inference for many requests at once: whatever waits when a lane is free goes together.

decode -> [batches] -> session -> calibrate
Nothing waits for a batch to fill: alone, a radiograph is inferred at once. What else
is in a batch moves a logit by rounding at most.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from service.imaging.prepare import Prepared
from service.model.reader import Entry, Reading, admitted
from service.observe.metrics import BATCH_IMAGES, QUEUE_LENGTH
from service.observe.stages import Stage, add

Infer = Callable[[Sequence[Prepared]], list[Entry]]
Answer = tuple[Entry, Stage]  # and the inference that gave it
Waiting = tuple[Prepared, "asyncio.Future[Answer]"]


class Batches:
    """Shares inferences out among the requests of one event loop; close it after use.

    Parameters
    ----------
    infer
        Usually :meth:`service.model.reader.Reader.infer`; called in threads.
    lanes
        Inferences side by side.
    most
        Radiographs in one inference.
    """

    def __init__(self, infer: Infer, *, lanes: int, most: int) -> None:
        self._infer = infer
        self._most = most
        self._free = lanes
        self._threads = ThreadPoolExecutor(lanes, thread_name_prefix="inference")
        self._waiting: deque[Waiting] = deque()
        self._under_way: set[asyncio.Task[None]] = set()  # or they could be collected half done

    async def infer(self, prepared: Prepared) -> Reading:
        """Read one radiograph, in the next inference that has room; raises the gate's refusal."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        asked = time.time_ns()
        self._waiting.append((prepared, answer))
        QUEUE_LENGTH.inc()
        self._start()
        entry, inference = await answer
        add([Stage("wait", asked, inference.start), inference])
        return admitted(entry)

    def close(self) -> None:
        """Wait for the inferences under way."""
        self._threads.shutdown()

    def _start(self) -> None:
        while self._waiting and self._free:
            size = min(self._most, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(size)]
            QUEUE_LENGTH.dec(size)
            BATCH_IMAGES.observe(size)
            self._free -= 1
            task = asyncio.create_task(self._run(batch))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _run(self, batch: list[Waiting]) -> None:
        loop, start = asyncio.get_running_loop(), time.time_ns()
        try:
            entries = await loop.run_in_executor(
                self._threads, self._infer, [prepared for prepared, _ in batch]
            )
        except Exception as error:  # noqa: BLE001  every request of the batch is told
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            inference = Stage("infer", start, time.time_ns())
            for (_, future), entry in zip(batch, entries, strict=True):
                if not future.done():  # cancelled
                    future.set_result((entry, inference))
        finally:
            self._free += 1
            self._start()

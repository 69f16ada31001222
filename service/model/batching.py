"""Inference for many requests at once: whatever waits when a lane is free goes together.

decode -> [batches] -> session -> calibrate
Nothing waits for company: alone, a radiograph is inferred at once. The graph gives the same bits
for an image whatever else is in the batch.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from service.imaging.prepare import Prepared
from service.model.reader import Reading

Infer = Callable[[Sequence[Prepared]], list[Reading]]
Waiting = tuple[Prepared, "asyncio.Future[Reading]"]


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
        """Read one radiograph, in the next inference that has room."""
        reading: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
        self._waiting.append((prepared, reading))
        self._start()
        return await reading

    def close(self) -> None:
        """Wait for the inferences under way."""
        self._threads.shutdown()

    def _start(self) -> None:
        while self._waiting and self._free:
            size = min(self._most, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(size)]
            self._free -= 1
            task = asyncio.create_task(self._run(batch))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _run(self, batch: list[Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            readings = await loop.run_in_executor(
                self._threads, self._infer, [prepared for prepared, _ in batch]
            )
        except Exception as error:  # noqa: BLE001  every request of the batch is told
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), reading in zip(batch, readings, strict=True):
                if not future.done():  # cancelled
                    future.set_result(reading)
        finally:
            self._free += 1
            self._start()

"""The pipeline of service.model.reader.Reader for many requests at once.

bytes -> decoding process -> batch -> (drawing in a thread) -> Reading
Each step is where it harms no other request: what a hostile file can crash or hang in a process,
inference and drawing in threads, and nothing but waiting in the event loop.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.errors import ReadingError, ServiceBusy, UnfamiliarImage
from service.imaging.decode import Limits
from service.imaging.display import heat_values
from service.imaging.overlay import DRAWING_BYTES, GreyImage, draw_heatmap, picture_grid
from service.imaging.picture import PictureFormat, PictureSize
from service.imaging.prepare import (
    RESULTS,
    Prepared,
    prepare,
    prepare_for_screen,
    prepare_unread,
    prepare_with_picture,
)
from service.imaging.standardise import Geometry, InputSpec
from service.inference.batching import Batches
from service.inference.readings import note_reading, note_refusal
from service.inference.worker_pool import Pool
from service.memory import Budget, Lease
from service.model.reader import Reader, Reading
from service.observe.metrics import QUEUE_LENGTH
from service.observe.stages import stage
from service.processor import cores

# Waiting for a decoding process, and for memory. The bound on requests turns others away long
# before, unless files take very long to decode.
QUEUE_SECONDS = 60.0
BATCH = 8
CHANNELS = 3  # bytes a pixel of a picture that cannot be compressed
COPIES_SENT = 3  # of what is drawn: itself, the answer, and the answer in the server

T = TypeVar("T")
Prepare = Callable[[bytes, Limits, InputSpec], T]


class AsyncReader:
    """Reads for the requests of one event loop; close it after use.

    Parameters
    ----------
    reader
        The model, the limits of an image.
    decode_seconds
        How long decoding one file may take.
    budget
        Memory of all readings together.
    """

    def __init__(self, reader: Reader, *, decode_seconds: float, budget: Budget) -> None:
        processes = cores()
        self.reader = reader
        self._seconds = decode_seconds
        self._budget = budget
        self._pool = Pool(
            processes,
            modules=("service.imaging.prepare",),
            memory=reader.limits.decoding_memory,
            results=RESULTS,
        )
        self._cores = asyncio.Semaphore(processes)
        # One for each decoding process and one for inference: nobody waits for a thread.
        self._threads = ThreadPoolExecutor(processes + 1, thread_name_prefix="reading")
        self._batches = Batches(partial(self._in_thread, reader.infer), most=BATCH)

    def close(self) -> None:
        """End the processes and threads."""
        self._pool.close()
        self._threads.shutdown()

    async def read(self, data: bytes) -> Reading:
        """Read one file, as :meth:`Reader.read` does.

        Raises
        ------
        ReadingError
            As :meth:`Reader.read`; DecoderCrashed or DecodeTimeout where the file cost its process;
            ServiceBusy where no process, or no memory, became free; TooManyPixels where the
            service may not take as much memory at all.
        """
        with self._budget.lease() as lease:
            prepared = await self._in_process(lease, prepare, data)
        return await self._infer(prepared)

    async def read_batch(self, images: Sequence[bytes]) -> list[Reading | ReadingError]:
        """Read several files; entry i is the reading or the refusal of file i.

        No more of them are decoded at once than there are processes: other requests take turns.
        """
        turns = asyncio.Semaphore(cores())

        async def read(data: bytes) -> Reading | ReadingError:
            async with turns:
                try:
                    return await self.read(data)
                except ReadingError as refusal:
                    # Its traceback would keep the frames that hold the pixels.
                    return refusal.with_traceback(None)

        return await asyncio.gather(*map(read, images))

    async def explain(
        self,
        data: bytes,
        *,
        bare: bool,
        form: PictureFormat,
        size: PictureSize,
        copies: int = COPIES_SENT,
    ) -> tuple[Reading, bytes, Lease]:
        """Read one file and draw its heatmap, as :meth:`Reader.explain` does.

        The lease is of the memory of the picture, and of all ``copies`` of it: close it when nobody
        needs them any more.
        """
        scale = self.reader.manifest.heatmap_scale
        with self._budget.lease().handed_on() as lease:
            prepared, grey = await self._pictured(lease, data, bare=bare, size=size)
            grid = picture_grid(prepared.geometry, size)
            lease.keep(_pixels(grid) * max(DRAWING_BYTES, copies * CHANNELS))
            reading = await self._infer(prepared)
            draw = partial(draw_heatmap, full_scale=scale, form=form)
            # In a thread: no byte of the file is read any more, and nothing has to be sent.
            picture = await asyncio.to_thread(draw, grey, reading.heatmap, grid)
            lease.keep(len(picture) * copies)
        return reading, picture, lease

    async def view(
        self, data: bytes
    ) -> tuple[Reading, NDArray[np.uint16], NDArray[np.uint8], Lease]:
        """Read one file; also its grey values and heat, see :mod:`service.imaging.display`.

        The lease is of their memory, as of :meth:`explain`.
        """
        scale = self.reader.manifest.heatmap_scale
        with self._budget.lease().handed_on() as lease:
            prepared, grey = await self._in_process(lease, prepare_for_screen, data)
            lease.keep(_pixels(prepared.geometry) * DRAWING_BYTES)
            reading = await self._infer(prepared)
            lay = partial(heat_values, full_scale=scale)
            heat = await asyncio.to_thread(lay, reading.heatmap, reading.geometry)
            lease.keep((grey.nbytes + heat.nbytes) * COPIES_SENT)
        return reading, grey, heat, lease

    async def look(self, data: bytes) -> tuple[NDArray[np.uint16], Lease]:
        """Decode one file without reading it; grey values and lease are as of :meth:`view`."""
        with self._budget.lease().handed_on() as lease:
            grey = await self._in_process(lease, prepare_unread, data)
            lease.keep(grey.nbytes * COPIES_SENT)
        return grey, lease

    async def _pictured(
        self, lease: Lease, data: bytes, *, bare: bool, size: PictureSize
    ) -> tuple[Prepared, GreyImage | None]:
        """What to read, and what to draw on."""
        if bare:
            return await self._in_process(lease, prepare, data), None
        return await self._in_process(lease, partial(prepare_with_picture, size=size), data)

    async def _infer(self, prepared: Prepared) -> Reading:
        try:
            reading = await self._batches.infer(prepared)
        except UnfamiliarImage as refusal:
            note_refusal(refusal)
            raise
        note_reading(reading)
        return reading

    async def _in_process(self, lease: Lease, task: Prepare[T], data: bytes) -> T:
        try:
            with stage("wait"), QUEUE_LENGTH.track_inprogress():
                async with asyncio.timeout(QUEUE_SECONDS):
                    await self._cores.acquire()
        except TimeoutError:
            raise ServiceBusy("Other readings took too long. Send it again later.") from None
        try:
            admit = partial(lease.decide, seconds=QUEUE_SECONDS)
            run = partial(self._pool.run, seconds=self._seconds, admit=admit)
            limits, spec = self.reader.limits, self.reader.manifest.input
            return await self._in_thread(run, task, data, limits, spec)
        finally:
            self._cores.release()

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        """Call it in the context of the request, which collects the stages."""
        run = partial(copy_context().run, function, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._threads, run)


def _pixels(grid: Geometry) -> int:
    return grid.rows * grid.columns

"""Where requests come in, within bounds on all of them together.

upload -> [desk] -> reading room -> schemas
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from service import memory
from service.errors import ModelUnavailable, ServiceBusy
from service.http.upload import File, UploadLimits, UploadMemory, discard, read_files
from service.imaging.decode import Limits
from service.memory import MIB, Budget, shared_out
from service.model.reader import Reader
from service.model.reading_room import ReadingRoom
from service.model.session import cores
from service.observe.stages import stage
from service.settings import Settings

# Enough to keep all cores busy, few enough that the last one is answered soon.
REQUESTS_PER_CORE = 16

logger = logging.getLogger("nanocxr")


class Desk:
    """Takes uploads in; close it after use.

    Parameters
    ----------
    reader
        Or why there is none; every request then gets that answer.
    settings
        Bounds on uploads and on decoding.
    """

    def __init__(self, reader: Reader | ModelUnavailable, settings: Settings) -> None:
        uploads, readings = shared_out(settings.memory or memory.limit(), cores())
        _warn_of_little(readings, settings.limits)
        self._room: ReadingRoom | ModelUnavailable = (
            ReadingRoom(reader, decode_seconds=settings.decode_seconds, budget=Budget(readings))
            if isinstance(reader, Reader)
            else reader
        )
        self._settings = settings
        self._memory = UploadMemory(min(uploads, settings.max_upload_bytes))
        self._under_way = 0
        self._most = settings.max_requests or REQUESTS_PER_CORE * cores()

    def close(self) -> None:
        """End what the reading room holds."""
        if isinstance(self._room, ReadingRoom):
            self._room.close()

    @property
    def room(self) -> ReadingRoom:
        """Where files are read; raises ModelUnavailable where there is no model."""
        if isinstance(self._room, ModelUnavailable):
            raise self._room.with_traceback(None)
        return self._room

    @asynccontextmanager
    async def files(
        self, request: Request, field: str, most: int | None = None
    ) -> AsyncIterator[list[File]]:
        """Hold the files of a request, at most ``most`` of them (by default a batch).

        Raises
        ------
        ModelUnavailable, ServiceBusy
            After the body has been received and thrown away, as :func:`read_files` does it.
        """
        if isinstance(self._room, ModelUnavailable):
            await discard(request)
            raise self._room.with_traceback(None)
        if self._under_way >= self._most:
            await discard(request)
            raise ServiceBusy("Too many requests at once. Send the request again later.")
        limits = UploadLimits(
            file_bytes=self._settings.limits.max_bytes, files=most or self._settings.max_batch
        )
        self._under_way += 1
        try:
            with self._memory.share() as share:
                with stage("upload"):
                    files = await read_files(request, field, limits, share)
                yield files
        finally:
            self._under_way -= 1


def _warn_of_little(readings: int, limits: Limits) -> None:
    """Say at start which films will be refused for want of memory."""
    if readings < limits.decoding_memory:
        logger.warning(
            "Little memory: the largest film within CXR_MAX_PIXELS and CXR_MAX_BYTES may take %d "
            "MiB, %d MiB are left for readings; larger ones are refused. Give the service %d MiB "
            "(its container's limit, or CXR_MEMORY), or lower these bounds.",
            limits.decoding_memory // MIB,
            readings // MIB,
            memory.needed(limits.decoding_memory, cores()) // MIB,
        )

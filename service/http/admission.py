"""Admit requests within bounds on all of them together, and take their files in.

upload -> [admission] -> async reader -> schemas
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from service import memory
from service.errors import ModelUnavailable, ServiceBusy
from service.http.limits import File, UploadLimits
from service.http.places import Places, client_of
from service.http.upload import discard, read_files
from service.imaging.claim import MIB
from service.imaging.decode import Limits
from service.inference.async_reader import AsyncReader
from service.memory import Budget, shared_out
from service.model.reader import Reader
from service.observe.stages import stage
from service.processor import cores
from service.settings import Settings

# Enough to keep all cores busy, few enough that the last one is answered soon.
REQUESTS_PER_CORE = 16
# Bodies that arrive take no place of those that are read: they cost memory, which is bounded, and a
# connection. One client may fill half of these places, still four times what is read at once.
ARRIVING_PER_REQUEST = 8

logger = logging.getLogger("nanocxr")


class Admission:
    """Admits uploads; close it after use.

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
        self._reader: AsyncReader | ModelUnavailable = (
            AsyncReader(reader, decode_seconds=settings.decode_seconds, budget=Budget(readings))
            if isinstance(reader, Reader)
            else reader
        )
        self._settings = settings
        self._memory = Budget(min(uploads, settings.max_upload_bytes))
        most = settings.max_requests or REQUESTS_PER_CORE * cores()
        self._reading = Places(most)
        arriving = ARRIVING_PER_REQUEST * most
        self._arriving = Places(arriving, arriving // 2)

    def close(self) -> None:
        """End the reader's processes and threads."""
        if isinstance(self._reader, AsyncReader):
            self._reader.close()

    @property
    def reader(self) -> AsyncReader:
        """What reads the files; raises ModelUnavailable where there is no model."""
        if isinstance(self._reader, ModelUnavailable):
            raise self._reader.with_traceback(None)
        return self._reader

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
        if isinstance(self._reader, ModelUnavailable):
            await discard(request)
            raise self._reader.with_traceback(None)
        client = client_of(request.scope)
        try:
            self._reading.check(client)
            self._arriving.check(client)
        except ServiceBusy:
            await discard(request)
            raise
        limits = UploadLimits(
            file_bytes=self._settings.limits.max_bytes, files=most or self._settings.max_batch
        )
        with self._memory.lease() as lease:
            with self._arriving.take(client), stage("upload"):
                files = await read_files(request, field, limits, lease)
            with self._reading.take(client):
                yield files


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

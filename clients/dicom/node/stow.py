"""Films come in by HTTP: STOW-RS, ``POST /studies`` with multipart/related of application/dicom.

Each film is safe in the spool before the answer names it as stored; one is in memory at a time.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from clients.dicom.node.config import Limits
from clients.dicom.node.receive import OUT_OF_RESOURCES, Inbox, Refused

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

CALLING = "STOW-RS"  # who films come from, for a destination's rules
MEDIA_TYPE = "application/dicom+json"
BUSY_SECONDS = "30"
MOST_PARTS = 1000  # of a request: the answer has an item for each


class StowError(Exception):
    """A request that is none; ``status`` of HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Parts:
    """Collects the content of parts, none longer than a film may be."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._part = bytearray()
        self._begun = 0
        self.complete: list[bytes] = []

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._add,
            "on_part_end": lambda: self.complete.append(bytes(self._part)),
        }

    def _begin(self) -> None:
        self._begun += 1
        if self._begun > MOST_PARTS:
            raise StowError(413, f"a request has more than {MOST_PARTS:,} parts; send several")
        self._part.clear()

    def _add(self, data: bytes, start: int, end: int) -> None:
        if len(self._part) + end - start > self._most:
            raise StowError(413, f"a part has more than {self._most:,} bytes")
        self._part += data[start:end]


class Stow:
    """The endpoint.

    Parameters
    ----------
    limits
        As many requests are received at once as associations.
    """

    def __init__(self, inbox: Inbox, limits: Limits) -> None:
        self._inbox = inbox
        self._limits = limits
        self._places = asyncio.Semaphore(limits.associations)

    async def store(self, request: Request) -> Response:
        """Take the films of one request."""
        if self._places.locked():
            return PlainTextResponse(
                "too many requests at once", 503, headers={"Retry-After": BUSY_SECONDS}
            )
        async with self._places:
            try:
                return await self._store(request)
            except StowError as error:
                return PlainTextResponse(str(error), error.status, headers={"Connection": "close"})

    async def _store(self, request: Request) -> Response:
        answer = Dataset()
        answer.ReferencedSOPSequence, answer.FailedSOPSequence = [], []
        answer.OtherFailuresSequence = []
        study = request.path_params.get("study")
        async for film in self._films(request):
            await run_in_threadpool(self._take, film, study, answer)
        reasons = {
            item.FailureReason
            for item in [*answer.FailedSOPSequence, *answer.OtherFailuresSequence]
        }
        if answer.ReferencedSOPSequence:
            status = 202 if reasons else 200
        else:
            status = 503 if reasons == {OUT_OF_RESOURCES} else 409
        for keyword in [element.keyword for element in answer if not element.value]:
            delattr(answer, keyword)
        headers = {"Retry-After": BUSY_SECONDS} if status == 503 else None
        return Response(answer.to_json(), status, headers, MEDIA_TYPE)

    def _take(self, film: bytes, study: str | None, answer: Dataset) -> None:
        item = Dataset()
        try:
            header = self._inbox.take(film, CALLING, study=study)
        except Refused as refusal:
            item.FailureReason = refusal.status
            if refusal.header is None:
                answer.OtherFailuresSequence.append(item)
                return
            header = refusal.header
            answer.FailedSOPSequence.append(item)
        else:
            answer.ReferencedSOPSequence.append(item)
        item.ReferencedSOPClassUID = header.sop_class
        item.ReferencedSOPInstanceUID = header.sop

    async def _films(self, request: Request) -> AsyncIterator[bytes]:
        parts = _Parts(self._limits.film_bytes)
        try:
            parser = MultipartParser(_boundary(request), parts.callbacks())
            async for chunk in self._brisk(request):
                parser.write(chunk)
                while parts.complete:
                    yield parts.complete.pop(0)
        except FormParserError as error:
            raise StowError(400, "the multipart body is malformed") from error
        if parser.state != MultipartState.END:
            raise StowError(400, "the multipart body ends too early")

    async def _brisk(self, request: Request) -> AsyncIterator[bytes]:
        body = request.stream()
        try:
            while True:
                async with asyncio.timeout(self._limits.silent_seconds):
                    chunk = await anext(body, None)
                if chunk is None:
                    return
                yield chunk
        except TimeoutError as error:
            raise StowError(408, "the body does not arrive") from error
        except ClientDisconnect as error:
            raise StowError(400, "the connection was closed") from error


def _boundary(request: Request) -> bytes:
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    if media_type != b"multipart/related" or options.get(b"type") != b"application/dicom":
        raise StowError(415, 'send multipart/related; type="application/dicom"')
    boundary = options.get(b"boundary")
    if not boundary:
        raise StowError(400, "Content-Type names no boundary")
    return boundary

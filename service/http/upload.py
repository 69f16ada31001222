"""Take the files out of a multipart body: in memory, limited while it is read, files only.

Starlette's own parser writes every file over 1 MiB to disk and BentoML's writes it to a temporary
folder; pixels of patients do not belong there. A text part is refused because BentoML would take
it for a URL or a path to read. File names are not looked at: they may identify a patient.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from service.errors import (
    MalformedBody,
    MissingImage,
    NotAFile,
    ReadingError,
    ServiceBusy,
    TooManyBytes,
    TooManyImages,
    UnsupportedMediaType,
    UploadTimeout,
)

FRAMING_BYTES = 8192  # boundaries and part headers, for each file
UPLOAD_SECONDS = 120.0

File = bytes | TooManyBytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """Bounds on one request: bytes of one file, number of files."""

    file_bytes: int
    files: int

    @property
    def body_bytes(self) -> int:
        """The longest body that can be within the limits."""
        return self.files * (self.file_bytes + FRAMING_BYTES)


class UploadMemory:
    """Bytes of uploads that may be held at once, over all requests of this process."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.held = 0

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """One request's part of the budget, given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.held


class Share:
    """How much of the budget one request holds."""

    def __init__(self, memory: UploadMemory) -> None:
        self._memory = memory
        self.held = 0

    def resize(self, held: int) -> None:
        """Hold this many bytes; raises ServiceBusy where the budget is used up."""
        growth = held - self.held
        if self._memory.held + growth > self._memory.budget:
            raise ServiceBusy("Too many bytes of uploads at once. Send the request again later.")
        self._memory.held += growth
        self.held = held


async def read_files(
    request: Request, field: str, limits: UploadLimits, share: Share
) -> list[File]:
    """Read the body and return the content of its files, in order.

    Parameters
    ----------
    request
        Its body has not been read.
    field
        Name of the form field that holds the files; other files are an error.
    limits
        A file over ``file_bytes`` is replaced by the error; one over ``files``, or a body longer
        than both allow, is an error of the request.
    share
        Accounts for the bytes that are held.

    Raises
    ------
    InvalidRequest, TooManyBytes, ServiceBusy
        After the rest of the body has been received and thrown away: an answer to a client that is
        still sending would be lost.
    """
    body = aiter(request.stream())
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            try:
                return await _parse(request, body, _Files(field, limits), share)
            except ReadingError:
                share.resize(0)
                if "expect" not in request.headers:  # a client that asked first sends nothing
                    async for _ in body:
                        pass
                raise
    except TimeoutError:
        raise UploadTimeout(
            f"The body did not arrive within {UPLOAD_SECONDS:.0f} s. Send it over a faster link."
        ) from None
    except ClientDisconnect:
        raise MalformedBody("The connection was closed before the body was complete.") from None


async def _parse(
    request: Request, body: AsyncIterator[bytes], files: "_Files", share: Share
) -> list[File]:
    parser = MultipartParser(_boundary(request), files.callbacks())
    most = min(files.limits.body_bytes, share.budget)
    _check_length(int(request.headers.get("content-length", 0)), most)
    received = 0
    try:
        async for chunk in body:
            received += len(chunk)
            _check_length(received, most)
            parser.write(chunk)
            share.resize(files.held)
        parser.finalize()
    except FormParserError as error:
        raise MalformedBody("The multipart body is malformed or cut off. Send it again.") from error
    return files.complete()

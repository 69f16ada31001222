"""Take the files out of a multipart body: in memory, limited while it is read, files only.

Starlette's own parser writes every file over 1 MiB to disk and BentoML's writes it to a temporary
folder; pixels of patients do not belong there. A text part is refused because BentoML would take
it for a URL or a path to read. File names are not looked at: they may identify a patient.

A part is a file where it has a file name, in either of its two spellings (``filename``, and
``filename*`` of RFC 8187, which RFC 7578 does not want in forms and some clients send), or where
its media type is that of an image. Everything else is text.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FRAMING_BYTES = 8192  # boundaries and part headers, for each file
UPLOAD_SECONDS = 120.0
# 4 KiB/s, far less than a link must carry to send a film in time. Counted in windows, so that
# nobody sends almost all of a body at once and then keeps the memory of it.
WINDOW_SECONDS, WINDOW_BYTES = 10.0, 40 * 1024
QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
EXTENDED_FILE_NAME = re.compile(rb";\s*filename\*[0-9*]*\s*=", re.IGNORECASE)
IMAGE_TYPES = re.compile(rb"image/.+|application/(?:octet-stream|(?:x-)?dicom)")

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

    @property
    def budget(self) -> int:
        """What all requests may hold together."""
        return self._memory.budget

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
    body = _in_pace(request.stream())
    async with _deadline():
        try:
            return await _parse(request, body, _Files(field, limits), share)
        except ReadingError:
            share.resize(0)
            await _discard(request, body)
            raise


async def discard(request: Request) -> None:
    """Receive a body that nobody reads and throw it away; errors as of :func:`read_files`."""
    async with _deadline():
        await _discard(request, _in_pace(request.stream()))


async def _discard(request: Request, body: AsyncIterator[bytes]) -> None:
    if "expect" not in request.headers:  # a client that asked first sends nothing
        async for _ in body:
            pass


async def _in_pace(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass a body on; raise TimeoutError when a window of time brings too little of it.

    Time counts only while the client is waited for, whatever is done with what it sent.
    """
    loop = asyncio.get_running_loop()
    left, missing = WINDOW_SECONDS, WINDOW_BYTES
    while True:
        start = loop.time()
        async with asyncio.timeout(left):
            chunk = await anext(body, None)
        left -= loop.time() - start
        if chunk is None:
            return
        yield chunk
        missing -= len(chunk)
        if missing <= 0:
            left, missing = WINDOW_SECONDS, WINDOW_BYTES


@asynccontextmanager
async def _deadline() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            yield
    except TimeoutError:
        raise UploadTimeout(
            f"The body arrived too slowly: it has to be here within {UPLOAD_SECONDS:.0f} s, and "
            f"bring {WINDOW_BYTES // 1024} KiB in any {WINDOW_SECONDS:.0f} s. Send it over a "
            "faster link."
        ) from None
    except ClientDisconnect:
        raise MalformedBody("The connection was closed before the body was complete.") from None


async def _parse(
    request: Request, body: AsyncIterator[bytes], files: "_Files", share: Share
) -> list[File]:
    most = min(files.limits.body_bytes, share.budget)
    announced = request.headers.get("content-length", "")
    _check_length(int(announced) if announced.isdecimal() else 0, most)
    received = 0
    boundary = _boundary(request)
    try:
        parser = MultipartParser(boundary, files.callbacks())  # which may be too long for it
        async for chunk in body:
            received += len(chunk)
            _check_length(received, most)
            parser.write(chunk)
            share.resize(files.held)
        parser.finalize()
    except FormParserError as error:
        raise MalformedBody("The multipart body is malformed or cut off. Send it again.") from error
    return files.complete()


def _boundary(request: Request) -> bytes:
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    if media_type != b"multipart/form-data":
        raise UnsupportedMediaType(
            "The body is not multipart/form-data. Send the file in a form field, as "
            "curl -F image=@chest.dcm does."
        )
    boundary = options.get(b"boundary")
    if not boundary:
        raise MalformedBody("The header Content-Type names no boundary. Leave it to the client.")
    return bytes(boundary)


def _check_length(length: int, most: int) -> None:
    if length > most:
        raise TooManyBytes(
            f"The body has more than {most:,} bytes. Send smaller or fewer images at once."
        )


class _Files:
    """Callbacks of python-multipart that keep the content of files."""

    def __init__(self, field: str, limits: UploadLimits) -> None:
        self.limits = limits
        self.held = 0
        self._field = field
        self._files: list[File] = []
        self._part: bytearray | None = None
        self._part_bytes = 0
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._media_type = b""
        self._ended = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._check_part,
            "on_part_data": self._add,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def complete(self) -> list[File]:
        """The files; raises MalformedBody or MissingImage."""
        if not self._ended:
            raise MalformedBody("The multipart body ends too early. Send it again.")
        if not self._files:
            raise MissingImage(f"The form holds no file in the field {self._field!r}. Add it.")
        return self._files

    def _begin_part(self) -> None:
        self._part, self._part_bytes = bytearray(), 0
        self._disposition = self._media_type = b""

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        elif name.lower() == b"content-type":
            self._media_type, _ = parse_options_header(bytes(value))
        self._header = (bytearray(), bytearray())

    def _check_part(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options and not self._is_file():
            raise NotAFile(
                "A part of the form is text; paths and addresses are not followed. Send the file "
                "itself, as curl -F image=@chest.dcm does (mind the @)."
            )
        if options.get(b"name") != self._field.encode():
            raise MissingImage(f"A file is in another form field than {self._field!r}. Rename it.")
        if len(self._files) == self.limits.files:
            raise TooManyImages(
                f"More than {self.limits.files} in one request. Send them in several requests."
            )

    def _is_file(self) -> bool:
        """Whether a part without ``filename`` is a file all the same."""
        if EXTENDED_FILE_NAME.search(QUOTED.sub(b"", self._disposition)):
            return True
        return IMAGE_TYPES.fullmatch(self._media_type) is not None

    def _add(self, data: bytes, start: int, end: int) -> None:
        self._part_bytes += end - start
        if self._part is None:
            return
        if self._part_bytes > self.limits.file_bytes:
            self.held -= len(self._part)
            self._part = None
            return
        self._part += data[start:end]
        self.held += end - start

    def _end_part(self) -> None:
        if self._part is None:
            self._files.append(
                TooManyBytes(
                    f"The file has {self._part_bytes:,} bytes; at most {self.limits.file_bytes:,} "
                    "are read. Send one radiograph at its original size."
                )
            )
        else:
            self._files.append(bytes(self._part))
        self._part = None

    def _end(self) -> None:
        self._ended = True

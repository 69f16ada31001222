"""Multipart forms: take the files out of one, in memory, limited while it is read; write one.

Starlette's parser writes every file over 1 MiB to disk, unless told otherwise, and BentoML's writes
it to a temporary folder; pixels of patients do not belong there. A text part is refused because
BentoML would take it for a URL or a path to read. File names are not looked at: they may identify a
patient.

A part is a file where it has a file name, in either of its two spellings (``filename``, and
``filename*`` of RFC 8187, which RFC 7578 does not want in forms and some clients send), or where
its media type is that of an image. Everything else is text.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from secrets import token_hex

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser, MultipartPart
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
from service.memory import Lease

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


async def read_files(
    request: Request, field: str, limits: UploadLimits, lease: Lease
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
    lease
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
            return await _parse(request, body, field, limits, lease)
        except ReadingError:
            lease.keep(0)
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
    request: Request, body: AsyncIterator[bytes], field: str, limits: UploadLimits, lease: Lease
) -> list[File]:
    announced = request.headers.get("content-length", "")
    most = min(limits.body_bytes, lease.budget.total)
    _check_length(int(announced) if announced.isdecimal() else 0, most)
    _check_media_type(request)
    try:
        return await _FileParser(request.headers, body, field, limits, lease).files()
    except MultiPartException as error:
        raise MalformedBody("The multipart body is malformed or cut off. Send it again.") from error


def _check_media_type(request: Request) -> None:
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    if media_type != b"multipart/form-data":
        raise UnsupportedMediaType(
            "The body is not multipart/form-data. Send the file in a form field, as "
            "curl -F image=@chest.dcm does."
        )
    if not options.get(b"boundary"):
        raise MalformedBody("The header Content-Type names no boundary. Leave it to the client.")


def _check_length(length: int, most: float) -> None:
    if length > most:
        raise TooManyBytes(
            f"The body has more than {most:,.0f} bytes. Send smaller or fewer images at once."
        )


class _FileParser(MultiPartParser):
    """Starlette's parser, with files in memory, within limits, and nothing but files.

    ``_current_part`` is the only way to the part whose headers have just been read.
    """

    spool_max_size = 0  # no bound: never on a disk

    def __init__(
        self,
        headers: Headers,
        body: AsyncIterator[bytes],
        field: str,
        limits: UploadLimits,
        lease: Lease,
    ) -> None:
        super().__init__(headers, self._accounted(body, lease), max_files=limits.files)
        self._field = field
        self._limits = limits
        self._sizes: list[int] = []  # of all files, as sent
        self._ended = False

    async def files(self) -> list[File]:
        """Parse the form; raises MultiPartException, MalformedBody or MissingImage."""
        await self.parse()
        if not self._ended:
            raise MalformedBody("The multipart body ends too early. Send it again.")
        if not self.items:
            raise MissingImage(f"The form holds no file in the field {self._field!r}. Add it.")
        uploads = [upload for _, upload in self.items if isinstance(upload, UploadFile)]
        return [await self._file(*one) for one in zip(uploads, self._sizes, strict=True)]

    async def _accounted(
        self, body: AsyncIterator[bytes], lease: Lease
    ) -> AsyncGenerator[bytes, None]:
        """Pass a body on within the limits, and hold the memory of what it has brought."""
        received, most = 0, min(self._limits.body_bytes, lease.budget.total)
        async for chunk in body:
            received += len(chunk)
            _check_length(received, most)
            yield chunk
            held = sum(size for size in self._sizes if size <= self._limits.file_bytes)
            if not lease.take(held, seconds=0):
                raise ServiceBusy(
                    "Too many bytes of uploads at once. Send the request again later."
                )

    async def _file(self, upload: UploadFile, size: int) -> File:
        if size > self._limits.file_bytes:
            return TooManyBytes(
                f"The file has {size:,} bytes; at most {self._limits.file_bytes:,} "
                "are read. Send one radiograph at its original size."
            )
        content = await upload.read()
        await upload.close()  # or the files of a batch would be held twice
        return content

    def on_headers_finished(self) -> None:
        """Refuse a part that is no file of the field, and show Starlette any other as one."""
        part = self._current_part
        _, options = parse_options_header(part.content_disposition)
        if b"filename" not in options and not _is_file(part):
            raise NotAFile(
                "A part of the form is text; paths and addresses are not followed. Send the file "
                "itself, as curl -F image=@chest.dcm does (mind the @)."
            )
        if options.get(b"name") != self._field.encode():
            raise MissingImage(f"A file is in another form field than {self._field!r}. Rename it.")
        if len(self._sizes) == self._limits.files:
            raise TooManyImages(
                f"More than {self._limits.files} in one request. Send them in several requests."
            )
        self._sizes.append(0)
        part.content_disposition = f'form-data; name="{self._field}"; filename=""'.encode()
        super().on_headers_finished()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Keep the data of a file within the limit, and nothing of one beyond."""
        before, limit = self._sizes[-1], self._limits.file_bytes
        self._sizes[-1] = size = before + end - start
        if size <= limit:
            super().on_part_data(data, start, end)
        elif before <= limit and self._current_part.file is not None:
            self._current_part.file.file.seek(0)
            self._current_part.file.file.truncate()

    def on_end(self) -> None:
        """Note that the form is whole, which Starlette does not look at."""
        self._ended = True


def _is_file(part: MultipartPart) -> bool:
    """Whether a part without ``filename`` is a file all the same."""
    if EXTENDED_FILE_NAME.search(QUOTED.sub(b"", part.content_disposition or b"")):
        return True
    media_type, _ = parse_options_header(dict(part.item_headers).get(b"content-type"))
    return IMAGE_TYPES.fullmatch(media_type) is not None


def write_form(parts: Mapping[str, tuple[str, bytes]]) -> tuple[bytes, str]:
    """Write a form: one answer with parts that a browser reads with `Response.formData()`.

    JSON with base64 would be a third longer and would have to be decoded twice.

    Parameters
    ----------
    parts
        Field name to media type and content.

    Returns
    -------
    body : bytes
    media_type : str
        ``multipart/form-data`` with the boundary, 128 random bits that no content holds.

    References
    ----------
    RFC 7578. A part with a file name is a file to browsers, one without is text.
    """
    boundary = token_hex(16)
    pieces = []
    for name, (media_type, content) in parts.items():
        head = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
            f"Content-Type: {media_type}\r\n\r\n"
        )
        pieces += [head.encode("ascii"), content, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode("ascii"))
    return b"".join(pieces), f"multipart/form-data; boundary={boundary}"

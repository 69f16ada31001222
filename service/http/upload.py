"""Bodies of requests: a form of files, or one file alone; in memory, limited while they arrive.

connection -> [upload] -> admission
A body is a file where its media type is that of an image, of DICOM or of bytes. The content alone
decides what it is. Files are never written to a disk.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO

from python_multipart.multipart import parse_options_header
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request

from service.errors import MalformedBody, ReadingError, UnsupportedMediaType, UploadTimeout
from service.http.limits import File, UploadLimits, check_length, hold
from service.http.multipart import IMAGE_TYPES, FileParser
from service.memory import Lease

UPLOAD_SECONDS = 120.0
# 4 KiB/s, far less than a link must carry to send a film in time. Counted in windows, so that
# nobody sends almost all of a body at once and then keeps the memory of it.
WINDOW_SECONDS, WINDOW_BYTES = 10.0, 40 * 1024
FORM = b"multipart/form-data"
UNTOLD = b"application/x-www-form-urlencoded"  # what curl --data-binary says of anything


async def read_files(
    request: Request, field: str, limits: UploadLimits, lease: Lease
) -> list[File]:
    """Read the body and return the content of its files, in order.

    Parameters
    ----------
    request
        Its body has not been read.
    field
        Name of the field of a form that holds the files; other files are an error.
    limits
        A file of a form that is over ``file_bytes`` is replaced by the error; one over ``files``,
        or a body longer than both allow, is an error of the request.
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
            return await _files(request, body, field, limits, lease)
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


async def _files(
    request: Request, body: AsyncIterator[bytes], field: str, limits: UploadLimits, lease: Lease
) -> list[File]:
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    longest = limits.form_bytes if media_type == FORM else limits.file_bytes
    most = min(longest, lease.budget.total)
    announced = request.headers.get("content-length", "")
    check_length(int(announced) if announced.isdecimal() else 0, most)
    if media_type == UNTOLD or IMAGE_TYPES.fullmatch(media_type):
        return [await _file(body, most, lease)]
    if media_type != FORM:
        raise UnsupportedMediaType(
            "The body is neither multipart/form-data nor a file. Send the file in a form field, as "
            "curl -F image=@chest.dcm does, or alone, as application/dicom, image/png, image/jpeg "
            "or application/octet-stream."
        )
    if not options.get(b"boundary"):
        raise MalformedBody("The header Content-Type names no boundary. Leave it to the client.")
    try:
        return await FileParser(request.headers, body, field, limits, lease).files()
    except MultiPartException as error:
        raise MalformedBody("The multipart body is malformed or cut off. Send it again.") from error


async def _file(body: AsyncIterator[bytes], most: float, lease: Lease) -> bytes:
    """Keep a body that is a file."""
    content = BytesIO()  # gives its bytes away without a copy
    async for chunk in body:
        check_length(content.tell() + len(chunk), most)
        content.write(chunk)
        hold(lease, content.tell())
    return content.getvalue()

"""Multipart forms: take the files out of one, in memory, limited while it is read; write one.

Starlette's parser writes every file over 1 MiB to disk, unless told otherwise, and BentoML's writes
it to a temporary folder; pixels of patients do not belong there. A text part is refused because
BentoML would take it for a URL or a path to read. File names are not looked at: they may identify a
patient.

A part is a file where it has a file name, in either of its two spellings (``filename``, and
``filename*`` of RFC 8187, which RFC 7578 does not want in forms and some clients send), or where
its media type is that of an image. Everything else is text.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from secrets import token_hex

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartParser, MultipartPart

from service.errors import MalformedBody, MissingImage, NotAFile, TooManyBytes, TooManyImages
from service.http.limits import File, UploadLimits, check_length, hold
from service.memory import Lease

QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
EXTENDED_FILE_NAME = re.compile(rb";\s*filename\*[0-9*]*\s*=", re.IGNORECASE)
SEVERAL = "images"  # the field of /predict_batch
IMAGE_TYPES = re.compile(rb"image/.+|application/(?:octet-stream|(?:x-)?dicom)")


class FileParser(MultiPartParser):
    """Starlette's parser, with files in memory, within limits, and nothing but files.

    ``_current_part`` is the only way to the part whose headers have just been read, ``_charset``
    to the character set of its name.
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
        received, most = 0, min(self._limits.form_bytes, lease.budget.total)
        async for chunk in body:
            received += len(chunk)
            check_length(received, most)
            yield chunk
            hold(lease, sum(size for size in self._sizes if size <= self._limits.file_bytes))

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
            raise TooManyImages(self._too_many())
        self._sizes.append(0)
        part.content_disposition = f'form-data; name="{self._field}"; filename=""'.encode()
        self._charset = "utf-8"  # of the name above; some codecs that a form may ask for only raise
        super().on_headers_finished()

    def _too_many(self) -> str:
        if self._field == SEVERAL:
            return f"More than {self._limits.files} in one request. Send them in several requests."
        return f"One file is read here. Send several to /predict_batch, in the field {SEVERAL!r}."

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

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from service.errors import (
    MalformedBody,
    MissingImage,
    NotAFile,
    ServiceBusy,
    TooManyBytes,
    TooManyImages,
    UnsupportedMediaType,
    UploadTimeout,
)
from service.http import upload
from service.http.limits import File, UploadLimits
from service.http.upload import discard, read_files
from service.memory import Budget
from tests.serving import FORM, form, part, part_with

NAMED = 'Content-Disposition: form-data; name="image"'
LIMITS = UploadLimits(file_bytes=1000, files=2)


class Sender:
    """A client that sends a body in these chunks; ``left`` are those not asked for yet."""

    def __init__(self, chunks: Sequence[bytes], *, ends: bool = True) -> None:
        self.left = list(chunks)
        self._ends = ends

    async def receive(self) -> dict[str, Any]:
        if self.left:
            chunk = self.left.pop(0)
            more = bool(self.left) or not self._ends
            return {"type": "http.request", "body": chunk, "more_body": more}
        if self._ends:
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        raise AssertionError

    def request(self, content_type: str = FORM, **headers: str) -> Request:
        headers = {"content-type": content_type} | headers
        raw = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        return Request({"type": "http", "method": "POST", "headers": raw}, self.receive)


def files_of(
    chunks: Sequence[bytes],
    *,
    limits: UploadLimits = LIMITS,
    memory: Budget | None = None,
    **headers: str,
) -> list[File]:
    memory = memory or Budget(1_000_000)
    request = Sender(chunks).request(**headers)
    with memory.lease() as lease:
        return asyncio.run(read_files(request, "image", limits, lease))


class TestFiles:
    @given(
        contents=st.lists(st.binary(max_size=300), min_size=1, max_size=2),
        size=st.integers(1, 200),
    )
    def test_content_is_kept_however_the_body_is_cut(
        self, contents: list[bytes], size: int
    ) -> None:
        body = form(*(part(content) for content in contents))
        chunks = [body[i : i + size] for i in range(0, len(body), size)]
        assert files_of(chunks) == contents

    def test_content_that_looks_like_a_boundary_is_kept(self) -> None:
        content = b"--limi\r\n--limitless\r--limit"
        assert files_of([form(part(content))]) == [content]

    def test_empty_file_is_a_file(self) -> None:
        assert files_of([form(part(b""))]) == [b""]

    def test_empty_file_name_is_a_file(self) -> None:
        assert files_of([form(part(b"x", filename=""))]) == [b"x"]

    @pytest.mark.parametrize(
        "file_name",
        [
            "; filename*=UTF-8''t%C3%B3rax.dcm",
            ";filename*=utf-8'es'a.dcm",
            "; FileName* = UTF-8''a.dcm",
            "; filename*0=a; filename*1=b",
            "; filename*0*=UTF-8''a; filename*1=b",
            "; filename=\"a.dcm\"; filename*=UTF-8''a.dcm",
            "; filename*=UTF-8''a.dcm; filename=a.dcm",
            "; filename=a.dcm",
            "; filename*=nonsense",
        ],
    )
    def test_both_spellings_of_a_file_name_make_a_file(self, file_name: str) -> None:
        assert files_of([form(part_with(b"x", NAMED + file_name))]) == [b"x"]

    @pytest.mark.parametrize(
        "media_type",
        [
            "application/dicom",
            "application/dicom; transfer-syntax=1.2.840.10008.1.2.1",
            "Application/DICOM",
            "application/x-dicom",
            "application/octet-stream",
            "image/png",
            "image/jpeg",
        ],
    )
    def test_media_type_of_an_image_makes_a_file(self, media_type: str) -> None:
        headers = NAMED, f"Content-Type: {media_type}"
        assert files_of([form(part_with(b"x", *headers))]) == [b"x"]
        assert files_of([form(part_with(b"x", *reversed(headers)))]) == [b"x"]

    def test_nothing_is_written_to_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a temporary file was made")

        for name in ("TemporaryFile", "NamedTemporaryFile", "mkstemp"):
            monkeypatch.setattr(tempfile, name, refuse)
        content = bytes(3_000_000)
        limits = UploadLimits(file_bytes=len(content), files=1)
        memory = Budget(4_000_000)
        assert files_of([form(part(content))], limits=limits, memory=memory) == [content]


class TestRefusals:
    @pytest.mark.parametrize("text", [b"/etc/hostname", b"http://localhost/x.dcm", b""])
    def test_text_part_is_no_file(self, text: bytes) -> None:
        with pytest.raises(NotAFile) as caught:
            files_of([form(part(text, filename=None))])
        assert "hostname" not in str(caught.value)

    @pytest.mark.parametrize(
        "media_type",
        [
            "text/plain",
            "text/plain; charset=utf-8",
            "text/html",
            "application/json",
            "application/x-www-form-urlencoded",
            "multipart/mixed; boundary=x",
            "image",
            "image/",
            "x-image/png",
            "",
            ";image/png",
            "text/plain; note=image/png",
        ],
    )
    def test_text_part_with_a_media_type_is_no_file(self, media_type: str) -> None:
        with pytest.raises(NotAFile):
            files_of([form(part_with(b"/etc/hostname", NAMED, f"Content-Type: {media_type}"))])

    @pytest.mark.parametrize(
        "note",
        [
            '; note="; filename*=x"',
            '; note="\\"; filename*=x"',
            "; note=filename*=x",
            "; xfilename*=x",
            "; filename*x=y",
            "; filename*",
        ],
    )
    def test_what_only_looks_like_a_file_name_is_none(self, note: str) -> None:
        with pytest.raises(NotAFile):
            files_of([form(part_with(b"/etc/hostname", NAMED + note))])

    def test_media_type_of_one_part_is_not_that_of_the_next(self) -> None:
        image = part_with(b"x", NAMED, "Content-Type: image/png")
        with pytest.raises(NotAFile):
            files_of([form(image, part_with(b"y", NAMED))])

    def test_file_in_another_field_is_still_named_as_such(self) -> None:
        headers = 'Content-Disposition: form-data; name="note"', "Content-Type: image/png"
        with pytest.raises(MissingImage, match="'image'"):
            files_of([form(part_with(b"x", *headers))])

    def test_text_part_beside_a_file_is_refused(self) -> None:
        with pytest.raises(NotAFile):
            files_of([form(part(b"x"), part(b"y", "note", filename=None))])

    @pytest.mark.parametrize("body", [form(part(b"x", "other")), form(), form(part(b"", ""))])
    def test_no_file_in_the_field(self, body: bytes) -> None:
        with pytest.raises(MissingImage, match="'image'"):
            files_of([body])

    def test_more_files_than_allowed(self) -> None:
        with pytest.raises(TooManyImages, match="/predict_batch, in the field 'images'"):
            files_of([form(*[part(b"x")] * 3)])

    @pytest.mark.parametrize(
        "body",
        [b"", b"garbage", form(part(b"x"))[:-4], part(b"x"), b"--limit\r\nno colon\r\n\r\nx"],
    )
    def test_body_that_is_no_whole_form(self, body: bytes) -> None:
        with pytest.raises(MalformedBody):
            files_of([body])

    def test_form_without_boundary(self) -> None:
        with pytest.raises(MalformedBody, match="boundary"):
            files_of([form(part(b"x"))], content_type="multipart/form-data")

    @pytest.mark.parametrize("length", [257, 4000])
    def test_boundary_longer_than_any_parser_takes(self, length: int) -> None:
        boundary = "x" * length
        body = form(part(b"x")).replace(b"limit", boundary.encode())
        with pytest.raises(MalformedBody):
            files_of([body], content_type=f"multipart/form-data; boundary={boundary}")

    @pytest.mark.parametrize("length", [1, 70])
    def test_boundary_within_the_standard(self, length: int) -> None:
        boundary = "x" * length
        body = form(part(b"content")).replace(b"limit", boundary.encode())
        content_type = f"multipart/form-data; boundary={boundary}"
        assert files_of([body], content_type=content_type) == [b"content"]

    @pytest.mark.parametrize("charset", ["undefined", "utf-16", "none"])
    def test_character_set_does_not_matter(self, charset: str) -> None:
        content_type = f"{FORM}; charset={charset}"
        assert files_of([form(part(b"content"))], content_type=content_type) == [b"content"]

    @pytest.mark.parametrize(
        "content_type",
        ["", "application/json", "text/plain; note=image/png", "multipart/mixed", "image/"],
    )
    def test_other_media_types(self, content_type: str) -> None:
        with pytest.raises(UnsupportedMediaType):
            files_of([b"image=x"], content_type=content_type)

    def test_connection_that_breaks(self) -> None:
        sender = Sender([form(part(b"x"))[:20], b""], ends=False)
        sender.receive = _then_disconnect(sender.receive, 2)  # type: ignore[method-assign]
        with Budget(1000).lease() as lease, pytest.raises(MalformedBody, match="closed"):
            asyncio.run(read_files(sender.request(), "image", LIMITS, lease))

    @pytest.mark.parametrize("bound", ["UPLOAD_SECONDS", "WINDOW_SECONDS"])
    def test_client_that_stops_sending(self, bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(upload, bound, 0.05)
        sender = Sender([form(part(b"x"))[:20]], ends=False)
        with Budget(1000).lease() as lease, pytest.raises(UploadTimeout):
            asyncio.run(read_files(sender.request(), "image", LIMITS, lease))
        assert lease.held == 0


class Clock:
    """Time of the event loop, which passes only between the pieces of a body."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._real = loop.time
        self.ahead = 0.0

    def __call__(self) -> float:
        return self._real() + self.ahead


class TestWindow:
    """At least 1,000 bytes in any 100 s; the time between pieces is made up."""

    @pytest.fixture(autouse=True)
    def window(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(upload, "WINDOW_SECONDS", 100.0)
        monkeypatch.setattr(upload, "WINDOW_BYTES", 1000)

    async def _received(self, pieces: Sequence[tuple[float, int]]) -> int:
        loop = asyncio.get_running_loop()
        clock = Clock(loop)
        loop.time = clock  # type: ignore[method-assign]

        async def body() -> AsyncIterator[bytes]:
            for seconds, length in pieces:
                clock.ahead += seconds
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                yield bytes(length)

        return sum([len(chunk) async for chunk in upload._in_pace(body())])

    @pytest.mark.parametrize(
        "pieces",
        [
            [(50.0, 1000)] * 10,
            [(90.0, 1000), (90.0, 999), (5.0, 1), (90.0, 1000)],
            [(9.9, 100)] * 50,  # little more than the least that is enough
            [(60.0, 500), (30.0, 1)],  # the end comes soon
            [],
        ],
    )
    def test_body_in_pace_arrives(self, pieces: Sequence[tuple[float, int]]) -> None:
        assert asyncio.run(self._received(pieces)) == sum(length for _, length in pieces)

    @pytest.mark.parametrize(
        "pieces",
        [
            [(1.0, 1)] * 200,  # a byte a second
            [(0.0, 1_000_000), (101.0, 1000)],  # all but the end, and then nothing
            [(60.0, 999), (41.0, 1000)],
            [(11.0, 100)] * 50,
        ],
    )
    def test_slow_body_is_given_up(self, pieces: Sequence[tuple[float, int]]) -> None:
        with pytest.raises(TimeoutError):
            asyncio.run(self._received(pieces))

    def test_time_of_whoever_reads_does_not_count(self) -> None:
        async def read() -> int:
            loop = asyncio.get_running_loop()
            clock, total = Clock(loop), 0
            loop.time = clock  # type: ignore[method-assign]

            async def body() -> AsyncIterator[bytes]:
                for _ in range(5):
                    await asyncio.sleep(0)
                    yield b"x"

            async for chunk in upload._in_pace(body()):
                clock.ahead += 99.0
                total += len(chunk)
            return total

        assert asyncio.run(read()) == 5


def _then_disconnect(receive: Any, after: int) -> Any:
    async def limited() -> dict[str, Any]:
        nonlocal after
        after -= 1
        message: dict[str, Any] = await receive() if after >= 0 else {"type": "http.disconnect"}
        return message

    return limited


class TestDiscard:
    def test_body_is_received_and_thrown_away(self) -> None:
        sender = Sender([form(part(bytes(400)))] * 3)
        asyncio.run(discard(sender.request()))
        assert sender.left == []

    def test_client_that_asked_first_sends_nothing(self) -> None:
        sender = Sender([b"x"] * 3)
        asyncio.run(discard(sender.request(expect="100-continue")))
        assert len(sender.left) == 3

    def test_client_that_stops_sending(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(upload, "UPLOAD_SECONDS", 0.05)
        with pytest.raises(UploadTimeout):
            asyncio.run(discard(Sender([b"x"], ends=False).request()))


class TestLimits:
    def test_file_of_exactly_the_limit_is_kept(self) -> None:
        assert files_of([form(part(bytes(1000)))]) == [bytes(1000)]

    def test_file_over_the_limit_is_an_error_of_its_own(self) -> None:
        first, second = files_of([form(part(bytes(1001)), part(b"x"))])
        assert isinstance(first, TooManyBytes)
        assert "1,001 bytes" in str(first)
        assert second == b"x"

    def test_announced_length_is_refused_before_anything_is_asked_for(self) -> None:
        sender = Sender([b"x"] * 3)
        request = sender.request(content_length="999999999", expect="100-continue")
        with Budget(10**9).lease() as lease, pytest.raises(TooManyBytes):
            asyncio.run(read_files(request, "image", LIMITS, lease))
        assert len(sender.left) == 3

    @pytest.mark.parametrize("length", ["999999999", "nonsense"])
    def test_body_over_the_limit_is_received_and_thrown_away(self, length: str) -> None:
        sender = Sender([form(part(bytes(400)))] * 100)
        memory = Budget(10**9)
        request = sender.request(content_length=length)
        with memory.lease() as lease, pytest.raises(TooManyBytes):
            asyncio.run(read_files(request, "image", LIMITS, lease))
        assert sender.left == []
        assert memory.held == 0

    def test_memory_is_held_until_the_request_is_answered(self) -> None:
        memory = Budget(1000)
        request = Sender([form(part(bytes(600)))]).request()
        with memory.lease() as lease:
            asyncio.run(read_files(request, "image", LIMITS, lease))
            assert memory.held == 600
            with pytest.raises(ServiceBusy):
                files_of([form(part(bytes(600)))], memory=memory)
            assert memory.held == 600
        assert memory.held == 0
        assert files_of([form(part(bytes(600)))], memory=memory) == [bytes(600)]

    def test_file_over_the_limit_gives_its_memory_back(self) -> None:
        memory = Budget(10_000)
        body = form(part(bytes(5000)), part(bytes(10)))
        chunks = [body[i : i + 100] for i in range(0, len(body), 100)]
        with memory.lease() as lease:
            asyncio.run(read_files(Sender(chunks).request(), "image", LIMITS, lease))
            assert memory.held == 10

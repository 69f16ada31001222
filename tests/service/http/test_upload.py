"""A body that is a file alone: the same limits as those of a form."""

import asyncio
from collections.abc import Sequence

import pytest

from service.errors import MalformedBody, ServiceBusy, TooManyBytes, UploadTimeout
from service.http import upload
from service.http.limits import File, UploadLimits
from service.http.upload import read_files
from service.memory import Budget
from tests.service.http.test_multipart import Sender

LIMITS = UploadLimits(file_bytes=1000, files=2)
DICOM = "application/dicom"


def files_of(
    chunks: Sequence[bytes], content_type: str = DICOM, memory: Budget | None = None, **headers: str
) -> list[File]:
    request = Sender(chunks).request(content_type, **headers)
    with (memory or Budget(10_000)).lease() as lease:
        return asyncio.run(read_files(request, "image", LIMITS, lease))


@pytest.mark.parametrize(
    "content_type",
    [
        "application/dicom",
        "application/dicom; transfer-syntax=1.2.840.10008.1.2.1",
        "Application/DICOM",
        "application/x-dicom",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "image/png",
        "image/jpeg",
    ],
)
def test_body_is_the_file_however_it_is_cut(content_type: str) -> None:
    content = bytes(range(256)) * 3
    for size in (1, 7, 1000):
        chunks = [content[i : i + size] for i in range(0, len(content), size)]
        assert files_of(chunks, content_type) == [content]


def test_form_that_calls_itself_a_file_is_that_file() -> None:
    content = (
        b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n/etc/hostname\r\n--x--\r\n'
    )
    assert files_of([content]) == [content]


def test_file_of_exactly_the_limit_is_kept_and_one_byte_more_is_refused() -> None:
    assert files_of([bytes(1000)]) == [bytes(1000)]
    with pytest.raises(TooManyBytes, match="1,000"):
        files_of([bytes(999), bytes(2)])


def test_announced_length_is_refused_before_anything_is_asked_for() -> None:
    sender = Sender([b"x"] * 3)
    request = sender.request(DICOM, content_length="1001", expect="100-continue")
    with Budget(10**9).lease() as lease, pytest.raises(TooManyBytes):
        asyncio.run(read_files(request, "image", LIMITS, lease))
    assert len(sender.left) == 3


def test_body_over_the_limit_is_received_and_thrown_away() -> None:
    sender, memory = Sender([bytes(400)] * 100), Budget(10**9)
    with memory.lease() as lease, pytest.raises(TooManyBytes):
        asyncio.run(read_files(sender.request(DICOM), "image", LIMITS, lease))
    assert sender.left == []
    assert memory.held == 0


def test_memory_is_held_and_others_are_told_to_come_again() -> None:
    memory = Budget(1000)
    with memory.lease() as lease:
        asyncio.run(read_files(Sender([bytes(600)]).request(DICOM), "image", LIMITS, lease))
        assert memory.held == 600
        with pytest.raises(ServiceBusy):
            files_of([bytes(600)], memory=memory)
    assert memory.held == 0


def test_connection_that_breaks() -> None:
    sender = Sender([b"x"])
    receive = sender.receive

    async def cut() -> dict[str, object]:
        message = await receive()
        return message | {"more_body": True} if "body" in message else message

    sender.receive = cut  # type: ignore[method-assign]
    with Budget(1000).lease() as lease, pytest.raises(MalformedBody, match="closed"):
        asyncio.run(read_files(sender.request(DICOM), "image", LIMITS, lease))


@pytest.mark.parametrize("bound", ["UPLOAD_SECONDS", "WINDOW_SECONDS"])
def test_client_that_stops_sending(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, bound, 0.05)
    sender = Sender([b"x"], ends=False)
    with Budget(1000).lease() as lease, pytest.raises(UploadTimeout):
        asyncio.run(read_files(sender.request(DICOM), "image", LIMITS, lease))
    assert lease.held == 0

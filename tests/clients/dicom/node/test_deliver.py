"""What archives answer, and what becomes of the results."""

import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom.presentation import build_context

from clients import Problem
from clients.dicom.node import deliver, deliver_stow
from clients.dicom.node.associate import Later, NotTaken, associated
from clients.dicom.node.classes import SENT
from clients.dicom.node.config import Tls
from clients.dicom.node.dicomweb import connect
from clients.dicom.objects import report
from clients.dicom.objects.common import encoded
from tests.clients.dicom.node.peers import film
from tests.clients.dicom.node.taker import SR_FORMS, Taker
from tests.ports import free_port

REFUSAL = Problem(status=422, code="not_frontal", detail="a lateral")


@pytest.fixture
def results(tmp_path: Path) -> list[Path]:
    """The report of a film that was refused, and the film as a secondary capture."""
    (sr,) = report(encoded(film()), REFUSAL, None, frozenset(("sr",)))
    sc = film(1, SOPClassUID=SecondaryCaptureImageStorage)
    return [kept(tmp_path, 0, sc), kept(tmp_path, 1, sr)]


def kept(folder: Path, number: int, dataset: Dataset) -> Path:
    path = folder / f"{number}.dcm"
    path.write_bytes(encoded(dataset))
    return path


def store(taker: Taker, files: list[Path], title: str = "PACS") -> None:
    deliver.store((title, "127.0.0.1", taker.port), None, "NANOCXR", files)


@pytest.fixture(autouse=True)
def plain_captures(monkeypatch: pytest.MonkeyPatch, results: list[Path]) -> None:
    """The archive takes captures as the one here is encoded."""
    syntax = dcmread(results[0]).file_meta.TransferSyntaxUID
    monkeypatch.setitem(SENT, SecondaryCaptureImageStorage, syntax)


class TestStored:
    def test_same_bytes_come_each_time_in_one_association_a_film(
        self, taker: Callable[..., Taker], results: list[Path]
    ) -> None:
        archive = taker()
        store(archive, results)
        store(archive, results)
        assert archive.got[:2] == archive.got[2:]
        assert [content(one) for one in archive.got[:2]] == [
            content(path.read_bytes()) for path in results
        ]
        assert archive.proposed == [sorted((*SR_FORMS, SecondaryCaptureImageStorage))] * 2
        assert archive.released == 2

    def test_no_write_waits_until_the_one_before_is_acknowledged(
        self, taker: Callable[..., Taker]
    ) -> None:
        peer, contexts = ("PACS", "127.0.0.1", taker().port), [build_context(SR_FORMS[0])]
        with associated(peer, None, "NANOCXR", contexts) as association:
            assert association.dul.socket is not None
            connection = association.dul.socket.socket
            assert connection is not None
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    @pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007, 0x0111])
    def test_warnings_count_as_stored(
        self, taker: Callable[..., Taker], results: list[Path], status: int
    ) -> None:
        archive = taker(statuses=[status, 0])
        store(archive, results)
        assert len(archive.got) == 2

    @pytest.mark.parametrize("simpler", [ComprehensiveSRStorage, EnhancedSRStorage])
    def test_report_takes_the_form_that_the_archive_takes(
        self, taker: Callable[..., Taker], results: list[Path], simpler: UID
    ) -> None:
        archive = taker(classes=(simpler,))
        store(archive, results[1:])
        store(archive, results[1:])
        first, second = archive.got
        assert first == second
        sent, made = dcmread(BytesIO(first)), dcmread(results[1])
        assert sent.SOPClassUID == sent.file_meta.MediaStorageSOPClassUID == simpler
        assert sent.SOPInstanceUID != made.SOPInstanceUID
        assert sent.ContentSequence == made.ContentSequence

    def test_report_takes_another_form_where_its_class_is_refused_when_it_comes(
        self, taker: Callable[..., Taker], results: list[Path]
    ) -> None:
        archive = taker(statuses=[0x0122, 0])
        store(archive, results[1:])
        assert archive.sop_classes() == [Comprehensive3DSRStorage, ComprehensiveSRStorage]


def content(file: bytes) -> bytes:
    """The data set of a file: who receives it writes meta information of its own."""
    length = int.from_bytes(file[140:144], "little")  # (0002,0000), its VR and length before it
    return file[144 + length :]


class TestTls:
    def test_results_go_by_it(
        self, taker: Callable[..., Taker], results: list[Path], certificates: Tls
    ) -> None:
        archive = taker(tls=certificates)
        deliver.store(("PACS", "127.0.0.1", archive.port), certificates, "NANOCXR", results)
        assert len(archive.got) == 2

    def test_archive_that_is_somebody_else_gets_nothing(
        self, taker: Callable[..., Taker], results: list[Path], certificates: Tls
    ) -> None:
        archive = taker(tls=certificates)
        with pytest.raises(Later):
            deliver.store(("PACS", "127.0.0.1", archive.port), Tls(), "NANOCXR", results)
        with pytest.raises(Later):
            store(archive, results)
        assert archive.got == []


class TestLater:
    def test_nobody_is_there(self, results: list[Path]) -> None:
        with pytest.raises(Later, match="unreachable"):
            deliver.store(("PACS", "127.0.0.1", free_port()), None, "NANOCXR", results)

    def test_name_of_the_archive_is_not_known(self, results: list[Path]) -> None:
        with pytest.raises(Later, match="unreachable"):
            deliver.store(("PACS", "archive.invalid", 104), None, "NANOCXR", results)

    def test_association_is_rejected(
        self, taker: Callable[..., Taker], results: list[Path]
    ) -> None:
        with pytest.raises(Later, match="rejected"):
            store(taker(), results, title="OTHER")

    @pytest.mark.parametrize("status", [0xA700, 0xA701, 0x0110])
    def test_archive_has_no_room(
        self, taker: Callable[..., Taker], results: list[Path], status: int
    ) -> None:
        with pytest.raises(Later, match=f"status_{status:04x}"):
            store(taker(statuses=[status]), results)

    def test_connection_breaks(self, taker: Callable[..., Taker], results: list[Path]) -> None:
        with pytest.raises(Later, match=r"no_answer|connection_lost"):
            store(taker(aborts=True), results)


class TestNotTaken:
    @pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0124])
    def test_refusal_is_told_when_the_rest_was_sent(
        self, taker: Callable[..., Taker], results: list[Path], status: int
    ) -> None:
        archive = taker(statuses=[status, 0])
        with pytest.raises(NotTaken, match=f"status_{status:04x}"):
            store(archive, results)
        assert len(archive.got) == 2

    def test_class_that_is_not_taken(
        self, taker: Callable[..., Taker], results: list[Path]
    ) -> None:
        archive = taker(classes=SR_FORMS)
        with pytest.raises(NotTaken, match="class_refused"):
            store(archive, results)
        assert archive.sop_classes() == [Comprehensive3DSRStorage]

    def test_no_class_is_taken(self, taker: Callable[..., Taker], results: list[Path]) -> None:
        with pytest.raises(NotTaken, match="class_refused"):
            store(taker(classes=(SecondaryCaptureImageStorage,)), results[1:])


class TestConflict:
    """STOW-RS: HTTP 409, for nothing was stored; the body says why."""

    @pytest.fixture
    def told(self, results: list[Path]) -> Iterator[Callable[..., None]]:
        """Send all results to an archive that gives these reasons."""
        body = Dataset()

        class Conflict(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                answer = body.to_json().encode()
                self.send_response(409)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        def send(*reasons: int) -> None:
            body.FailedSOPSequence = [Dataset() for _ in reasons]
            for item, reason in zip(body.FailedSOPSequence, reasons, strict=True):
                item.FailureReason = reason
            url = f"http://127.0.0.1:{server.server_port}/"
            deliver_stow.store(connect(url, None, None), results)

        with HTTPServer(("127.0.0.1", 0), Conflict) as server:
            thread = Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            yield send
            server.shutdown()
            thread.join()

    def test_objects_that_were_there_are_delivered(self, told: Callable[..., None]) -> None:
        told(0x0111, 0x0111)

    @pytest.mark.parametrize("reasons", [(), (0x0111,), (0x0111, 0xA900)])
    def test_others_are_a_dead_letter(
        self, told: Callable[..., None], reasons: tuple[int, ...]
    ) -> None:
        with pytest.raises(NotTaken, match="http_409"):
            told(*reasons)

    def test_archive_without_room_is_asked_again(self, told: Callable[..., None]) -> None:
        with pytest.raises(Later, match="http_409"):
            told(0x0111, 0xA700)

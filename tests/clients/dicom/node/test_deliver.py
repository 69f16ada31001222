"""What archives answer, and what becomes of the results."""

import socket
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import build_context

from clients import Problem
from clients.dicom.node import deliver, deliver_stow
from clients.dicom.node.associate import Later, NotTaken, associated
from clients.dicom.node.classes import SENT
from clients.dicom.node.config import Destination, Tls
from clients.dicom.node.dicomweb import MEDIA_TYPE as JSON
from clients.dicom.objects import report
from clients.dicom.objects.common import encoded
from tests.clients.dicom.node.peers import film
from tests.clients.dicom.node.taker import SR_FORMS, Taker
from tests.clients.sdk.http_server import Answer, Server
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

    def test_answer_stays_for_who_asked(self, taker: Callable[..., Taker]) -> None:
        """pynetdicom's own thread would take it for a request, some milliseconds later."""
        peer, contexts = ("PACS", "127.0.0.1", taker().port), [build_context(SR_FORMS[0])]
        with associated(peer, None, "NANOCXR", contexts) as association:
            answer = C_STORE()
            association.dimse.msg_queue.put((1, answer))
            time.sleep(0.2)
            assert association.dimse.msg_queue.qsize() == 1
            assert association.dimse.get_msg(block=True) == (1, answer)

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


class TestStow:
    """What an archive answers to STOW-RS, and who believes it."""

    @pytest.fixture
    def told(self, results: list[Path], server: Server, tmp_path: Path) -> Callable[..., None]:
        """Send all results to an archive that answers so."""
        (tmp_path / "key").write_text("abc")

        def send(status: int = 200, body: bytes | str = b"", media_type: str | None = JSON) -> None:
            headers = {} if media_type is None else {"Content_Type": media_type}
            content = body.encode() if isinstance(body, str) else body
            server.on("/studies", Answer(status=status, body=content, headers=headers))
            archive = Destination(name="web", url=server.url, key_file=tmp_path / "key")
            deliver_stow.store(archive, results)

        return send

    def test_key_that_cannot_be_read_for_a_moment_is_waited_for(
        self, told: Callable[..., None], server: Server, tmp_path: Path
    ) -> None:
        (tmp_path / "key").rename(tmp_path / "away")
        with pytest.raises(Later, match="key_unreadable"):
            told()
        assert server.asked == []
        (tmp_path / "away").rename(tmp_path / "key")
        told()
        assert [one.authorization for one in server.asked] == ["Bearer abc"]

    def test_objects_that_were_there_are_delivered(self, told: Callable[..., None]) -> None:
        told(409, outcome(0x0111, 0x0111))

    @pytest.mark.parametrize("reasons", [(), (0x0111,), (0x0111, 0xA900)])
    def test_conflict_over_others_is_a_dead_letter(
        self, told: Callable[..., None], reasons: tuple[int, ...]
    ) -> None:
        with pytest.raises(NotTaken, match="http_409"):
            told(409, outcome(*reasons))

    def test_archive_without_room_is_asked_again(self, told: Callable[..., None]) -> None:
        with pytest.raises(Later, match="http_409"):
            told(409, outcome(0x0111, 0xA700))

    @pytest.mark.parametrize(
        "media_type",
        [JSON, f"{JSON}; charset=utf-8", f"{JSON};charset=UTF-8", "Application/JSON", None],
    )
    def test_refusal_is_read_whatever_the_type_of_its_body_says_besides(
        self, told: Callable[..., None], media_type: str | None
    ) -> None:
        with pytest.raises(NotTaken, match="status_a900"):
            told(202, outcome(0xA900, stored=1), media_type)

    def test_refusal_in_xml_is_read(self, told: Callable[..., None]) -> None:
        reason = '<DicomAttribute keyword="FailureReason" vr="US"><Value>43264</Value>'
        body = f"""<NativeDicomModel><DicomAttribute keyword="FailedSOPSequence" vr="SQ">
            <Item>{reason}</DicomAttribute></Item></DicomAttribute></NativeDicomModel>"""
        with pytest.raises(NotTaken, match="status_a900"):
            told(202, body, "application/dicom+xml; charset=utf-8")

    def test_object_that_could_not_be_understood_is_a_refusal(
        self, told: Callable[..., None]
    ) -> None:
        with pytest.raises(NotTaken, match="status_c000"):
            told(202, outcome(0xC000, stored=1, sequence="OtherFailuresSequence"))

    @pytest.mark.parametrize("reasons", [(0xA900, 0xA700), (0xA700, 0xC000), (0xC000, 0x0110)])
    def test_all_are_sent_again_where_one_may_still_be_taken(
        self, told: Callable[..., None], reasons: tuple[int, ...]
    ) -> None:
        passing = min(reason for reason in reasons if reason < 0xA900)
        with pytest.raises(Later, match=f"status_{passing:04x}"):
            told(202, outcome(*reasons))

    @pytest.mark.parametrize(("status", "stored"), [(200, 2), (202, 2), (200, 0)])
    def test_stored_with_or_without_warnings_and_list(
        self, told: Callable[..., None], status: int, stored: int
    ) -> None:
        told(status, outcome(stored=stored) if stored else b"")

    @pytest.mark.parametrize(
        ("body", "media_type"),
        [(b"", None), (b"{}", JSON), (b"some failed", "text/plain"), (None, JSON)],
    )
    def test_some_not_stored_without_saying_which_is_asked_again(
        self, told: Callable[..., None], body: bytes | None, media_type: str | None
    ) -> None:
        with pytest.raises(Later, match="http_202"):
            told(202, outcome(stored=1) if body is None else body, media_type)

    @pytest.mark.parametrize(
        ("body", "media_type"),
        [
            (b"<html>log in</html>", "text/html; charset=utf-8"),
            (b"<html>log in</html>", None),
            (b"<html>log in", "application/xml"),
            (b"[]", JSON),
            (b'{"error": "who are you?"}', "application/json"),
        ],
    )
    def test_what_is_no_archive_has_stored_nothing(
        self, told: Callable[..., None], body: bytes, media_type: str | None
    ) -> None:
        with pytest.raises(Later, match="foreign_answer"):
            told(200, body, media_type)


def outcome(*reasons: int, stored: int = 0, sequence: str = "FailedSOPSequence") -> str:
    """The body that names objects which were stored, and which were not."""
    body, failed = Dataset(), [Dataset() for _ in reasons]
    for item, reason in zip(failed, reasons, strict=True):
        item.FailureReason = reason
    setattr(body, sequence, failed)
    body.ReferencedSOPSequence = [Dataset() for _ in range(stored)]
    return body.to_json()

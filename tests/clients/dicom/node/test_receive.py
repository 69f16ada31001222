"""What is taken, from whom, and what is answered to the rest."""

import ipaddress
import os
import random
import resource
import socket
import sqlite3
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE
from pynetdicom.association import Association

from clients.dicom.film import CLASSES
from clients.dicom.marks import MANUFACTURER, SERIES
from clients.dicom.node import upkeep
from clients.dicom.node.classes import VERIFICATION
from clients.dicom.node.config import Config, Destination, Limits, Receive, Tls
from clients.dicom.node.gate import MAX_WAITING, allowed, client_tls
from clients.dicom.node.header import HeaderError, read_header
from clients.dicom.node.metrics import REGISTRY
from clients.dicom.node.receive import (
    CLASS_NOT_SUPPORTED,
    NOT_AUTHORISED,
    NOT_OF_ITS_CLASS,
    NOT_UNDERSTOOD,
    OUT_OF_RESOURCES,
    Inbox,
    Receiver,
    Refused,
)
from clients.dicom.node.spool import Kept, Spool
from clients.dicom.objects.common import encoded
from tests.clients.dicom.node.peers import echo, film, send
from tests.clients.dicom.node.streams import closed, damaged, request_unit, sent, store_units
from tests.ports import free_port
from tests.processes import wait_until

LIMITS = Limits(free_mib=0, silent_seconds=2)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool")
    yield made
    made.close()


@pytest.fixture
def listen(spool: Spool, tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Start a receiver with these settings; its port."""
    running: list[Receiver] = []

    def start(limits: Limits = LIMITS, **keys: Any) -> int:
        port = free_port()
        config = Config(
            spool=spool.folder,
            destination=(Destination(name="no", url="http://127.0.0.1/"),),
            receive=Receive(port=port, **keys),
            limits=limits,
        )
        running.append(Receiver(config, inbox(spool, limits, config.receive)))
        return port

    yield start
    for one in running:
        one.stop(0)


def inbox(spool: Spool, limits: Limits = LIMITS, receive: Receive = Receive()) -> Inbox:  # noqa: B008
    return Inbox(spool, limits, for_processing=receive.for_processing)


def waiting(spool: Spool) -> int:
    return upkeep.counts(spool).get(("film", "waiting"), 0)


def counted(outcome: str) -> float:
    found = REGISTRY.get_sample_value("nanocxr_node_received_total", {"outcome": outcome})
    return found or 0.0


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_film_in_a_file_that_another_program_wrote_is_the_same(spool: Spool, syntax: str) -> None:
    sent = film(transfer_syntax=syntax)
    takes, known, differs = inbox(spool), counted(Kept.KNOWN), counted(Kept.DIFFERS)
    takes.take(encoded(sent), "CR1")
    sent.file_meta.ImplementationVersionName = "ANOTHER PROGRAM"
    takes.take(encoded(sent), "CR1")
    assert counted(Kept.KNOWN) == known + 1
    sent.PatientName = "Another^One"
    takes.take(encoded(sent), "CR1")
    assert counted(Kept.DIFFERS) == differs + 1
    assert waiting(spool) == 1


class TestStore:
    @pytest.mark.parametrize(
        "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
    )
    @pytest.mark.parametrize("sop_class", CLASSES)
    def test_film_is_kept_as_it_was_sent(
        self, listen: Callable[..., int], spool: Spool, sop_class: str, syntax: str
    ) -> None:
        sent = film(SOPClassUID=sop_class, transfer_syntax=syntax)
        assert send(listen(), sent) == [0]
        (kept,) = spool.due_films(9)
        assert kept.calling == "SENDER"
        header = read_header(kept.path.read_bytes())
        assert (header.sop, header.study) == (sent.SOPInstanceUID, sent.StudyInstanceUID)

    def test_film_that_comes_twice_is_stored_once(
        self, listen: Callable[..., int], spool: Spool
    ) -> None:
        assert send(listen(), film(), film()) == [0, 0]
        assert waiting(spool) == 1

    def test_film_with_other_bytes_is_stored_aside_warned_of_and_counted(
        self, listen: Callable[..., int], spool: Spool, caplog: pytest.LogCaptureFixture
    ) -> None:
        other = film(PatientComments="another")
        before = counted(Kept.DIFFERS)
        assert send(listen(), film(), other) == [0, 0]
        assert counted(Kept.DIFFERS) == before + 1
        (aside,) = (spool.folder / "asides").iterdir()
        assert b"another" in aside.read_bytes()
        assert "other bytes" in caplog.text
        assert waiting(spool) == 1

    def test_own_result_is_refused(self, listen: Callable[..., int], spool: Spool) -> None:
        own = film(Manufacturer=MANUFACTURER, SeriesDescription=f"{SERIES} heatmap")
        assert send(listen(), own, film(1)) == [NOT_AUTHORISED, 0]
        assert waiting(spool) == 1

    def test_film_without_a_study_is_not_understood(self, listen: Callable[..., int]) -> None:
        assert send(listen(), film(StudyInstanceUID=None)) == [NOT_UNDERSTOOD]

    def test_raw_detector_image_is_taken_where_it_is_wanted(
        self, listen: Callable[..., int]
    ) -> None:
        raw = film(SOPClassUID=DigitalXRayImageStorageForProcessing)
        assert send(listen(), raw) == [-1]
        assert send(listen(for_processing=True), raw) == [0]

    def test_other_classes_and_encodings_are_not_negotiated(
        self, listen: Callable[..., int]
    ) -> None:
        port = listen()
        assert send(port, film(SOPClassUID=CTImageStorage)) == [-1]
        assert send(port, film(transfer_syntax=ExplicitVRBigEndian)) == [-1]


class TestAnnounced:
    """What was said of a film and what it says."""

    @pytest.mark.parametrize(
        ("announced", "status"),
        [(("1.2", "2.25.1"), NOT_OF_ITS_CLASS), (None, None)],
    )
    def test_must_agree(
        self, spool: Spool, announced: tuple[str, str] | None, status: int | None
    ) -> None:
        if status is None:
            inbox(spool).take(encoded(film()), "X", announced=announced)
            return
        with pytest.raises(Refused) as refusal:
            inbox(spool).take(encoded(film()), "X", announced=announced)
        assert refusal.value.status == status

    def test_other_class_is_refused_by_whatever_way_it_comes(self, spool: Spool) -> None:
        with pytest.raises(Refused) as refusal:
            inbox(spool).take(encoded(film(SOPClassUID=CTImageStorage)), "STOW-RS")
        assert refusal.value.status == CLASS_NOT_SUPPORTED

    def test_raw_film_is_refused_by_whatever_way_it_comes(self, spool: Spool) -> None:
        raw = encoded(film(SOPClassUID=DigitalXRayImageStorageForProcessing))
        with pytest.raises(Refused) as refusal:
            inbox(spool).take(raw, "QIDO-RS")
        assert refusal.value.code == "class_refused"
        inbox(spool, LIMITS, Receive(for_processing=True)).take(raw, "QIDO-RS")

    def test_long_film_is_refused_by_whatever_way_it_comes(self, spool: Spool) -> None:
        with pytest.raises(Refused) as refusal:
            inbox(spool, Limits(film_mib=1)).take(encoded(film()) + bytes(1 << 20), "QIDO-RS")
        assert refusal.value.code == "too_long"
        assert waiting(spool) == 0


class TestNotSafe:
    """Out of resources, and nothing is kept, until there is room again."""

    def test_disk_is_full(self, listen: Callable[..., int], spool: Spool) -> None:
        port = listen()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Files of this process end at 4 KiB; Python gets EFBIG, since it ignores SIGXFSZ.
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            assert send(port, film()) == [OUT_OF_RESOURCES]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert waiting(spool) == 0
        assert list((spool.folder / "films").iterdir()) == []
        assert send(port, film()) == [0]

    def test_little_is_free(self, spool: Spool) -> None:
        with pytest.raises(Refused) as refusal:
            inbox(spool, Limits(free_mib=1 << 40)).take(encoded(film()), "X")
        assert refusal.value.status == OUT_OF_RESOURCES

    def test_row_cannot_be_written(self, listen: Callable[..., int], spool: Spool) -> None:
        port = listen()
        other = sqlite3.connect(spool.folder / "node.db")
        other.execute("alter table films rename to gone")
        assert send(port, film()) == [OUT_OF_RESOURCES]
        other.execute("alter table gone rename to films")
        assert send(port, film()) == [0]

    def test_disk_fails(
        self, listen: Callable[..., int], spool: Spool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        port = listen()

        def fail(_: int) -> None:
            raise OSError

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            assert send(port, film()) == [OUT_OF_RESOURCES]
        assert waiting(spool) == 0


class TestWho:
    def test_called_title_must_be_own(self, listen: Callable[..., int]) -> None:
        port = listen()
        assert echo(port)
        assert not echo(port, title="OTHER")

    def test_calling_title_must_be_known(self, listen: Callable[..., int]) -> None:
        port = listen(calling=("CR1",))
        assert echo(port, calling="CR1")
        assert not echo(port)

    def test_address_must_be_known(self, listen: Callable[..., int]) -> None:
        assert echo(listen(networks=(ipaddress.ip_network("127.0.0.0/8"),)))
        assert not echo(listen(networks=(ipaddress.ip_network("10.0.0.0/8"),)))

    @pytest.mark.parametrize(
        ("address", "may"),
        [("10.1.2.3", True), ("11.1.2.3", False), ("::ffff:10.1.2.3", True), ("fe80::1%e", False)],
    )
    def test_networks(self, address: str, may: bool) -> None:
        assert allowed(address, (ipaddress.ip_network("10.0.0.0/8"),)) is may
        assert allowed(address, ())


def acceptors() -> set[threading.Thread]:
    """Threads of associations with those who send, of every receiver of this process."""
    return {one for one in threading.enumerate() if isinstance(one, Association)}


def echo_by_tls(port: int, context: ssl.SSLContext) -> bool:
    entity = AE("SENDER")
    entity.add_requested_context(VERIFICATION)
    entity.acse_timeout = entity.dimse_timeout = 30
    association = entity.associate(
        "127.0.0.1", port, ae_title="NANOCXR", tls_args=(context, "127.0.0.1")
    )
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return bool(status.get("Status") == 0)


class TestTls:
    def test_film_comes_by_it(
        self, listen: Callable[..., int], spool: Spool, certificates: Tls
    ) -> None:
        port = listen(tls=certificates)
        entity = AE("SENDER")
        entity.add_requested_context(film().SOPClassUID, ExplicitVRLittleEndian)
        association = entity.associate(
            "127.0.0.1", port, ae_title="NANOCXR", tls_args=(client_tls(certificates), "127.0.0.1")
        )
        assert association.is_established
        assert association.send_c_store(film()).Status == 0
        association.release()
        assert waiting(spool) == 1

    def test_sender_without_a_certificate_or_tls_is_not_heard(
        self, listen: Callable[..., int], certificates: Tls
    ) -> None:
        port = listen(tls=certificates)
        assert not echo_by_tls(port, client_tls(Tls(ca=certificates.ca)))
        assert not echo(port)

    def test_somebody_who_does_not_shake_hands_holds_up_nobody(
        self, listen: Callable[..., int], certificates: Tls
    ) -> None:
        port = listen(tls=certificates, limits=Limits(free_mib=0, silent_seconds=60))
        with socket.create_connection(("127.0.0.1", port)):
            assert echo_by_tls(port, client_tls(certificates))


class TestHostile:
    """Whatever a sender does, others are served."""

    @pytest.fixture
    def port(self, listen: Callable[..., int]) -> int:
        return listen(limits=Limits(free_mib=0, silent_seconds=1, film_mib=1, associations=4))

    @pytest.fixture
    def connected(self, port: int) -> Iterator[socket.socket]:
        """A connection with an association."""
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request_unit())
            assert connection.recv(1 << 16)[0] == 2
            yield connection

    def test_unit_that_claims_gigabytes_ends_its_connection(
        self, listen: Callable[..., int]
    ) -> None:
        """At once, not when the sender falls silent."""
        port, before = listen(limits=Limits(free_mib=0, silent_seconds=3600)), acceptors()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(struct.pack(">BxL", 1, 0xFFFFFFF0))
            assert closed(connection)
        assert echo(port)
        wait_until(lambda: not acceptors() - before)

    def test_closed_connection_takes_no_place(self, listen: Callable[..., int]) -> None:
        port, before = listen(limits=Limits(free_mib=0, silent_seconds=3600)), acceptors()
        for head in (b"", request_unit()[:9]):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(head)
        wait_until(lambda: not acceptors() - before)
        assert echo(port)

    def test_message_longer_than_a_film_ends_its_association(
        self, port: int, connected: socket.socket, spool: Spool
    ) -> None:
        large = film(PixelData=None)
        large.PixelData = bytes(3 << 20)
        try:
            for unit in store_units(large):
                connected.sendall(unit)
        except ConnectionError:
            pass
        assert closed(connected)
        assert waiting(spool) == 0
        assert echo(port)

    def test_sender_that_stops_within_a_unit_loses_its_place(
        self, port: int, connected: socket.socket
    ) -> None:
        connected.sendall(next(store_units(film()))[:20])
        assert closed(connected)
        assert echo(port)

    def test_silent_connections_take_no_place_for_ever(self, port: int) -> None:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        wait_until(lambda: echo(port))
        assert all(closed(one) for one in silent)
        for one in silent:
            one.close()

    def test_sender_that_does_not_wait_for_answers_is_ended(
        self,
        port: int,
        connected: socket.socket,
        spool: Spool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        going_on = threading.Event()
        keep = Spool.keep

        def slow(self: Spool, *film: Any) -> Kept:
            going_on.wait()
            return keep(self, *film)

        monkeypatch.setattr(Spool, "keep", slow)
        try:
            for number in range(8):
                connected.sendall(b"".join(store_units(film(number))))
        except ConnectionError:
            pass
        assert closed(connected)
        going_on.set()
        wait_until(lambda: echo(port))
        assert waiting(spool) <= MAX_WAITING + 1

    # pynetdicom's thread for a connection dies where it ends while an answer is on its way.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_damaged_units_end_at_most_their_own_association(self, port: int) -> None:
        before = acceptors()
        whole = request_unit() + b"".join(store_units(film(7)))
        with ThreadPoolExecutor(4) as pool:
            streams = [damaged(whole, random.Random(seed)) for seed in range(200)]
            assert all(pool.map(lambda stream: sent(port, stream), streams))
        wait_until(lambda: echo(port))
        wait_until(lambda: not acceptors() - before)


class TestHeader:
    @settings(max_examples=300, deadline=None)
    @given(data=st.data())
    def test_damaged_header_is_read_or_refused(self, data: st.DataObject) -> None:
        content = bytearray(FILM)
        for _ in range(data.draw(st.integers(1, 6))):
            content[data.draw(st.integers(128, 700))] = data.draw(st.integers(0, 255))
        try:
            read_header(bytes(content[: data.draw(st.integers(0, len(content)))]))
        except HeaderError as error:
            assert "Test^" not in str(error)

    def test_deflated_bomb_is_not_inflated(self) -> None:
        import zlib  # noqa: PLC0415

        bomb = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        content = encoded(film(transfer_syntax=DeflatedExplicitVRLittleEndian))
        start = content.index(b"\x02\x00\x10\x00")
        start = content.index(DeflatedExplicitVRLittleEndian.encode(), start)
        meta = content[: start + len(DeflatedExplicitVRLittleEndian) + 1]
        piece = bytes(1 << 20)
        deflated = b"".join(bomb.compress(piece) for _ in range(200)) + bomb.flush()
        with pytest.raises(HeaderError):
            read_header(meta + deflated)


FILM = encoded(film(11))

"""Senders are told that a film is safe while it is, and of nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt
from pynetdicom.events import Event

from clients.dicom.node import upkeep
from clients.dicom.node.associate import Later, NotTaken
from clients.dicom.node.classes import COMMITMENT, PLAIN_ENCODINGS
from clients.dicom.node.commit import (
    ACCEPTED,
    ALL_SAFE,
    CLASS_CONFLICT,
    FAILURE,
    INSTANCE,
    INVALID_ARGUMENT,
    MOST_BYTES,
    NO_SUCH_ACTION,
    NO_SUCH_INSTANCE,
    NOT_AUTHORISED,
    RESOURCE_LIMITATION,
    SOME_FAILED,
    Request,
    Requests,
    answer,
    tell,
)
from clients.dicom.node.config import Commitment, Config, Destination, Limits, Receive, Retention
from clients.dicom.node.header import PREFIX_BYTES
from clients.dicom.node.receive import Inbox, Receiver
from clients.dicom.node.spool import Spool, State
from clients.dicom.node.worker import Worker
from clients.dicom.objects.common import encoded
from tests.clients.dicom.node.peers import Archive, film
from tests.ports import free_port
from tests.processes import wait_until

NODE, TRANSACTION = "NANOCXR", "2.25.77"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool")
    yield made
    made.close()


def config(spool: Spool, *senders: Commitment) -> Config:
    return Config(
        spool=spool.folder,
        destination=(Destination(name="no", url="http://127.0.0.1/"),),
        receive=Receive(port=free_port()),
        commitment=senders,
        retention=Retention(film_hours=1),
        limits=Limits(free_mib=0, wait_seconds=1),
    )


@contextmanager
def receiving(settings: Config, spool: Spool) -> Iterator[None]:
    made = Receiver(settings, Inbox(spool, settings.limits, for_processing=False))
    try:
        yield
    finally:
        made.stop(0)


@contextmanager
def working(settings: Config, spool: Spool) -> Iterator[None]:
    made = Worker(settings, spool)
    thread = Thread(target=made.run)
    thread.start()
    try:
        yield
    finally:
        made.stop()
        thread.join()


@contextmanager
def sender(title: str, *, takes: bool = True) -> Iterator[tuple[Commitment, list[Event]]]:
    """Somebody who is told; the events."""
    told: list[Event] = []

    def take(event: Event) -> tuple[int, None]:
        told.append(event)
        return 0, None

    entity, port = AE(title), free_port()
    served = COMMITMENT if takes else CTImageStorage
    entity.add_supported_context(served, scu_role=False, scp_role=True)
    entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)]
    )
    try:
        yield Commitment(ae_title=title, address="127.0.0.1", port=port), told
    finally:
        entity.shutdown()


def asked(*items: tuple[str, str]) -> Dataset:
    """What is asked of films."""
    information = Dataset()
    information.TransactionUID = TRANSACTION
    information.ReferencedSOPSequence = []
    for sop_class, sop in items:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop
        information.ReferencedSOPSequence.append(item)
    return information


def large() -> Dataset:
    information = asked(("1.2", "2.25.1"))
    information.EncapsulatedDocument = bytes(MOST_BYTES)
    return information


def ask(
    port: int, information: Dataset | None, title: str = "CR1", kind: int = 1, of: str = INSTANCE
) -> int:
    """Send N-ACTION; its status."""
    entity = AE(title)
    entity.add_requested_context(COMMITMENT, list(PLAIN_ENCODINGS))
    association = entity.associate("127.0.0.1", port, ae_title=NODE)
    assert association.is_established
    status, _ = association.send_n_action(information, kind, COMMITMENT, of)
    association.release()
    return int(status.Status)


def kept(spool: Spool, number: int = 0, **tags: Any) -> tuple[str, str]:
    one = film(number, **tags)
    spool.keep(one.SOPInstanceUID, encoded(one), "CR1")
    return str(one.SOPClassUID), str(one.SOPInstanceUID)


def reasons(spool: Spool, *items: tuple[str, str]) -> list[int]:
    """Why films are not safe, in the answer."""
    kind, told = answer(spool, Request(uid=TRANSACTION, calling="CR1", items=items))
    failed = [int(one.FailureReason) for one in told.get("FailedSOPSequence", ())]
    assert kind == (SOME_FAILED if failed else ALL_SAFE)
    assert len(told.get("ReferencedSOPSequence", ())) + len(failed) == len(items)
    assert told.TransactionUID == TRANSACTION
    return failed


class TestAnswer:
    def test_film_is_safe_until_it_is_removed(self, spool: Spool) -> None:
        one = kept(spool)
        assert reasons(spool, one) == []
        (waiting,) = spool.due_films(9)
        spool.finish(waiting, State.DONE, "")
        assert reasons(spool, one) == []
        upkeep.expire(spool, 0, 30)
        assert reasons(spool, one) == [NO_SUCH_INSTANCE]

    def test_what_is_not_there_is_not(self, spool: Spool) -> None:
        one = kept(spool)
        assert reasons(spool, one, (one[0], "2.25.1")) == [NO_SUCH_INSTANCE]
        assert reasons(spool, (CTImageStorage, one[1])) == [CLASS_CONFLICT]

    def test_film_whose_uids_come_late_is_safe(self, spool: Spool) -> None:
        assert reasons(spool, kept(spool, LongCodeValue="x" * (PREFIX_BYTES + 1))) == []

    def test_file_that_is_gone_or_damaged_is_not(self, spool: Spool) -> None:
        one = kept(spool)
        (waiting,) = spool.due_films(9)
        waiting.path.write_bytes(b"damaged")
        assert reasons(spool, one) == [FAILURE]
        waiting.path.unlink()
        assert reasons(spool, one) == [FAILURE]

    def test_nobody_knows_which_of_two_is_meant(self, spool: Spool) -> None:
        one = kept(spool)
        kept(spool, PatientComments="another")
        assert reasons(spool, one) == [FAILURE]


class TestAsk:
    @pytest.fixture
    def port(self, spool: Spool) -> Iterator[int]:
        settings = config(spool, Commitment(ae_title="CR1", address="127.0.0.1", port=1))
        with receiving(settings, spool):
            yield settings.receive.port

    def test_is_kept_before_it_is_answered(self, port: int, spool: Spool) -> None:
        items = (("1.2", "2.25.1"), ("1.2", "2.25.2"))
        for _ in range(2):
            assert ask(port, asked(*items)) == ACCEPTED
        assert upkeep.counts(spool) == {("commitment", "waiting"): 1}
        assert Requests(spool).due() == Request(uid=TRANSACTION, calling="CR1", items=items)

    @pytest.mark.parametrize(
        ("information", "keys", "status"),
        [
            (asked(("1.2", "2.25.1")), {"title": "OTHER"}, NOT_AUTHORISED),
            (asked(("1.2", "2.25.1")), {"kind": 2}, NO_SUCH_ACTION),
            (asked(("1.2", "2.25.1")), {"of": "1.2.3"}, NO_SUCH_INSTANCE),
            (None, {}, INVALID_ARGUMENT),
            (asked(), {}, INVALID_ARGUMENT),
            (asked(("1.2", "")), {}, INVALID_ARGUMENT),
            (large(), {}, RESOURCE_LIMITATION),
        ],
    )
    def test_is_refused(
        self,
        port: int,
        spool: Spool,
        information: Dataset | None,
        keys: dict[str, Any],
        status: int,
    ) -> None:
        assert ask(port, information, **keys) == status
        assert upkeep.counts(spool) == {}

    def test_disk_is_full(self, port: int, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> int:
            raise OSError

        monkeypatch.setattr(type(spool.rows), "do", fail)
        assert ask(port, asked(("1.2", "2.25.1"))) == RESOURCE_LIMITATION

    def test_is_not_offered_without_senders(self, spool: Spool) -> None:
        settings = config(spool)
        with receiving(settings, spool), pytest.raises(AssertionError):
            ask(settings.receive.port, asked(("1.2", "2.25.1")))


class TestTell:
    def request(self, *items: tuple[str, str]) -> Request:
        return Request(uid=TRANSACTION, calling="CR1", items=items)

    def test_sender_is_told_what_is_safe(self, spool: Spool) -> None:
        one, gone = kept(spool), ("1.2", "2.25.1")
        with sender("CR1") as (address, told):
            tell(spool, address, NODE, self.request(one, gone))
        (event,) = told
        assert event.event_type == SOME_FAILED
        assert event.assoc.requestor.ae_title == NODE
        (safe,) = event.event_information.ReferencedSOPSequence
        assert (safe.ReferencedSOPClassUID, safe.ReferencedSOPInstanceUID) == one
        (failed,) = event.event_information.FailedSOPSequence
        assert (failed.ReferencedSOPClassUID, failed.ReferencedSOPInstanceUID) == gone

    def test_sender_that_is_not_there_is_told_later(self, spool: Spool) -> None:
        away = Commitment(ae_title="CR1", address="127.0.0.1", port=free_port())
        with pytest.raises(Later, match="unreachable"):
            tell(spool, away, NODE, self.request(("1.2", "2.25.1")))

    def test_sender_that_takes_no_reports(self, spool: Spool) -> None:
        with sender("CR1", takes=False) as (address, _), pytest.raises(NotTaken):
            tell(spool, address, NODE, self.request(("1.2", "2.25.1")))

    def test_one_that_was_away_is_told_by_the_worker(self, spool: Spool) -> None:
        Requests(spool).keep(self.request(("1.2", "2.25.1")))
        away = Commitment(ae_title="CR1", address="127.0.0.1", port=free_port())
        with working(config(spool, away), spool):
            wait_until(lambda: bool(upkeep.letters(spool, 9)))
        (letter,) = upkeep.letters(spool, 9)
        assert (letter.what, letter.code) == ("commitment", "unreachable")
        with sender("CR1") as (address, told), working(config(spool, address), spool):
            wait_until(lambda: ("commitment", "waiting") not in upkeep.counts(spool))
        assert len(told) == 1

    def test_one_that_is_no_sender_any_more_is_forgotten(self, spool: Spool) -> None:
        Requests(spool).keep(self.request(("1.2", "2.25.1")))
        with working(config(spool), spool):
            wait_until(lambda: upkeep.counts(spool) == {})


def test_orthanc_is_told(orthanc: Archive, spool: Spool) -> None:
    """Another implementation asks, and takes the answer."""
    one, web = film(1), f"http://127.0.0.1:{orthanc.http_port}"
    place = Commitment(ae_title="ORTHANC", address="127.0.0.1", port=orthanc.dicom_port)
    settings = config(spool, place)
    modality = {
        "AET": NODE, "Host": "127.0.0.1", "Port": settings.receive.port,
        "AllowStorageCommitment": True,
    }  # fmt: skip
    httpx.put(f"{web}/modalities/node", json=modality, timeout=60).raise_for_status()
    added = (
        httpx.post(f"{web}/instances", content=encoded(one), timeout=60).raise_for_status().json()
    )
    with receiving(settings, spool), working(settings, spool):
        asks = {"Resources": [added["ID"]]}
        sent = httpx.post(
            f"{web}/modalities/node/store", json=asks | {"Synchronous": True}, timeout=60
        )
        sent.raise_for_status()
        job = httpx.post(f"{web}/modalities/node/storage-commitment", json=asks, timeout=60)
        transaction = job.raise_for_status().json()["ID"]
        wait_until(lambda: status_of(web, transaction) != "Pending")
    assert status_of(web, transaction) == "Success"


def status_of(web: str, transaction: str) -> str:
    return str(httpx.get(f"{web}/storage-commitment/{transaction}", timeout=60).json()["Status"])

"""Which films go where, how long it waits, and what becomes of films that cannot be read."""

import time
from collections.abc import Callable, Iterator
from errno import ENOSPC
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import pytest

from clients.dicom.node import upkeep, worker
from clients.dicom.node.config import Config, Destination, Limits, Objects, Service, When
from clients.dicom.node.header import Header, read_header
from clients.dicom.node.spool import Spool
from clients.dicom.node.worker import IDLE_SECONDS, MAX_DEATHS, Worker, pause, wanted
from clients.dicom.objects import report
from clients.dicom.objects.common import encoded
from clients.dicom.reading import read
from tests.clients.dicom.node.peers import film
from tests.e2e.conftest import Server
from tests.ports import free_port
from tests.processes import wait_until


def header(**tags: Any) -> Header:
    return read_header(encoded(film(**tags)))


class TestWanted:
    @pytest.mark.parametrize(
        ("when", "is_wanted"),
        [
            (When(), True),
            (When(modality=("DX", "cr")), True),
            (When(modality=("DX",)), False),
            (When(calling=("ICU*",)), True),
            (When(calling=("CT*",)), False),
            (When(description=("*thorax*",)), True),
            (When(description=("*hand*",)), False),
            (When(description=("thorax [p]*",)), False),
            (When(description=("thorax [pa] 1",)), True),
            (When(body_part=("CHEST",), modality=("DX",)), False),
            (When(body_part=("chest",), modality=("C?",)), True),
        ],
    )
    def test_every_list_must_match(self, when: When, is_wanted: bool) -> None:
        found = header(StudyDescription="Thorax p.a.", SeriesDescription="Thorax [PA] 1")
        assert wanted(when, found, "ICU7") is is_wanted


class TestPause:
    def test_doubles_up_to_the_longest(self) -> None:
        for tries in range(200):
            longest = min(60.0, 2.0**tries)
            assert longest / 2 <= pause(tries, 60.0) <= longest


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool")
    yield made
    made.close()


@pytest.fixture
def work(spool: Spool) -> Iterator[Callable[..., None]]:
    """Start a worker with these settings; nobody takes its results."""
    running: list[tuple[Worker, Thread]] = []

    def start(url: str, when: When = When(), readers: int = 2, **keys: Any) -> None:  # noqa: B008
        nobody = Destination(
            name="pacs", ae_title="PACS", address="127.0.0.1", port=free_port(), when=when
        )
        config = Config(
            spool=spool.folder,
            destination=(nobody,),
            service=Service(url=url),
            limits=Limits(wait_seconds=1, readers=readers),
            **keys,
        )
        made = Worker(config, spool)
        thread = Thread(target=made.run)
        thread.start()
        running.append((made, thread))

    yield start
    for made, thread in running:
        made.stop()
        thread.join()


def keep(spool: Spool, number: int = 0, **tags: Any) -> None:
    one = film(number, **tags)
    spool.keep(one.SOPInstanceUID, encoded(one), "CR1")


def tries(spool: Spool) -> int:
    """Of the films that failed, together."""
    return sum(one.tries for one in upkeep.letters(spool, 9))


def code(spool: Spool) -> str:
    (found,) = upkeep.letters(spool, 9)
    return found.code


class TestWorker:
    def test_service_that_is_down_is_asked_again(
        self, spool: Spool, work: Callable[..., None]
    ) -> None:
        keep(spool)
        work(f"http://127.0.0.1:{free_port()}")
        wait_until(lambda: tries(spool) > 1)
        assert code(spool) == "service_unreachable"
        assert upkeep.counts(spool) == {("film", "waiting"): 1}

    def test_wrong_address_of_the_service_is_no_refusal_of_the_film(
        self, spool: Spool, work: Callable[..., None], service: Server
    ) -> None:
        keep(spool)
        work(f"{service.url}/elsewhere")
        wait_until(lambda: tries(spool) > 1)
        assert code(spool) == "not_found"
        assert upkeep.counts(spool) == {("film", "waiting"): 1}

    def test_disk_that_fails_kills_no_film(
        self, spool: Spool, work: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        turns: list[int] = []

        def full(*_: Any) -> Any:
            turns.append(1)
            raise OSError(ENOSPC, "no space")

        monkeypatch.setattr(worker, "read", full)
        monkeypatch.setattr(worker, "pause", lambda *_: 0.0)
        monkeypatch.setattr(worker, "SPOOL_SECONDS", 0.01)
        keep(spool)
        work(f"http://127.0.0.1:{free_port()}")
        wait_until(lambda: len(turns) > MAX_DEATHS + 2)
        assert upkeep.counts(spool) == {("film", "waiting"): 1}

    def test_next_film_is_at_the_service_while_results_are_made(
        self,
        spool: Spool,
        work: Callable[..., None],
        service: Server,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        at_service, begun = Lock(), list[int]()
        alone = list[bool]()

        def counting(*asked: Any) -> Any:
            alone.append(at_service.acquire(blocking=False))
            try:
                return read(*asked)
            finally:
                begun.append(1)
                at_service.release()

        def waiting(*made: Any) -> Any:
            wait_until(lambda: len(begun) > 1)
            return report(*made)

        monkeypatch.setattr(worker, "read", counting)
        monkeypatch.setattr(worker, "report", waiting)
        for number in range(3):
            keep(spool, number)
        work(service.url, readers=1)
        wait_until(lambda: upkeep.counts(spool).get(("film", "read")) == 3)
        assert alone == [True] * 3

    def test_film_that_waits_for_a_place_is_not_begun(
        self,
        spool: Spool,
        work: Callable[..., None],
        service: Server,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """It would be counted as one that the worker may have died of."""
        asked, answers = Event(), Event()

        def slow(*given: Any) -> Any:
            asked.set()
            answers.wait()
            return read(*given)

        monkeypatch.setattr(worker, "read", slow)
        for number in range(3):
            keep(spool, number)
        work(service.url, readers=1)
        wait_until(asked.is_set)
        time.sleep(3 * IDLE_SECONDS)  # the other thread has looked for a film
        begun = len(upkeep.letters(spool, 9))
        answers.set()
        assert begun == 1
        wait_until(lambda: upkeep.counts(spool).get(("film", "read")) == 3)

    def test_results_for_a_destination_that_is_gone_are_given_up(
        self, spool: Spool, work: Callable[..., None]
    ) -> None:
        spool.keep("1.2.3", b"film", "CR1")
        spool.put_out(spool.due_films(1)[0], [b"report"], ["archive"], "")
        work("http://127.0.0.1:9")
        wait_until(lambda: upkeep.counts(spool).get(("archive", "dead")) == 1)
        assert upkeep.counts(spool)["film", "dead"] == 1

    def test_film_that_nobody_wants_is_not_read(
        self, spool: Spool, work: Callable[..., None]
    ) -> None:
        keep(spool)
        work(f"http://127.0.0.1:{free_port()}", When(modality=("DX",)))
        wait_until(lambda: upkeep.counts(spool) == {("film", "done"): 1})

    def test_refused_film_is_done_where_no_report_is_wanted(
        self, spool: Spool, work: Callable[..., None], service: Server
    ) -> None:
        keep(spool, BodyPartExamined="HAND")
        work(service.url, objects=Objects(refused=False))
        wait_until(lambda: upkeep.counts(spool) == {("film", "done"): 1})

    def test_film_that_the_worker_dies_of_is_given_up(
        self, spool: Spool, work: Callable[..., None]
    ) -> None:
        keep(spool)
        for _ in range(MAX_DEATHS):
            (one,) = spool.due_films(9)
            spool.begin(one, 0)
        work(f"http://127.0.0.1:{free_port()}")
        wait_until(lambda: upkeep.counts(spool) == {("film", "dead"): 1})
        assert code(spool) == "worker_died"

    def test_film_that_a_library_fails_on_is_given_up_and_others_are_read(
        self,
        spool: Spool,
        work: Callable[..., None],
        service: Server,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def failing(content: bytes, *rest: Any) -> Any:
            if b"Test^13" in content:
                raise KeyError("hostile")
            return report(content, *rest)

        monkeypatch.setattr(worker, "report", failing)
        for number in (13, 14):
            keep(spool, number)
        work(service.url)
        wait_until(lambda: {("film", "dead"), ("film", "read")} <= upkeep.counts(spool).keys())
        assert "internal_error" in {letter.code for letter in upkeep.letters(spool, 9)}

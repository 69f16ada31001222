"""Acknowledged means safe, and nothing is lost or kept for ever."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clients.dicom.node import upkeep
from clients.dicom.node.disk import SpoolError, only_one
from clients.dicom.node.spool import Film, Kept, Spool, State
from tests.clients.dicom.node.peers import film, send
from tests.clients.dicom.tools import tool
from tests.ports import free_port
from tests.processes import wait_until
from tests.sources import ROOT

UID = "2.25.1"
RECEIVE = """
import sys, time
from pathlib import Path
from clients.dicom.node.config import load
from clients.dicom.node.receive import Inbox, Receiver
from clients.dicom.node.spool import Spool

config = load(Path(sys.argv[1]))
inbox = Inbox(Spool(config.spool), config.limits, for_processing=False)
receiver = Receiver(config, inbox)
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def only_film(spool: Spool) -> Film:
    (found,) = spool.due_films(9)
    return found


def files(spool: Spool) -> list[str]:
    """Files below the folder but for the database."""
    below = spool.folder.rglob("*")
    return sorted(str(one.relative_to(spool.folder)) for one in below if is_film(one))


def is_film(path: Path) -> bool:
    return path.is_file() and not path.name.startswith("node.db")


def read(spool: Spool, *destinations: str) -> None:
    """Give the only film two results."""
    spool.put_out(only_film(spool), [b"sc", b"sr"], destinations, "")


class TestKeep:
    def test_same_film_is_kept_once(self, spool: Spool) -> None:
        assert spool.keep(UID, b"film", "CR1") is Kept.NEW
        assert spool.keep(UID, b"film", "CR1") is Kept.KNOWN
        assert only_film(spool).path.read_bytes() == b"film"

    def test_who_wrote_the_file_makes_no_other_film(self, spool: Spool) -> None:
        assert spool.keep(UID, b"meta, film", "CR1", 6) is Kept.NEW
        assert spool.keep(UID, b"other meta, film", "CR1", 12) is Kept.KNOWN
        assert spool.keep(UID, b"meta, other", "CR1", 6) is Kept.DIFFERS
        assert spool.keep(UID, b"other meta, other", "CR1", 12) is Kept.DIFFERS
        assert upkeep.counts(spool) == {("film", "waiting"): 1, ("film", "aside"): 1}
        assert only_film(spool).path.read_bytes() == b"meta, film"

    def test_film_that_an_earlier_node_kept_is_known(self, spool: Spool) -> None:
        """Its digest is of the whole file."""
        spool.keep(UID, b"meta, film", "CR1")
        assert spool.keep(UID, b"meta, film", "CR1", 6) is Kept.KNOWN

    def test_other_bytes_of_a_film_are_kept_aside(self, spool: Spool) -> None:
        spool.keep(UID, b"film", "CR1")
        for _ in range(2):
            assert spool.keep(UID, b"other", "CR1") is Kept.DIFFERS
        assert only_film(spool).path.read_bytes() == b"film"
        (aside,) = (spool.folder / "asides").iterdir()
        assert aside.read_bytes() == b"other"
        assert upkeep.counts(spool) == {("film", "waiting"): 1, ("film", "aside"): 1}
        (letter,) = upkeep.letters(spool, 9)
        assert (letter.key, letter.state, letter.code) == (only_film(spool).key, "aside", "differs")
        upkeep.sweep_films(spool)
        assert len(files(spool)) == 2
        assert upkeep.purge(spool, letter.key) == 1
        assert files(spool) == [f"films/{only_film(spool).path.name}"]

    def test_other_bytes_that_cannot_be_written_are_not_acknowledged(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spool.keep(UID, b"film", "CR1")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(OSError, match="broken"):
                spool.keep(UID, b"other", "CR1")
        assert spool.keep(UID, b"other", "CR1") is Kept.DIFFERS
        assert len(files(spool)) == 2

    def test_two_senders_of_other_bytes_at_once_leave_the_first(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The other one's row comes while this one's file is written."""
        rename = Path.rename

        def overtaken(self: Path, target: Path) -> Path:
            monkeypatch.setattr(Path, "rename", rename)
            spool.keep(UID, b"film", "CR1")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", overtaken)
        assert spool.keep(UID, b"other", "CR2") is Kept.DIFFERS
        assert only_film(spool).path.read_bytes() == b"film"
        assert [name.partition("/")[0] for name in files(spool)] == ["asides", "films"]

    @pytest.mark.parametrize("broken", ["fsync", "open"])
    def test_what_cannot_be_written_is_not_kept(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch, broken: str
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, broken, fail)
            with pytest.raises(OSError, match="broken"):
                spool.keep(UID, b"film", "CR1")
        assert not spool.knows(UID)
        assert files(spool) == []
        assert spool.keep(UID, b"film", "CR1") is Kept.NEW

    def test_nobody_else_may_look_into_it(self, spool: Spool) -> None:
        spool.keep(UID, b"film", "CR1")
        below = [spool.folder, *spool.folder.rglob("*")]
        assert {path.stat().st_mode & 0o077 for path in below if is_film(path)} == {0}
        assert spool.folder.stat().st_mode & 0o777 == 0o700

    def test_no_name_of_a_file_holds_a_uid(self, spool: Spool) -> None:
        spool.keep("2.25.18530217", b"film", "CR1")
        read(spool, "pacs")
        assert len(files(spool)) == 3
        assert not any("18530217" in name for name in files(spool))

    @pytest.mark.skipif(sys.platform != "linux", reason="strace is Linux'")
    def test_every_byte_and_name_is_on_the_disk_before_the_answer(self, tmp_path: Path) -> None:
        config, trace, port = tmp_path / "node.toml", tmp_path / "trace", free_port()
        config.write_text(
            f'spool = "{tmp_path / "spool"}"\n[receive]\nport = {port}\n'
            '[[destination]]\nname = "no"\nurl = "http://127.0.0.1/"\n'
        )
        calls = "trace=fsync,fdatasync,rename,sendto"
        command = [tool("strace"), "-f", "-yy", "-o", str(trace), "-e", calls]
        process = subprocess.Popen(
            [*command, sys.executable, "-c", RECEIVE, str(config)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                assert process.stderr is not None
                pytest.skip(f"strace may not trace here: {process.stderr.read()[-200:]}")
            assert send(port, film()) == [0]
            spool = Spool(tmp_path / "spool")
            spool.finish(only_film(spool), State.DEAD, "unreportable")
            upkeep.purge(spool)
            assert send(port, film()) == [0]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert durable_order(trace.read_text()) == [
            "file", "rename", "folder", "row", "answer",
        ] * 2  # fmt: skip


def durable_order(trace: str) -> list[str]:
    """What happened from each film's file on, each kind once, up to the answer."""
    kinds = {
        r"f(data)?sync\(\d+</[^>]*/incoming/": "file",
        r"rename\(.*/films/": "rename",
        r"f(data)?sync\(\d+</[^>]*/films>": "folder",
        r"f(data)?sync\(\d+</[^>]*/node\.db-wal>": "row",
        r"sendto\(\d+<TCP": "answer",
    }
    found: list[str] = []
    for line in trace.splitlines():
        kind = next((name for form, name in kinds.items() if re.search(form, line)), None)
        if kind == "file" or (kind and found and found[-1] not in (kind, "answer")):
            found.append(kind)
    return found


def fail(*_: object) -> int:
    raise OSError("broken")


def refused(spool: Spool, destination: str) -> None:
    """Keep a film whose results an archive does not take."""
    spool.keep(UID, b"film", "CR1")
    read(spool, destination)
    delivery = spool.due_delivery(destination)
    assert delivery is not None
    spool.give_up(delivery, destination, "status_a900")


class TestDelivery:
    def test_film_is_done_when_every_destination_has_it(self, spool: Spool) -> None:
        spool.keep(UID, b"film", "CR1")
        read(spool, "a", "b")
        for name in ("a", "b"):
            assert upkeep.counts(spool)["film", "read"] == 1
            delivery = spool.due_delivery(name)
            assert delivery is not None
            assert [path.read_bytes() for path in delivery.files] == [b"sc", b"sr"]
            spool.delivered(delivery, name)
            assert spool.due_delivery(name) is None
        assert upkeep.counts(spool)["film", "done"] == 1

    def test_dead_letter_is_tried_again_when_somebody_asks(self, spool: Spool) -> None:
        refused(spool, "a")
        assert upkeep.counts(spool) == {("film", "dead"): 1, ("a", "dead"): 1}
        (letter,) = upkeep.letters(spool, 9)
        assert (letter.what, letter.state, letter.code) == ("a", "dead", "status_a900")
        assert upkeep.retry(spool, "another") == 0
        assert upkeep.retry(spool, letter.key) == 1
        again = spool.due_delivery("a")
        assert again is not None
        assert [path.read_bytes() for path in again.files] == [b"sc", b"sr"]
        spool.delivered(again, "a")
        assert upkeep.counts(spool) == {("film", "done"): 1, ("a", "stored"): 1}

    def test_nothing_waits_for_a_destination_that_is_gone(self, spool: Spool) -> None:
        spool.keep(UID, b"film", "CR1")
        read(spool, "a", "b")
        assert upkeep.end_gone(spool, {"b"}) == 1
        assert upkeep.counts(spool)["film", "read"] == 1
        assert upkeep.end_gone(spool, {"c"}) == 1
        assert upkeep.end_gone(spool, {"c"}) == 0
        assert upkeep.counts(spool)["film", "dead"] == 1
        assert {one.code for one in upkeep.letters(spool, 9)} == {"destination_gone"}
        assert upkeep.purge(spool) == 1

    def test_film_that_waits_for_another_archive_is_purged_where_it_is_named(
        self, spool: Spool
    ) -> None:
        spool.keep(UID, b"film", "CR1")
        read(spool, "a", "b")
        (one, other) = (spool.due_delivery(name) for name in "ab")
        assert one is not None
        assert other is not None
        spool.give_up(one, "a", "status_a900")
        assert upkeep.purge(spool) == 0
        assert spool.due_delivery("b") is not None
        assert upkeep.purge(spool, one.key) == 1
        assert files(spool) == []
        assert spool.keep(UID, b"film", "CR1") is Kept.AGAIN
        spool.delivered(other, "b")  # it was under way
        assert only_film(spool).path.read_bytes() == b"film"

    def test_unread_dead_film_is_read_again(self, spool: Spool) -> None:
        spool.keep(UID, b"film", "CR1")
        spool.finish(only_film(spool), State.DEAD, "unreportable")
        assert upkeep.retry(spool) == 1
        assert only_film(spool).deaths == 0

    @pytest.mark.parametrize("content", [b"film", b"other"])
    def test_purged_film_is_gone_and_read_anew_if_it_comes_again(
        self, spool: Spool, content: bytes
    ) -> None:
        refused(spool, "a")
        assert upkeep.purge(spool) == 1
        assert files(spool) == []
        assert upkeep.letters(spool, 9) == []
        assert upkeep.retry(spool) == 0
        assert spool.knows(UID)  # polling does not bring it back
        assert spool.keep(UID, content, "CR2") is Kept.AGAIN
        assert spool.keep(UID, content, "CR2") is Kept.KNOWN
        film = only_film(spool)
        assert film.path.read_bytes() == content
        assert (film.calling, film.tries, film.deaths) == ("CR2", 0, 0)
        assert len(files(spool)) == 1
        read(spool, "a")
        assert spool.due_delivery("a") is not None

    def test_film_that_comes_again_while_it_is_purged_is_not_removed(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refused(spool, "a")
        change = spool.rows.change

        @contextmanager
        def overtaken() -> Iterator[sqlite3.Connection]:
            monkeypatch.setattr(spool.rows, "change", change)
            with change() as rows:
                yield rows
            assert spool.keep(UID, b"film", "CR1") is Kept.AGAIN

        monkeypatch.setattr(spool.rows, "change", overtaken)
        assert upkeep.purge(spool) == 1
        assert only_film(spool).path.read_bytes() == b"film"

    @pytest.mark.parametrize("content", [b"film", b"other"])
    @pytest.mark.parametrize("hours", [0, 1])
    def test_film_that_nothing_was_made_of_is_read_anew_if_it_comes_again(
        self, spool: Spool, hours: int, content: bytes
    ) -> None:
        spool.keep(UID, b"film", "CR1")
        spool.finish(only_film(spool), State.DONE, "unrouted")
        upkeep.expire(spool, hours, 30)
        assert spool.keep(UID, content, "CR1") is Kept.AGAIN
        upkeep.expire(spool, 0, 30)
        assert only_film(spool).path.read_bytes() == content
        assert len(files(spool)) == 1

    def test_nothing_of_an_attempt_that_failed_is_delivered(self, spool: Spool) -> None:
        spool.keep("1.2.3", b"film", "CR1")
        film = only_film(spool)
        spool.results(film.key).mkdir()
        (spool.results(film.key) / "1.dcm").write_bytes(b"of the first attempt")
        spool.put_out(film, [b"report"], ["pacs"], "")
        delivery = spool.due_delivery("pacs")
        assert delivery is not None
        assert [file.read_bytes() for file in delivery.files] == [b"report"]

    def test_pause_holds_back(self, spool: Spool) -> None:
        spool.keep(UID, b"film", "CR1")
        spool.put_off(only_film(spool), "service_unreachable", 3600)
        assert spool.due_films(9) == []


class TestRetention:
    def test_delivered_film_is_removed_at_once_and_stays_known(self, spool: Spool) -> None:
        spool.keep(UID, b"film", "CR1")
        read(spool, "a")
        delivery = spool.due_delivery("a")
        assert delivery is not None
        spool.delivered(delivery, "a")
        assert upkeep.expire(spool, 0, 30) == 1
        assert files(spool) == []
        assert spool.keep(UID, b"film", "CR1") is Kept.KNOWN

    def test_film_stays_for_its_hours(self, spool: Spool) -> None:
        spool.keep(UID, b"film", "CR1")
        spool.finish(only_film(spool), State.DONE, "")
        assert upkeep.expire(spool, 1, 30) == 0
        assert len(files(spool)) == 1

    def test_row_is_forgotten_after_its_days(self, spool: Spool) -> None:
        spool.keep(UID, b"film", "CR1")
        spool.finish(only_film(spool), State.DONE, "")
        upkeep.expire(spool, 0, 30)
        upkeep.expire(spool, 0, 0)
        assert not spool.knows(UID)

    def test_purged_film_stays_known_from_its_purge_on(self, spool: Spool) -> None:
        refused(spool, "a")
        spool.rows.do("update films set ended=0")
        upkeep.purge(spool)
        upkeep.expire(spool, 0, 30)
        assert spool.knows(UID)

    def test_other_bytes_go_with_the_rows(self, spool: Spool) -> None:
        for content in (b"film", b"other"):
            spool.keep(UID, content, "CR1")
        upkeep.expire(spool, 0, 30)
        assert len(files(spool)) == 2
        upkeep.expire(spool, 0, 0)
        assert files(spool) == [f"films/{only_film(spool).path.name}"]

    def test_nothing_that_waits_is_removed(self, spool: Spool) -> None:
        spool.keep(UID, b"film", "CR1")
        assert upkeep.expire(spool, 0, 0) == 0
        read(spool, "a")
        assert upkeep.expire(spool, 0, 0) == 0
        assert len(files(spool)) == 3


class TestSweep:
    def test_removes_what_nobody_was_told_of(self, spool: Spool) -> None:
        spool.keep(UID, b"film", "CR1")
        (spool.folder / "incoming" / "half").write_bytes(b"fi")
        (spool.folder / "films" / "orphan.dcm").write_bytes(b"film")
        (spool.folder / "unfinished" / "half").write_bytes(b"s")
        (spool.folder / "outbox" / only_film(spool).key).mkdir()
        (spool.folder / "outbox" / only_film(spool).key / "0.dcm").write_bytes(b"sc")
        upkeep.sweep_films(spool)
        upkeep.sweep_results(spool)
        assert files(spool) == [f"films/{only_film(spool).path.name}"]

    def test_leaves_results_that_wait(self, spool: Spool) -> None:
        spool.keep(UID, b"film", "CR1")
        read(spool, "a")
        upkeep.sweep_films(spool)
        upkeep.sweep_results(spool)
        assert len(files(spool)) == 3


class TestOwner:
    def test_one_node_at_a_time(self, spool: Spool) -> None:
        lock = spool.folder / "node.lock"
        with (
            only_one(lock, wait=False),
            pytest.raises(SpoolError, match="another node works"),
            only_one(lock, wait=False),
        ):
            pass
        with only_one(lock, wait=False):
            pass

    def test_folder_that_cannot_be_made_is_a_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(SpoolError, match="cannot be used: Not a directory"):
            Spool(tmp_path / "file" / "spool")

    def test_oldest(self, spool: Spool) -> None:
        assert upkeep.oldest_seconds(spool) == 0
        spool.keep(UID, b"film", "CR1")
        start = time.monotonic()
        wait_until(lambda: upkeep.oldest_seconds(spool) > 0 or time.monotonic() > start + 9)
        assert upkeep.oldest_seconds(spool) > 0

"""Films until every archive has their results: files in one folder, and what is known of them.

acknowledged = temporary file -> fsync -> rename -> fsync of the folder -> row -> "stored"

A film is answered "stored" only when a cut of the power would find it again. The rows (SQLite) say
what exists: a file without a row was never acknowledged, and is removed at the next start. No name
of a file holds a UID or anything else of a patient; the database does, and nobody but the node's
user may look into the folder.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

from service.settings import SettingError

FOLDERS = ("incoming", "films", "unfinished", "outbox")
KEY_CHARACTERS = 16
LOOK_SECONDS = 0.1  # at a lock that another process has
HOUR, DAY = 3600.0, 86_400.0

SCHEMA = """
create table if not exists films(
    sop text primary key, key text not null unique, digest text not null, bytes integer not null,
    calling text not null, arrived real not null, state text not null default 'waiting',
    tries integer not null default 0, deaths integer not null default 0, due real not null,
    code text not null default '', ended real, kept integer not null default 1);
create index if not exists films_state on films(state, due);
create table if not exists others(
    sop text not null, digest text not null, arrived real not null, primary key(sop, digest));
create table if not exists deliveries(
    key text not null, destination text not null, state text not null default 'waiting',
    tries integer not null default 0, due real not null, code text not null default '',
    primary key(key, destination));
create index if not exists deliveries_state on deliveries(destination, state, due);
"""


class SpoolError(SettingError):
    """One sentence: why the folder cannot be used."""


class Kept(StrEnum):
    """What became of a film that was received."""

    NEW = "new"
    KNOWN = "known"  # the same UID and bytes
    DIFFERS = "differs"  # the same UID, other bytes: the first ones count


class State(StrEnum):
    """Where a film is on its way."""

    WAITING = "waiting"  # to be read
    READ = "read"  # its results wait to be delivered
    DONE = "done"
    DEAD = "dead"  # given up, until somebody asks for another attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A film in the spool.

    Attributes
    ----------
    key
        Names its files, and it in logs.
    path
        Its file.
    calling
        Who sent it.
    tries
        Attempts at reading it so far.
    deaths
        How many of them, one after the other, the worker did not survive.
    """

    key: str
    path: Path
    calling: str
    tries: int
    deaths: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Results of one film on their way to one archive."""

    key: str
    tries: int
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What `cxr node status` tells of a film or a delivery that is not done."""

    key: str
    what: str
    state: str
    tries: int
    code: str


class Spool:
    """The folder; safe to share between threads, and between the processes of one node."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, and make it where it is not there.

        Raises
        ------
        SpoolError
            If it cannot be made, written or read.
        """
        self.folder = folder
        self._lock = threading.Lock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            for name in FOLDERS:
                (folder / name).mkdir(mode=0o700, exist_ok=True)
            self._rows = sqlite3.connect(
                folder / "node.db", timeout=60.0, isolation_level=None, check_same_thread=False
            )
            (folder / "node.db").chmod(0o600)
            self._rows.execute("pragma journal_mode=wal")
            self._rows.execute("pragma synchronous=full")
            self._rows.executescript(SCHEMA)
            _sync_folder(folder)
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise SpoolError(f"the spool {folder} cannot be used: {reason}") from error

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._rows.close()

    # Receiving

    def keep(self, sop: str, film: bytes, calling: str) -> Kept:
        """Keep a film; when this returns, no cut of the power loses it.

        Parameters
        ----------
        sop
            Its SOP Instance UID.
        film
            The whole file.
        calling
            Who sent it.

        Raises
        ------
        OSError, sqlite3.Error
            If it is not safe; then it must not be acknowledged.
        """
        digest, now = sha256(film).hexdigest(), time.time()
        known = self._one("select digest from films where sop=?", sop)
        if known is not None:
            return self._again(sop, known, digest, now)
        key = sha256(sop.encode()).hexdigest()[:KEY_CHARACTERS]
        # The digest is part of the name: two senders of one UID do not overwrite each other's file.
        write_durably(self._film_path(key, digest), film, self.folder / "incoming")
        with self._change() as rows:
            made = rows.execute(
                "insert into films(sop, key, digest, bytes, calling, arrived, due)"
                " values(?,?,?,?,?,?,?) on conflict do nothing",
                (sop, key, digest, len(film), calling, now, now),
            ).rowcount
        if made:
            return Kept.NEW
        known = self._one("select digest from films where sop=?", sop) or digest
        if known != digest:
            self._film_path(key, digest).unlink(missing_ok=True)
        return self._again(sop, known, digest, now)

    def _again(self, sop: str, known: str, digest: str, now: float) -> Kept:
        if known == digest:
            return Kept.KNOWN
        self._do("insert into others values(?,?,?) on conflict do nothing", sop, digest, now)
        return Kept.DIFFERS

    def knows(self, sop: str) -> bool:
        """Whether a film with this UID was received."""
        return self._one("select 1 from films where sop=?", sop) is not None

    def free_bytes(self) -> int:
        """Bytes that its disk has left for the node."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    # Reading

    def due_films(self, most: int) -> list[Film]:
        """Films whose turn it is to be read, the oldest first."""
        found = self._all(
            "select key, digest, calling, tries, deaths from films"
            " where state='waiting' and due<=? order by due limit ?",
            time.time(),
            most,
        )
        return [
            Film(
                key=key,
                path=self._film_path(key, digest),
                calling=calling,
                tries=tries,
                deaths=deaths,
            )
            for key, digest, calling, tries, deaths in found
        ]

    def begin(self, film: Film, pause: float) -> None:
        """Note that a film is being read, before it is: it may be what the worker dies of.

        If it dies, the film's next turn comes after ``pause`` seconds.
        """
        self._do(
            "update films set tries=tries+1, deaths=deaths+1, due=? where key=?",
            time.time() + pause,
            film.key,
        )

    def put_off(self, film: Film, code: str, pause: float) -> None:
        """Read a film later, since ``code`` may pass."""
        self._do(
            "update films set deaths=0, code=?, due=? where key=?",
            code,
            time.time() + pause,
            film.key,
        )

    def finish(self, film: Film, state: State, code: str) -> None:
        """End the way of a film that has no results to deliver."""
        self._do(
            "update films set state=?, deaths=0, code=?, ended=? where key=?",
            state,
            code,
            time.time(),
            film.key,
        )

    def put_out(
        self, film: Film, results: Sequence[bytes], destinations: Iterable[str], code: str
    ) -> None:
        """Keep the results of a film, made once, for every destination.

        Raises
        ------
        OSError, sqlite3.Error
            If they are not safe; the film is then read again.
        """
        folder = self._results(film.key)
        folder.mkdir(mode=0o700, exist_ok=True)
        for number, result in enumerate(results):
            write_durably(folder / f"{number}.dcm", result, self.folder / "unfinished")
        _sync_folder(folder.parent)
        now = time.time()
        with self._change() as rows:
            rows.executemany(
                "insert into deliveries(key, destination, due) values(?,?,?)"
                " on conflict do nothing",
                [(film.key, destination, now) for destination in destinations],
            )
            rows.execute(
                "update films set state='read', deaths=0, code=? where key=?", (code, film.key)
            )

    # Delivering

    def due_delivery(self, destination: str) -> Delivery | None:
        """What has waited longest for this destination, if its turn has come."""
        found = self._all(
            "select key, tries from deliveries where destination=? and state='waiting' and due<=?"
            " order by due limit 1",
            destination,
            time.time(),
        )
        for key, tries in found:
            files = sorted(self._results(key).glob("[0-9]*.dcm"), key=lambda one: int(one.stem))
            return Delivery(key=key, tries=tries, files=tuple(files))
        return None

    def delivered(self, delivery: Delivery, destination: str) -> None:
        """Note that an archive has everything."""
        self._end_delivery(delivery.key, destination, "stored", "")

    def give_up(self, delivery: Delivery, destination: str, code: str) -> None:
        """Make a dead letter of what an archive will not take."""
        self._end_delivery(delivery.key, destination, "dead", code)

    def deliver_later(self, delivery: Delivery, destination: str, code: str, pause: float) -> None:
        """Try again, since ``code`` may pass."""
        self._do(
            "update deliveries set tries=tries+1, code=?, due=? where key=? and destination=?",
            code,
            time.time() + pause,
            delivery.key,
            destination,
        )

    def _end_delivery(self, key: str, destination: str, state: str, code: str) -> None:
        with self._change() as rows:
            rows.execute(
                "update deliveries set state=?, tries=tries+1, code=?"
                " where key=? and destination=?",
                (state, code, key, destination),
            )
            rows.execute(
                "update films set ended=?, state=case when exists(select 1 from deliveries"
                " where key=films.key and state='dead') then 'dead' else 'done' end"
                " where key=? and not exists"
                " (select 1 from deliveries where key=films.key and state='waiting')",
                (time.time(), key),
            )

    # Looking after

    def sweep_films(self) -> None:
        """Remove films that were never acknowledged; for the start of the one that receives."""
        for path in (self.folder / "incoming").iterdir():
            path.unlink()
        rows = self._all("select key, digest from films where kept")
        films = {self._film_path(key, digest) for key, digest in rows}
        for path in (self.folder / "films").iterdir():
            if path not in films:
                path.unlink()

    def sweep_results(self) -> None:
        """Remove results that were not made to the end; for the start of the one that works."""
        for path in (self.folder / "unfinished").iterdir():
            path.unlink()
        rows = self._all("select key from films where kept and state!='waiting'")
        results = {self._results(key) for (key,) in rows}
        for path in (self.folder / "outbox").iterdir():
            if path not in results:
                _remove_folder(path)

    def expire(self, film_hours: float, row_days: float) -> int:
        """Remove files and rows whose time is over; return how many films lost their files."""
        now = time.time()
        over = self._all(
            "select key, digest from films where state='done' and kept and ended<=?",
            now - film_hours * HOUR,
        )
        for key, digest in over:
            self._remove_files(key, digest)
            self._do("update films set kept=0 where key=?", key)
        with self._change() as rows:
            old = now - row_days * DAY
            rows.execute(
                "delete from deliveries where key in"
                " (select key from films where not kept and ended<=?)",
                (old,),
            )
            rows.execute("delete from films where not kept and ended<=?", (old,))
            rows.execute("delete from others where arrived<=?", (old,))
        return len(over)

    def retry(self, key: str | None = None) -> int:
        """Give dead letters another attempt, all or those of one film; return how many."""
        now = time.time()
        with self._change() as rows:
            letters = rows.execute(
                "update deliveries set state='waiting', due=?"
                " where state='dead' and coalesce(?, key)=key",
                (now, key),
            ).rowcount
            rows.execute(
                "update films set state='read', ended=null where state='dead' and exists"
                " (select 1 from deliveries where key=films.key and state='waiting')"
                " and coalesce(?, key)=key",
                (key,),
            )
            films = rows.execute(
                "update films set state='waiting', ended=null, deaths=0, due=?"
                " where state='dead' and kept and coalesce(?, key)=key",
                (now, key),
            ).rowcount
        return int(letters + films)

    def purge(self, key: str | None = None) -> int:
        """Remove dead letters with their films and results, all or one; return how many films."""
        found = self._all(
            "select key, digest from films where state='dead' and kept and coalesce(?, key)=key",
            key,
        )
        for one, digest in found:
            with self._change() as rows:
                rows.execute("delete from deliveries where key=?", (one,))
                rows.execute("update films set kept=0 where key=?", (one,))
            self._remove_files(one, digest)
        return len(found)

    def counts(self) -> dict[tuple[str, str], int]:
        """How many films are in which state, and deliveries: ``("film", state)``, or its name."""
        films = self._all(
            "select 'film', case when state='dead' and not kept then 'purged' else state end, "
            "count(*) from films group by 1, 2"
        )
        deliveries = self._all("select destination, state, count(*) from deliveries group by 1, 2")
        return {(what, state): count for what, state, count in [*films, *deliveries]}

    def oldest_seconds(self) -> float:
        """For how long the film that waits longest for its end has waited."""
        arrived = self._one("select min(arrived) from films where state in ('waiting', 'read')")
        return 0.0 if arrived is None else max(0.0, time.time() - arrived)

    def letters(self, most: int) -> list[Letter]:
        """What is not done and was tried, the dead first."""
        found = self._all(
            "select key, 'reading', state, tries, code from films"
            " where state='dead' and kept and not exists"
            " (select 1 from deliveries where key=films.key)"
            " or state='waiting' and tries>0"
            " union all select deliveries.key, destination, deliveries.state, deliveries.tries,"
            " deliveries.code from deliveries join films using(key) where films.kept and"
            " (deliveries.state='dead' or deliveries.state='waiting' and deliveries.tries>0)"
            " order by 3, 1 limit ?",
            most,
        )
        return [
            Letter(key=key, what=what, state=state, tries=tries, code=code)
            for key, what, state, tries, code in found
        ]

    # Below

    def _film_path(self, key: str, digest: str) -> Path:
        return self.folder / "films" / f"{key}-{digest[:KEY_CHARACTERS]}.dcm"

    def _results(self, key: str) -> Path:
        return self.folder / "outbox" / key

    def _remove_files(self, key: str, digest: str) -> None:
        self._film_path(key, digest).unlink(missing_ok=True)
        _remove_folder(self._results(key))

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is on the disk at the end, or nothing."""
        with self._lock:
            self._rows.execute("begin immediate")
            try:
                yield self._rows
                self._rows.execute("commit")
            except BaseException:
                if self._rows.in_transaction:
                    self._rows.execute("rollback")
                raise

    def _do(self, statement: str, *values: Any) -> None:
        with self._change() as rows:
            rows.execute(statement, values)

    def _all(self, query: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._rows.execute(query, values).fetchall()

    def _one(self, query: str, *values: Any) -> Any:
        row = next(iter(self._all(query, *values)), None)
        return None if row is None else row[0]


def write_durably(path: Path, content: bytes, temporary: Path) -> None:
    """Write a file that is there as a whole, or not at all, whatever happens meanwhile.

    Parameters
    ----------
    temporary
        Folder on the same disk for the unfinished file.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left.
    """
    unfinished = temporary / f"{path.parent.name}-{path.stem}-{threading.get_ident()}-{os.getpid()}"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Bring the names of a folder's files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_folder(folder: Path) -> None:
    for path in folder.glob("*"):
        path.unlink(missing_ok=True)
    if folder.exists():
        folder.rmdir()


@contextmanager
def only_one(file: Path, *, wait: bool) -> Iterator[None]:
    """Hold the only right to something in the spool, until the end or the process's death.

    Raises
    ------
    SpoolError
        If another process holds it, and ``wait`` is false.
    """
    with file.open("w") as held:
        while not _locked(held.fileno()):
            if not wait:
                raise SpoolError(f"another node works in {file.parent}; stop it first")
            time.sleep(LOOK_SECONDS)
        yield


def _locked(descriptor: int) -> bool:
    """Lock a file, unless another process has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

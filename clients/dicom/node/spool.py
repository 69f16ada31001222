"""Films until every archive has their results: files in one folder, and what is known of them.

acknowledged = temporary file -> fsync -> rename -> fsync of the folder -> row -> "stored"

A film is answered "stored" only when a cut of the power would find it again. The rows (SQLite) say
what exists: a file without a row was never acknowledged, and is removed at the next start. No name
of a file holds a UID or anything else of a patient; the database does, and nobody but the node's
user may look into the folder.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from clients.dicom.node.disk import (
    SpoolError,
    remove_folder,
    sync_folder,
    write_durably,
    write_whole,
)
from clients.dicom.node.rows import Rows

FOLDERS = ("incoming", "films", "asides", "unfinished", "outbox")
KEY_CHARACTERS = 16
# A film that nothing is left of, and nothing was made of: purged, or no destination wanted it.
OVER = "(not kept or state='done') and not exists(select 1 from deliveries where key=films.key)"

# What ends films with results: nothing of them waits for a destination.
END = (
    "update films set ended=?, state=case when exists(select 1 from deliveries"
    " where key=films.key and state='dead') then 'dead' else 'done' end"
    " where state='read' and not exists"
    " (select 1 from deliveries where key=films.key and state='waiting')"
)


class Kept(StrEnum):
    """What became of a film that was received."""

    NEW = "new"
    AGAIN = "again"  # nothing was made of it the first time, and it is no longer on its way
    KNOWN = "known"  # the same UID and data set
    DIFFERS = "differs"  # the same UID, another data set: kept aside, the first ones count


class State(StrEnum):
    """Where a film is on its way."""

    WAITING = "waiting"  # to be read
    READ = "read"  # its results wait to be delivered
    DONE = "done"
    DEAD = "dead"  # given up, until somebody asks for another attempt


@dataclass(frozen=True, slots=True)
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
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            for name in FOLDERS:
                (folder / name).mkdir(mode=0o700, exist_ok=True)
            self.rows = Rows(folder / "node.db")
            sync_folder(folder)
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise SpoolError(f"the spool {folder} cannot be used: {reason}") from error

    def close(self) -> None:
        """Close the database."""
        self.rows.close()

    # Receiving

    def keep(self, sop: str, film: bytes, calling: str, start: int = 0) -> Kept:
        """Keep a film; when this returns, no cut of the power loses it.

        Parameters
        ----------
        sop
            Its SOP Instance UID.
        film
            The whole file.
        calling
            Who sent it.
        start
            Where its data set begins. What comes before is of whoever wrote the file, and does not
            make it another film.

        Raises
        ------
        OSError, sqlite3.Error
            If it is not safe; then it must not be acknowledged.
        """
        digest = sha256(memoryview(film)[start:]).hexdigest()
        if self._keep_again(sop, film, digest, calling):
            return Kept.AGAIN
        known = self._digest(sop) or self._keep_first(sop, film, digest, calling)
        if known is None:
            return Kept.NEW
        # A spool of an earlier node has digests of whole files.
        if known in (digest, sha256(film).hexdigest()):
            return Kept.KNOWN
        self._keep_aside(key_of(sop), film, digest)
        return Kept.DIFFERS

    def _keep_first(self, sop: str, film: bytes, digest: str, calling: str) -> str | None:
        """Keep a film that was not known; the digest of another that came meanwhile, or None."""
        key, now = key_of(sop), time.time()
        # The digest is part of the name: two senders of one UID do not overwrite each other's file.
        write_durably(self.film_path(key, digest), film, self.folder / "incoming")
        with self.rows.change() as rows:
            made = rows.execute(
                "insert into films(sop, key, digest, bytes, calling, arrived, due)"
                " values(?,?,?,?,?,?,?) on conflict do nothing",
                (sop, key, digest, len(film), calling, now, now),
            ).rowcount
            (known,) = rows.execute("select digest from films where sop=?", (sop,)).fetchone()
        if known != digest:
            self.film_path(key, digest).unlink(missing_ok=True)
        return None if made else str(known)

    def _keep_again(self, sop: str, film: bytes, digest: str, calling: str) -> bool:
        """Begin anew with a film that is over; whether it was."""
        over = f"select digest from films where sop=? and {OVER}"  # noqa: S608  of this module
        if self.rows.one(over, sop) is None:
            return False
        key, now = key_of(sop), time.time()
        with self.rows.change() as rows:  # files are removed within one too: never this film's
            found = rows.execute(over, (sop,)).fetchone()
            if found is None:
                return False
            write_durably(self.film_path(key, digest), film, self.folder / "incoming")
            rows.execute(
                "update films set digest=?, bytes=?, calling=?, arrived=?, due=?, state='waiting',"
                " tries=0, deaths=0, code='', ended=null, kept=1 where sop=?",
                (digest, len(film), calling, now, now, sop),
            )
            if found[0] != digest:
                self.film_path(key, found[0]).unlink(missing_ok=True)
        return True

    def _keep_aside(self, key: str, film: bytes, digest: str) -> None:
        """Keep other bytes of a film, for somebody to look at; nothing reads them."""
        if self.rows.one("select 1 from asides where key=? and digest=?", key, digest):
            return
        write_durably(self.aside_path(key, digest), film, self.folder / "incoming")
        self.rows.do(
            "insert into asides values(?,?,?) on conflict do nothing", key, digest, time.time()
        )

    def _digest(self, sop: str) -> str | None:
        found: str | None = self.rows.one("select digest from films where sop=?", sop)
        return found

    def knows(self, sop: str) -> bool:
        """Whether a film with this UID was received."""
        return self._digest(sop) is not None

    def film_path(self, key: str, digest: str) -> Path:
        """Where the file of a film lies."""
        return self.folder / "films" / _file(key, digest)

    def aside_path(self, key: str, digest: str) -> Path:
        """Where other bytes of a film lie."""
        return self.folder / "asides" / _file(key, digest)

    def results(self, key: str) -> Path:
        """Where the results of a film lie."""
        return self.folder / "outbox" / key

    def free_bytes(self) -> int:
        """Bytes that its disk has left for the node."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    # Reading

    def due_films(self, most: int) -> list[Film]:
        """Films whose turn it is to be read, the oldest first."""
        found = self.rows.all(
            "select key, digest, calling, tries, deaths from films"
            " where state='waiting' and due<=? order by due limit ?",
            time.time(),
            most,
        )
        return [
            Film(key, self.film_path(key, digest), calling, tries, deaths)
            for key, digest, calling, tries, deaths in found
        ]

    def begin(self, film: Film, pause: float) -> None:
        """Note that a film is being read, before it is: it may be what the worker dies of.

        If it dies, the film's next turn comes after ``pause`` seconds.
        """
        due = time.time() + pause
        self._note(film, tries=film.tries + 1, deaths=film.deaths + 1, due=due)

    def put_off(self, film: Film, code: str, pause: float) -> None:
        """Read a film later, since ``code`` may pass."""
        self._note(film, deaths=0, code=code, due=time.time() + pause)

    def finish(self, film: Film, state: State, code: str) -> None:
        """End the way of a film that has no results to deliver."""
        self._note(film, state=state, deaths=0, code=code, ended=time.time())

    def _note(self, film: Film, **values: str | float) -> None:
        columns = ", ".join(f"{name}=?" for name in values)
        self.rows.do(f"update films set {columns} where key=?", *values.values(), film.key)  # noqa: S608  names of this module

    def put_out(
        self, film: Film, results: Sequence[bytes], destinations: Iterable[str], code: str
    ) -> None:
        """Keep the results of a film, made once, for every destination.

        Raises
        ------
        OSError, sqlite3.Error
            If they are not safe; the film is then read again.
        """
        folder = self.results(film.key)
        remove_folder(folder)  # what an attempt left that could not write all
        folder.mkdir(mode=0o700)
        for number, result in enumerate(results):
            write_whole(folder / f"{number}.dcm", result, self.folder / "unfinished")
        sync_folder(folder)
        sync_folder(folder.parent)
        now = time.time()
        with self.rows.change() as rows:
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
        found = self.rows.all(
            "select key, tries from deliveries where destination=? and state='waiting' and due<=?"
            " order by due limit 1",
            destination,
            time.time(),
        )
        for key, tries in found:
            files = sorted(self.results(key).glob("[0-9]*.dcm"), key=lambda one: int(one.stem))
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
        self.rows.do(
            "update deliveries set tries=tries+1, code=?, due=? where key=? and destination=?",
            code,
            time.time() + pause,
            delivery.key,
            destination,
        )

    def _end_delivery(self, key: str, destination: str, state: str, code: str) -> None:
        with self.rows.change() as rows:
            rows.execute(
                "update deliveries set state=?, tries=tries+1, code=?"
                " where key=? and destination=?",
                (state, code, key, destination),
            )
            rows.execute(f"{END} and key=?", (time.time(), key))


def key_of(sop: str) -> str:
    """What names a film: a digest, which tells nothing of it."""
    return sha256(sop.encode()).hexdigest()[:KEY_CHARACTERS]


def _file(key: str, digest: str) -> str:
    return f"{key}-{digest[:KEY_CHARACTERS]}.dcm"

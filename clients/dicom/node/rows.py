"""What is known of films, in SQLite: a change is on the disk when the call returns."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BUSY_SECONDS = 60.0  # that a change waits for one of another process

SCHEMA = """
create table if not exists films(
    sop text primary key, key text not null unique, digest text not null, bytes integer not null,
    calling text not null, arrived real not null, state text not null default 'waiting',
    tries integer not null default 0, deaths integer not null default 0, due real not null,
    code text not null default '', ended real, kept integer not null default 1);
create index if not exists films_state on films(state, due);
create table if not exists asides(
    key text not null, digest text not null, arrived real not null, primary key(key, digest));
create table if not exists deliveries(
    key text not null, destination text not null, state text not null default 'waiting',
    tries integer not null default 0, due real not null, code text not null default '',
    primary key(key, destination));
create index if not exists deliveries_state on deliveries(destination, state, due);
create table if not exists commitments(
    uid text not null, calling text not null, items text not null, arrived real not null,
    tries integer not null default 0, due real not null, code text not null default '',
    primary key(uid, calling));
"""


class Rows:
    """The database; safe to share between threads."""

    def __init__(self, path: Path) -> None:
        """Open it, and make it where it is not there; raises OSError or sqlite3.Error."""
        self._lock = threading.Lock()
        self._rows = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        path.chmod(0o600)
        self._rows.execute("pragma journal_mode=wal")
        self._rows.execute("pragma synchronous=full")
        self._rows.executescript(SCHEMA)

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self._rows.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
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

    def do(self, statement: str, *values: Any) -> int:
        """Change rows by one statement; return how many."""
        with self.change() as rows:
            return rows.execute(statement, values).rowcount

    def all(self, query: str, *values: Any) -> list[Any]:
        """Every row of a query."""
        with self._lock:
            return self._rows.execute(query, values).fetchall()

    def one(self, query: str, *values: Any) -> Any:
        """The first value of the first row, or None."""
        return next((row[0] for row in self.all(query, *values)), None)

"""All films of a spool at once: what is left of a crash, what is over, what operators ask and tell.

Each function takes the spool that it is about.
"""

import sqlite3
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from clients.dicom.node.disk import remove_folder
from clients.dicom.node.spool import END, Spool

HOUR, DAY = 3600.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Letter:
    """What `cxr node status` tells of a film or a delivery that is not done."""

    key: str
    what: str
    state: str
    tries: int
    code: str


def sweep_films(spool: Spool) -> None:
    """Remove films that were never acknowledged; for the start of the one that receives."""
    _remove(spool.folder / "incoming", ())
    films = spool.rows.all("select key, digest from films where kept")
    _remove(spool.folder / "films", (spool.film_path(*one) for one in films))
    asides = spool.rows.all("select key, digest from asides")
    _remove(spool.folder / "asides", (spool.aside_path(*one) for one in asides))


def sweep_results(spool: Spool) -> None:
    """Remove results that were not made to the end; for the start of the one that works."""
    _remove(spool.folder / "unfinished", ())
    made = spool.rows.all("select key from films where kept and state!='waiting'")
    results = {spool.results(key) for (key,) in made}
    for path in (spool.folder / "outbox").iterdir():
        if path not in results:
            remove_folder(path)


def end_gone(spool: Spool, destinations: Collection[str]) -> int:
    """Make dead letters of what waits for others than these destinations; return how many."""
    found = spool.rows.all("select distinct destination from deliveries where state='waiting'")
    gone = [(name,) for (name,) in found if name not in destinations]
    with spool.rows.change() as rows:
        ended = rows.executemany(
            "update deliveries set state='dead', code='destination_gone'"
            " where state='waiting' and destination=?",
            gone,
        ).rowcount
        rows.execute(END, (time.time(),))
    return ended


def _remove(folder: Path, keep: Iterable[Path]) -> None:
    """Remove the files of a folder but for some."""
    for path in set(folder.iterdir()) - set(keep):
        path.unlink()


def expire(spool: Spool, film_hours: float, row_days: float) -> int:
    """Remove files and rows whose time is over; return how many films lost their files."""
    now = time.time()
    old = now - row_days * DAY
    over = spool.rows.all(
        "select key, digest from films where state='done' and kept and ended<=?",
        now - film_hours * HOUR,
    )
    for key, digest in over:
        with spool.rows.change() as rows:  # a film that comes again is written within one too
            rows.execute("update films set kept=0 where key=? and state='done'", (key,))
            _remove_files(spool, rows, key, digest)
    _remove_asides(spool, spool.rows.all("select key, digest from asides where arrived<=?", old))
    with spool.rows.change() as rows:
        rows.execute(
            "delete from deliveries where key in"
            " (select key from films where not kept and ended<=?)",
            (old,),
        )
        rows.execute("delete from films where not kept and ended<=?", (old,))
        rows.execute("delete from commitments where arrived<=?", (old,))
    return len(over)


def retry(spool: Spool, key: str | None = None) -> int:
    """Give dead letters another attempt, all or those of one film; return how many."""
    now = time.time()
    with spool.rows.change() as rows:
        deliveries = rows.execute(
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
    return deliveries + films


def purge(spool: Spool, key: str | None = None) -> int:
    """Remove dead letters with films and results, and what is kept aside: all, or of one film.

    A film whose results still wait for another archive goes only where it is named.

    Returns
    -------
    int
        How many films.
    """
    now = time.time()
    with spool.rows.change() as rows:
        dead = rows.execute(
            "select key, digest from films where kept and coalesce(?1, key)=key and (state='dead'"
            " or state='read' and ?1 is not null and exists"
            " (select 1 from deliveries where key=films.key and state='dead'))",
            (key,),
        ).fetchall()
        for one, _ in dead:
            rows.execute("delete from deliveries where key=?", (one,))
            rows.execute("update films set state='dead', kept=0, ended=? where key=?", (now, one))
    for one, digest in dead:
        with spool.rows.change() as rows:  # once the row says so, whatever happens meanwhile
            _remove_files(spool, rows, one, digest)
    asides = spool.rows.all("select key, digest from asides where coalesce(?, key)=key", key)
    _remove_asides(spool, asides)
    return len(dead) + len(asides)


def _remove_files(spool: Spool, rows: sqlite3.Connection, key: str, digest: str) -> None:
    """Remove the files of a film, unless it has come again."""
    if rows.execute("select kept from films where key=?", (key,)).fetchone() != (0,):
        return
    spool.film_path(key, digest).unlink(missing_ok=True)
    remove_folder(spool.results(key))


def _remove_asides(spool: Spool, asides: Iterable[tuple[str, str]]) -> None:
    for key, digest in asides:
        spool.aside_path(key, digest).unlink(missing_ok=True)
        spool.rows.do("delete from asides where key=? and digest=?", key, digest)


def counts(spool: Spool) -> dict[tuple[str, str], int]:
    """How many films are in which state, and deliveries: ``("film", state)``, or its name."""
    found = spool.rows.all(
        "select 'film', case when state='dead' and not kept then 'purged' else state end, count(*)"
        " from films group by 1, 2"
        " union all select 'film', 'aside', count(*) from asides having count(*)"
        " union all select 'commitment', 'waiting', count(*) from commitments having count(*)"
        " union all select destination, state, count(*) from deliveries group by 1, 2"
    )
    return {(what, state): count for what, state, count in found}


def oldest_seconds(spool: Spool) -> float:
    """For how long the film that waits longest for its end has waited."""
    arrived = spool.rows.one("select min(arrived) from films where state in ('waiting', 'read')")
    return 0.0 if arrived is None else max(0.0, time.time() - arrived)


def letters(spool: Spool, most: int) -> list[Letter]:
    """What is not done and was tried, and what is kept aside; the dead before what waits."""
    found = spool.rows.all(
        "select key, 'reading', state, tries, code from films"
        " where state='dead' and kept and not exists"
        " (select 1 from deliveries where key=films.key)"
        " or state='waiting' and tries>0"
        " union all select deliveries.key, destination, deliveries.state, deliveries.tries,"
        " deliveries.code from deliveries join films using(key) where films.kept and"
        " (deliveries.state='dead' or deliveries.state='waiting' and deliveries.tries>0)"
        " union all select key, 'film', 'aside', 0, 'differs' from asides"
        " union all select calling, 'commitment', 'waiting', tries, code from commitments"
        " where tries>0"
        " order by 3, 1 limit ?",
        most,
    )
    return [Letter(*row) for row in found]

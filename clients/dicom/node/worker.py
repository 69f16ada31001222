"""Films are read and their results delivered: a process of its own beside the one that receives.

spool -> service -> objects -> outbox -> archives

A film that kills it costs no association; the node starts another worker.
"""

import logging
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from clients import (
    AccessDenied,
    ChestXrayClient,
    ChestXrayError,
    ImageRefused,
    Problem,
    ServiceBusy,
    ServiceFailed,
)
from clients.dicom.node import commit, deliver, deliver_stow, upkeep
from clients.dicom.node.associate import Later, NotTaken
from clients.dicom.node.commit import Requests
from clients.dicom.node.config import Config, ConfigError, Destination, When, load, secret
from clients.dicom.node.disk import only_one
from clients.dicom.node.header import Header, HeaderError, read_header
from clients.dicom.node.spool import Delivery, Film, Spool, State
from clients.dicom.objects import FilmError, report
from clients.dicom.objects.common import encoded
from clients.dicom.reading import read
from service.observe import logs
from service.parent import end_with

logger = logging.getLogger("nanocxr.node.worker")

SPOOL_SECONDS = 1.0  # until a spool that failed is used again
IDLE_SECONDS = 0.2  # between two looks at a spool with nothing to do
MAX_DEATHS = 5  # of a worker, one after the other while it had the same film
MAX_DOUBLINGS = 30


def pause(tries: int, longest: float) -> float:
    """Seconds until the next attempt: 1, 2, 4 and so on; a random part spreads them."""
    return min(longest, 2.0 ** min(tries, MAX_DOUBLINGS)) * random.uniform(0.5, 1.0)  # noqa: S311


def wanted(when: When, header: Header, calling: str) -> bool:
    """Whether a destination gets a film."""
    asked = (
        (when.calling, (calling,)),
        (when.modality, (header.modality,)),
        (when.body_part, (header.body_part,)),
        (when.description, header.descriptions),
    )
    return all(not patterns or _matches(patterns, texts) for patterns, texts in asked)


def _matches(patterns: tuple[str, ...], texts: tuple[str, ...]) -> bool:
    literal = [pattern.casefold().replace("[", "[[]") for pattern in patterns]
    return any(fnmatchcase(text.casefold(), pattern) for text in texts for pattern in literal)


class Worker:
    """Threads that read, and one for each destination: one that is down holds up no other."""

    def __init__(self, config: Config, spool: Spool) -> None:
        self._config = config
        self._spool = spool
        self._requests = Requests(spool)
        self._stop = threading.Event()
        self._taken: set[str] = set()
        self._lock = threading.Lock()
        self._news = threading.Condition()  # results to deliver; films come from another process
        self._places = threading.Semaphore(config.limits.readers)  # at the service
        self._threads = 2 * config.limits.readers  # it has work while objects are made and kept

    def stop(self) -> None:
        """Let every thread end what it does."""
        self._stop.set()

    def run(self) -> None:
        """Work until it is stopped."""
        gone = upkeep.end_gone(self._spool, {one.name for one in self._config.destination})
        if gone:
            logger.error("destinations of results are gone", extra={"facts": {"results": gone}})
        service = self._config.service
        with ChestXrayClient(
            service.url, timeout=service.timeout, retries=0, api_key=secret(service.key_file)
        ) as client:
            turns: list[Callable[[], bool]] = [self._tell_next]
            turns += [partial(self._read_next, client)] * self._threads
            turns += [partial(self._deliver_next, one) for one in self._config.destination]
            threads = [threading.Thread(target=self._repeat, args=(turn,)) for turn in turns]
            for thread in threads:
                thread.start()
            # Python runs a signal's handler in this thread, which sleeps on where another thread
            # has got the signal: so it wakes up by itself.
            while any(thread.is_alive() for thread in threads):
                time.sleep(IDLE_SECONDS)

    def _repeat(self, turn: Callable[[], bool]) -> None:
        """Take turns until the worker stops; one that fails in an unknown way ends all."""
        try:
            while not self._stop.is_set():
                try:
                    found = turn()
                except (OSError, sqlite3.Error):  # the disk is full: all stays as it was
                    logger.exception("the spool cannot be used now")
                    self._stop.wait(SPOOL_SECONDS)
                else:
                    if not found:
                        with self._news:
                            self._news.wait(IDLE_SECONDS)
        finally:
            self._stop.set()

    def _read_next(self, client: ChestXrayClient) -> bool:
        """Read a film as soon as there is a place at the service; whether there was one."""
        with ExitStack() as place:
            place.enter_context(self._places)
            film = None if self._stop.is_set() else self._next_film()
            if film is None:
                return False
            try:
                self._read(client, film, place)
            finally:
                with self._lock:
                    self._taken.discard(film.key)
        return True

    def _next_film(self) -> Film | None:
        with self._lock:
            for film in self._spool.due_films(self._threads):
                if film.key not in self._taken:
                    self._taken.add(film.key)
                    return film
        return None

    def _read(self, client: ChestXrayClient, film: Film, place: ExitStack) -> None:
        if film.deaths >= MAX_DEATHS:
            self._end(film, State.DEAD, "worker_died")
            return
        wait = self._pause(film.tries)
        self._spool.begin(film, wait)
        try:
            self._report(client, film, place)
        except ChestXrayError as error:
            code = _code_of(error)
            logger.warning("a film is read later", extra=_facts(film.key, code=code))
            self._spool.put_off(film, code, wait)
        except (FilmError, HeaderError):
            self._end(film, State.DEAD, "unreportable")
        except (OSError, sqlite3.Error):
            with suppress(OSError, sqlite3.Error):  # the worker lives: that was no death
                self._spool.put_off(film, "spool_failed", wait)
            raise
        except Exception:  # whatever a library makes of a hostile film, others are read
            logger.exception("a film cannot be reported", extra=_facts(film.key))
            self._end(film, State.DEAD, "internal_error")

    def _report(self, client: ChestXrayClient, film: Film, place: ExitStack) -> None:
        content = film.path.read_bytes()
        header = read_header(content)
        names = [
            one.name for one in self._config.destination if wanted(one.when, header, film.calling)
        ]
        if not names:
            self._end(film, State.DONE, "unrouted")
            return
        objects = self._config.objects
        reading, heatmap = read(client, content, objects.kinds)
        place.close()  # the next film goes to the service while objects are made of this one
        code = reading.code if isinstance(reading, Problem) else ""
        results = (
            []
            if code and not objects.refused
            else [encoded(one) for one in report(content, reading, heatmap, objects.kinds)]
        )
        if not results:
            self._end(film, State.DONE, code)
            return
        self._spool.put_out(film, results, names, code)
        with self._news:
            self._news.notify_all()
        logger.info("a film was read", extra=_facts(film.key, code=code or "ok"))

    def _end(self, film: Film, state: State, code: str) -> None:
        self._spool.finish(film, state, code)
        level = logging.ERROR if state is State.DEAD else logging.INFO
        logger.log(level, "a film has no results", extra=_facts(film.key, code=code))

    def _deliver_next(self, destination: Destination) -> bool:
        """Deliver the results of a film; whether there were any."""
        delivery = self._spool.due_delivery(destination.name)
        if delivery is None:
            return False
        self._deliver(destination, delivery)
        return True

    def _deliver(self, destination: Destination, delivery: Delivery) -> None:
        facts = {"destination": destination.name}
        try:
            self._send(destination, delivery)
        except Later as later:
            logger.warning(
                "results are delivered later", extra=_facts(delivery.key, code=later.code, **facts)
            )
            wait = self._pause(delivery.tries)
            self._spool.deliver_later(delivery, destination.name, later.code, wait)
        except NotTaken as refusal:
            logger.error(  # noqa: TRY400 - the code says it all
                "results were refused", extra=_facts(delivery.key, code=refusal.code, **facts)
            )
            self._spool.give_up(delivery, destination.name, refusal.code)
        except (OSError, sqlite3.Error):
            raise
        except Exception:  # the results of other films are delivered
            logger.exception("results cannot be delivered", extra=_facts(delivery.key, **facts))
            self._spool.give_up(delivery, destination.name, "internal_error")
        else:
            self._spool.delivered(delivery, destination.name)
            logger.info("results were delivered", extra=_facts(delivery.key, **facts))

    def _send(self, destination: Destination, delivery: Delivery) -> None:
        if destination.archive is not None:
            own = self._config.receive.ae_title
            deliver.store(destination.archive, destination.tls, own, delivery.files)
        elif destination.url is not None:
            deliver_stow.store(destination, delivery.files)

    def _tell_next(self) -> bool:
        """Tell a sender which of its films are safe; whether one had asked."""
        request = self._requests.due()
        if request is None:
            return False
        senders = [one for one in self._config.commitment if one.ae_title == request.calling]
        try:
            for sender in senders:
                commit.tell(self._spool, sender, self._config.receive.ae_title, request)
        except Later as later:
            logger.warning("a sender is told later", extra={"facts": {"code": later.code}})
            self._requests.put_off(request, later.code, self._pause(request.tries))
            return True
        except NotTaken as refusal:
            logger.error("a sender takes no reports", extra={"facts": {"code": refusal.code}})  # noqa: TRY400
        except (OSError, sqlite3.Error):
            raise
        except Exception:  # other senders are told
            logger.exception("a sender cannot be told")
        self._requests.end(request)
        return True

    def _pause(self, tries: int) -> float:
        return pause(tries, self._config.limits.wait_seconds)


def _code_of(error: ChestXrayError) -> str:
    if isinstance(error, ServiceBusy | ServiceFailed | AccessDenied | ImageRefused):
        return error.code
    return "service_unreachable"


def _facts(key: str, **facts: str) -> dict[str, dict[str, str]]:
    return {"facts": {"film": key, **facts}}


def main(config: Path, parent: int) -> None:
    """Run as a process of its own, which ends with its parent."""
    logs.to_stream(sys.stderr, os.environ)
    settings = load(config)
    spool = Spool(settings.spool)
    worker = Worker(settings, spool)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: the node decides
    end_with(parent, signal.SIGTERM)
    # One that outlives its node ends what it does first: no film is read twice.
    with only_one(settings.spool / "worker.lock", wait=True):
        upkeep.sweep_results(spool)
        worker.run()
    spool.close()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except ConfigError as error:
        sys.exit(f"Error: {error}")

"""Ask for images one by one, several at a time."""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial

from training.generate.nanobanana.client import Gemini
from training.generate.nanobanana.faults import Refused, ServiceFailed, Stopped, Transient
from training.generate.nanobanana.session import Session


def draw_online(session: Session, gemini: Gemini) -> None:
    """Ask for every missing image, with at most ``concurrency`` requests in flight.

    A request that fails after all its retries is left for the next run. Where more of them fail in
    a row than are in flight, the service is taken to be away.

    Raises
    ------
    ServiceFailed
        If asking again is pointless; what is there stays.
    """
    names = iter(session.missing())
    with ThreadPoolExecutor(session.settings.concurrency) as pool:
        try:
            _keep_busy(session, gemini, names, pool)
        finally:
            # Requests in flight may be paid already: they end, and no other begins.
            session.stop.set()


def _keep_busy(
    session: Session, gemini: Gemini, names: Iterator[str], pool: ThreadPoolExecutor
) -> None:
    running: set[Future[None]] = set()
    stopped, failed, in_a_row = "", 0, 0
    while True:
        while len(running) < session.settings.concurrency and not stopped:
            name = next(names, None)
            if name is None:
                break
            running.add(pool.submit(_draw, session, gemini, name))
        if not running:
            break
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            try:
                future.result()
                in_a_row = 0
            except Stopped as stop:
                stopped = str(stop)
            except Transient as fault:
                failed += 1
                in_a_row += 1
                session.reason = f"{failed} requests failed after all retries: {fault.reason}"
                if in_a_row > session.settings.concurrency:
                    raise ServiceFailed(session.reason) from None
    session.reason = stopped or session.reason


def _draw(session: Session, gemini: Gemini, name: str) -> None:
    """Ask until there is an image or the request was refused too often."""
    while session.open_for(name):
        wording, prompt = session.plan.prompt(name, session.ledger.rewordings(name))
        with suppress(Refused):  # it is entered, and asked for in another wording
            session.retry.call(partial(_ask, session, gemini, name, wording, prompt))


def _ask(session: Session, gemini: Gemini, name: str, wording: int, prompt: str) -> None:
    """Ask once, judge the answer and account for it: only then has the brake room for the next."""
    with session.brake.attempt(), session.ledger.attempt(name, wording) as attempt:
        try:
            session.keep(name, wording, gemini.draw(prompt))
        except (Refused, Transient) as fault:
            session.settle(name, wording, fault, attempt=attempt)
            raise
        session.settle(name, wording, None, attempt=attempt)

"""What a test must know of processes: who is whose child, and that they end."""

import fcntl
import os
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil

from service.inference.worker import ROLE

PATIENCE = 300.0  # seconds before a wait is given up; far beyond what any of them takes


def wait_until(happened: Callable[[], bool]) -> None:
    """Return as soon as ``happened``; a hanging test fails here."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.03)


def descendants(pid: int) -> list[psutil.Process]:
    """All processes below this one, now."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def serving_process(pid: int) -> psutil.Process:
    """The process that serves, below the supervisor with this id."""
    (process,) = psutil.Process(pid).children()
    return process


def decoders_of(pid: int) -> list[psutil.Process]:
    """The decoding processes below this one."""
    return _decoders(descendants(pid))


def own_decoders() -> list[psutil.Process]:
    """The decoding processes that this process has started; not those of a service beside it."""
    return _decoders(psutil.Process().children())


def _decoders(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    found = []
    for child in processes:
        with suppress(psutil.NoSuchProcess):  # it has just ended
            if ROLE in child.cmdline():
                found.append(child)
    return found


def ready_decoders(ask: Callable[[], object]) -> list[psutil.Process]:
    """The decoding processes of this one, each after a first request; they take turns."""
    decoders = own_decoders()
    assert decoders
    for _ in decoders:
        ask()
    return decoders


def has_work(process: psutil.Process) -> bool:
    """Whether something waits in the standard input of a stopped process; not where it is gone."""
    try:
        pipe = os.open(f"/proc/{process.pid}/fd/0", os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        waiting = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    finally:
        os.close(pipe)
    return any(waiting)


@contextmanager
def suspended(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Stop processes, as kill -STOP does, and let them go on in the end."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def wait_until_gone(processes: Sequence[psutil.Process]) -> None:
    """Return when none of them runs; a dead one that nobody has reaped yet counts as gone."""
    wait_until(lambda: not any(_runs(process) for process in processes))


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

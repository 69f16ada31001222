"""What a test must know of processes: who is whose child, and that they end."""

import time
from collections.abc import Callable, Sequence

import psutil

PATIENCE = 300.0  # seconds before a wait is given up; far beyond what any of them takes


def wait_until(happened: Callable[[], bool]) -> None:
    """Return as soon as ``happened``; a hanging test fails here."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def descendants(pid: int) -> list[psutil.Process]:
    """All processes below this one, now."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def wait_until_gone(processes: Sequence[psutil.Process]) -> None:
    """Return when none of them runs; a dead one that nobody has reaped yet counts as gone."""
    wait_until(lambda: not any(_runs(process) for process in processes))


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

"""Many tasks, a few of them under way at a time: what keeps the memory of a run constant."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_flight(
    pool: Executor, work: Callable[[T], R], tasks: Iterable[T], limit: int
) -> Iterator[tuple[T, "Future[R]"]]:
    """Let ``pool`` work on up to ``limit`` tasks; yield each with its finished future.

    They come in any order. The next one is taken, and submitted, as soon as there is room: while
    the caller is busy with one result the others go on.
    """
    waiting: dict[Future[R], T] = {}
    for task in tasks:
        if len(waiting) >= limit:
            yield from _finished(waiting)
        waiting[pool.submit(work, task)] = task
    while waiting:
        yield from _finished(waiting)


def _finished(waiting: "dict[Future[R], T]") -> Iterator[tuple[T, "Future[R]"]]:
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        yield waiting.pop(future), future

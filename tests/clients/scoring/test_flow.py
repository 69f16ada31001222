"""A bounded number of tasks is under way, and each comes back once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from clients.scoring.flow import in_flight


def test_each_task_comes_back_once_with_its_result() -> None:
    with ThreadPoolExecutor(3) as pool:
        found = [(n, f.result()) for n, f in in_flight(pool, lambda n: n * n, range(50), 4)]
    assert sorted(found) == [(n, n * n) for n in range(50)]


def test_no_task_no_result() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert list(in_flight(pool, abs, [], 3)) == []


def test_tasks_are_taken_only_when_there_is_room() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(2) as pool:
        results = in_flight(pool, abs, tasks(), 5)
        for done in range(1, 101):
            next(results)
            assert len(taken) <= done + 5


def test_slow_task_does_not_hold_the_others_up() -> None:
    others_done = Event()
    with ThreadPoolExecutor(2) as pool:

        def work(number: int) -> bool:
            return others_done.wait(60) if number == 0 else bool(number)

        order = []
        for number, future in in_flight(pool, work, range(20), 4):
            order.append(number)
            assert future.result()
            if len(order) == 19:
                others_done.set()
    assert order[-1] == 0
    assert sorted(order) == list(range(20))


def test_failure_is_in_the_future_of_its_task() -> None:
    with ThreadPoolExecutor(2) as pool:
        results = dict(in_flight(pool, lambda n: divmod(1, n), [0, 1], 2))
    assert results[1].result() == (1, 0)
    with pytest.raises(ZeroDivisionError):
        results[0].result()

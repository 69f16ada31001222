"""Who may take memory, in which order, and how much there is."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from service import memory
from service.imaging.claim import MIB, Claim
from service.imaging.decode import Limits
from service.memory import Budget, beside_readings, limit, needed, shared_out
from tests.processes import wait_until

LONG = 120.0


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def waiting(budget: Budget) -> int:
    return len(budget._waiting)


class TestBudget:
    def test_grants_what_is_free_and_no_more(self) -> None:
        budget = Budget(10)
        assert budget.take(7, 0)
        assert not budget.take(4, 0)
        assert budget.take(3, 0)
        assert budget.held == 10

    def test_waits_until_enough_is_given_back(self, threads: ThreadPoolExecutor) -> None:
        budget = Budget(10)
        assert budget.take(10, 0)
        later = threads.submit(budget.take, 6, LONG)
        wait_until(lambda: waiting(budget) == 1)
        budget.give_back(5)
        assert not later.done()
        budget.give_back(1)
        assert later.result(LONG)

    def test_small_ones_do_not_overtake_a_large_one_for_ever(
        self, threads: ThreadPoolExecutor
    ) -> None:
        budget, order = Budget(10), list[int]()
        assert budget.take(5, 0)

        def take(size: int) -> None:
            assert budget.take(size, LONG)
            order.append(size)

        def submitted(size: int) -> "Future[None]":
            before = waiting(budget)
            future = threads.submit(take, size)
            wait_until(lambda: waiting(budget) == before + 1)
            return future

        large, small = submitted(9), submitted(1)  # 1 would fit beside the 5
        assert not small.done()
        budget.give_back(5)
        large.result(LONG)
        small.result(LONG)
        assert sorted(order) == [1, 9]
        assert budget.held == 10

    def test_who_gives_up_makes_room_for_the_next(self, threads: ThreadPoolExecutor) -> None:
        budget = Budget(10)
        assert budget.take(5, 0)
        large = threads.submit(budget.take, 9, 1.0)
        wait_until(lambda: waiting(budget) == 1)
        small = threads.submit(budget.take, 1, LONG)
        assert not large.result(LONG)
        assert small.result(LONG)


class TestLease:
    def test_gives_everything_back_once(self) -> None:
        budget = Budget(10)
        with budget.lease() as lease:
            assert lease.take(8, 0)
            lease.keep(3)
            assert budget.held == 3
            lease.keep(5)  # no more than it has
            assert budget.held == 3
            lease.close()
        assert budget.held == 0

    def test_takes_instead_of_what_it_held(self) -> None:
        """Else two that want more than half each would wait for one another."""
        budget = Budget(10)
        lease = budget.lease()
        assert lease.take(6, 0)
        assert lease.take(9, 0)
        assert budget.held == 9

    def test_is_closed_by_who_gets_it_or_where_it_cannot_be_handed_on(self) -> None:
        budget = Budget(10)
        with budget.lease().handed_on() as lease:
            assert lease.take(6, 0)
        assert budget.held == 6
        with pytest.raises(OSError, match="no"), lease.handed_on():
            raise OSError("no")
        assert budget.held == 0

    def test_decides_on_claims(self) -> None:
        budget = Budget(10)
        first, second = budget.lease(), budget.lease()
        assert first.decide(Claim(1, 11), seconds=0) == "never"
        assert first.decide(Claim(1, 8), seconds=0) == "granted"
        assert second.decide(Claim(1, 8), seconds=0) == "busy"
        assert (first.held, second.held) == (8, 0)


class TestLimit:
    RAM = memory._ram()

    def group(self, tmp_path: Path, own: str, files: dict[str, str]) -> int:
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + "\n")
        return limit(tmp_path, tmp_path / "own")

    def test_of_a_container_in_version_2(self, tmp_path: Path) -> None:
        assert self.group(tmp_path, "0::/\n", {"memory.max": str(100 * MIB)}) == 100 * MIB

    def test_of_a_container_in_version_1_that_shows_the_path_of_the_host(
        self, tmp_path: Path
    ) -> None:
        own = "5:cpu:/docker/abc\n4:memory:/docker/abc\n"
        files = {"memory/memory.limit_in_bytes": str(100 * MIB)}
        assert self.group(tmp_path, own, files) == 100 * MIB

    def test_smallest_of_all_groups_above(self, tmp_path: Path) -> None:
        files = {
            "system.slice/cxr.service/memory.max": "max",
            "system.slice/memory.max": str(200 * MIB),
            "memory.max": str(300 * MIB),
        }
        assert self.group(tmp_path, "0::/system.slice/cxr.service\n", files) == 200 * MIB

    def test_ram_where_nothing_is_limited(self, tmp_path: Path) -> None:
        none = str(2**63 - 4096)  # version 1 has no word for it
        files = {"memory/memory.limit_in_bytes": none, "memory.max": "max"}
        assert self.group(tmp_path, "0::/\n4:memory:/\n", files) == self.RAM
        assert limit(tmp_path / "none", tmp_path / "none") == self.RAM

    def test_of_this_machine_is_plausible(self) -> None:
        assert 64 * MIB < limit() <= self.RAM


class TestSharing:
    @pytest.mark.parametrize("processes", [1, 2, 4])
    def test_needed_is_what_lets_the_worst_film_be_read(self, processes: int) -> None:
        worst = Limits().decoding_memory
        due = needed(worst, processes)
        uploads, readings = shared_out(due, processes)
        assert readings >= worst
        assert uploads + readings == due - beside_readings(processes)
        assert shared_out(due - 16, processes)[1] < worst

    def test_nothing_is_left_of_little(self) -> None:
        assert shared_out(beside_readings(2) - 1, 2) == (0, 0)


def test_lease_is_safe_where_threads_take_turns() -> None:
    budget = Budget(100)

    def work() -> None:
        for _ in range(200):
            with budget.lease() as lease:
                assert lease.take(30, LONG)
                assert budget.held <= 100
                lease.keep(10)

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert budget.held == 0

"""Real processes that crash, hang, grow and are killed; tasks are functions that do just that."""

import ctypes
import json
import logging
import operator
import os
import pickle
import pprint
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from service.errors import (
    DecoderCrashed,
    DecodeTimeout,
    NotAnImage,
    ServiceBusy,
    TooManyPixels,
)
from service.imaging.claim import MIB, Claim, Verdict
from service.imaging.decode import Limits
from service.imaging.prepare import RESULTS, prepare, prepare_with_picture
from service.inference.worker import KEPT
from service.inference.worker_pool import DecodingError, Pool
from service.observe.stages import Stage, collecting
from tests.factories import png_bytes
from tests.processes import descendants, own_decoders, wait_until, wait_until_gone
from tests.tasks import claim_and_allocate, claim_for_ever, imported
from tests.tiny_model import SPEC

LONG = 120.0
ANSWERS = 3  # the pipe on which a process answers
MEMORY = 256 * MIB


def new_pool() -> Pool:
    return Pool(1, modules=("service.imaging.prepare",), memory=MEMORY, results=RESULTS)


@pytest.fixture
def pool() -> Iterator[Pool]:
    with closing(new_pool()) as pool:
        yield pool
    assert own_decoders() == []


def works(pool: Pool) -> bool:
    return bool(pool.run(abs, -3, seconds=LONG) == 3)


class TestAnswers:
    def test_are_those_of_the_task_here(self, pool: Pool) -> None:
        here = prepare(png_bytes(), Limits(), SPEC)
        there = pool.run(prepare, png_bytes(), Limits(), SPEC, seconds=LONG)
        np.testing.assert_array_equal(there.tensor, here.tensor)
        assert (there.facts, there.geometry) == (here.facts, here.geometry)

    def test_refusal_is_raised_and_costs_no_process(self, pool: Pool) -> None:
        with pytest.raises(NotAnImage, match="DICOM, PNG or JPEG"):
            pool.run(prepare, b"text", Limits(), SPEC, seconds=LONG)
        (process,) = own_decoders()
        assert works(pool)
        assert own_decoders() == [process]

    def test_defect_is_told_without_a_value_of_the_file(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with closing(new_pool()) as pool:  # in the test: a process has the standard error of now
            with pytest.raises(DecodingError) as caught:
                pool.run(int, "Doe^Jane", seconds=LONG)
            assert works(pool)
        (line,) = capfd.readouterr().err.splitlines()
        assert json.loads(line)["exception"][0] == "ValueError"
        assert "Doe" not in str(caught.value) + line

    @pytest.mark.parametrize("task", [pprint.pprint, warnings.warn, logging.warning])
    def test_what_anyone_says_of_a_file_is_not_heard(
        self, task: Callable[[str], object], capfd: pytest.CaptureFixture[str]
    ) -> None:
        with closing(new_pool()) as pool:
            pool.run(task, "Doe^Jane", seconds=LONG)
            pool.run(os.write, 2, b"Doe^Jane, says native code", seconds=LONG)
            assert works(pool)
        assert "Doe" not in "".join(capfd.readouterr())

    def test_times_of_stages_come_with_them(self, pool: Pool) -> None:
        stages: list[Stage] = []
        before = time.time_ns()
        with collecting(stages):
            pool.run(prepare, png_bytes(), Limits(), SPEC, seconds=LONG)
            with pytest.raises(NotAnImage):
                pool.run(prepare, b"text", Limits(), SPEC, seconds=LONG)
        assert [found.name for found in stages] == ["decode", "standardise", "decode"]
        assert before <= stages[0].start <= stages[-1].end <= time.time_ns()

    def test_of_a_process_that_was_taken_over_are_not_obeyed(self, pool: Pool) -> None:
        with pytest.raises(DecoderCrashed):
            pool.run(operator.itemgetter(0), [os.system], seconds=LONG)
        assert works(pool)

    def test_of_a_class_that_no_task_returns_cost_the_process(self, pool: Pool) -> None:
        with pytest.raises(DecoderCrashed):
            pool.run(Limits, seconds=LONG)
        assert works(pool)

    @pytest.mark.parametrize(
        "name", ["ClassVar", "ReadingError.__init__", "ReadingError.__subclasses__"]
    )
    def test_hold_nothing_of_the_module_of_errors_but_errors(self, pool: Pool, name: str) -> None:
        assert works(pool)
        with pytest.raises(DecoderCrashed):
            pool.run(
                os.write,
                ANSWERS,
                b"\x80\x04cservice.errors\n" + name.encode() + b"\n.",
                seconds=LONG,
            )
        assert works(pool)

    def test_with_a_picture_are_those_of_the_task_here(self, pool: Pool) -> None:
        here = prepare_with_picture(png_bytes(), Limits(), SPEC)
        there = pool.run(prepare_with_picture, png_bytes(), Limits(), SPEC, seconds=LONG)
        np.testing.assert_array_equal(there[1], here[1])

    def test_of_another_kind_cost_the_process(self, pool: Pool) -> None:
        assert works(pool)
        with pytest.raises(DecoderCrashed):
            pool.run(os.write, ANSWERS, pickle.dumps("Doe^Jane"), seconds=LONG)
        assert works(pool)


class TestDeath:
    def test_crash_in_native_code_costs_one_task(self, pool: Pool) -> None:
        with pytest.raises(DecoderCrashed):
            pool.run(ctypes.string_at, 0, seconds=LONG)
        assert works(pool)

    def test_hang_is_ended_after_the_limit(self, pool: Pool) -> None:
        with pytest.raises(DecodeTimeout, match="longer than 1 s"):
            pool.run(time.sleep, LONG, seconds=1)
        assert works(pool)

    def test_memory_is_bounded(self, pool: Pool) -> None:
        assert pool.run(len, bytes(MEMORY // 4), seconds=LONG) == MEMORY // 4
        with pytest.raises(DecoderCrashed, match="memory"):
            pool.run(operator.mul, b"x", 2 * MEMORY, seconds=LONG)
        assert works(pool)

    def test_idle_process_is_replaced_before_a_task_comes(self, pool: Pool) -> None:
        assert works(pool)
        (process,) = own_decoders()
        process.kill()
        wait_until(lambda: [p.pid for p in own_decoders()] not in ([], [process.pid]))
        assert works(pool)

    def test_processes_are_found_by_their_role(self, pool: Pool) -> None:
        assert works(pool)
        (process,) = own_decoders()
        assert "nanocxr-decoder" in process.cmdline()  # as docs/operations.md has it

    def test_signals_of_a_supervisor_are_left_to_the_parent(self, pool: Pool) -> None:
        assert works(pool)
        (process,) = own_decoders()
        process.terminate()
        assert works(pool)
        assert own_decoders() == [process]


def test_processes_hold_no_client_of_http() -> None:
    modules = ("service.imaging.prepare", "tests.tasks")
    with closing(Pool(1, modules=modules, memory=MEMORY)) as pool:
        found = pool.run(imported, ("pydicom", "requests", "urllib3", "httpx"), seconds=LONG)
    assert found == ["pydicom"]


class TestClaims:
    """What a task claims of memory is decided on here, while its clock stands still."""

    @pytest.fixture
    def roomy(self) -> Iterator[Pool]:
        with closing(Pool(1, modules=("tests.tasks",), memory=2048 * MIB)) as pool:
            yield pool

    def test_are_decided_on_before_the_task_goes_on(self, roomy: Pool) -> None:
        claims = list[Claim]()

        def admit(claim: Claim) -> Verdict:
            claims.append(claim)
            return "granted"

        allocated = roomy.run(claim_and_allocate, 600, 500, seconds=LONG, admit=admit)
        assert allocated == 500 * MIB
        assert claims == [Claim(0, 600 * MIB)]

    @pytest.mark.parametrize(
        ("verdict", "refusal"), [("busy", ServiceBusy), ("never", TooManyPixels)]
    )
    def test_refused_cost_no_process(
        self, verdict: Verdict, refusal: type[Exception], roomy: Pool
    ) -> None:
        assert works(roomy)
        before = own_decoders()
        with pytest.raises(refusal):
            roomy.run(claim_and_allocate, 1, 1, seconds=LONG, admit=lambda _: verdict)
        assert works(roomy)
        assert own_decoders() == before

    def test_bound_what_the_task_can_allocate(self, roomy: Pool) -> None:
        with pytest.raises(DecoderCrashed, match="memory"):
            roomy.run(claim_and_allocate, 100, 500, seconds=LONG)
        assert works(roomy)

    def test_waiting_is_not_decoding(self, roomy: Pool) -> None:
        def admit(_: Claim) -> Verdict:
            time.sleep(3)
            return "granted"

        assert works(roomy)
        assert roomy.run(claim_and_allocate, 1, 1, seconds=2, admit=admit) == MIB

    def test_without_end_are_ended(self, roomy: Pool) -> None:
        assert works(roomy)
        with pytest.raises(DecodeTimeout):
            roomy.run(claim_for_ever, seconds=1)
        assert works(roomy)

    def test_large_images_leave_little_behind(self, roomy: Pool) -> None:
        assert works(roomy)
        (process,) = own_decoders()
        idle = process.memory_info().rss
        for size in range(10, 31, 4):  # below what the allocator maps, and gives back, by itself
            roomy.run(bytes, size * MIB, seconds=LONG)
        assert works(roomy)
        assert process.memory_info().rss < max(KEPT, idle) + 8 * MIB


PARENT = """
import sys, time
from pathlib import Path
from service.inference.worker_pool import Pool

pool = Pool(1, modules=("time",), memory=2**28)
print(pool.run(abs, -1, seconds=60), flush=True)
if len(sys.argv) > 1:
    pool.run(Path.read_bytes, Path(sys.argv[1]), seconds=3600)
time.sleep(3600)
"""


@contextmanager
def parent_of_a_pool(*arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-c", PARENT, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"1\n"
        try:
            yield parent
        finally:
            parent.kill()


class TestOrphan:
    def test_ends_with_its_parent(self) -> None:
        with parent_of_a_pool() as parent:
            (process,) = descendants(parent.pid)
            parent.kill()
            wait_until_gone([process])

    def test_ends_with_its_parent_while_a_task_runs(self, tmp_path: Path) -> None:
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)

        def is_read() -> bool:
            with suppress(OSError):  # nobody reads it yet
                writers.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
            return bool(writers)

        writers: list[int] = []
        with parent_of_a_pool(str(fifo)) as parent:
            (process,) = descendants(parent.pid)
            wait_until(is_read)
            parent.kill()
            wait_until_gone([process])
        os.close(writers[0])

    def test_ends_where_its_parent_died_before_it_looked(self) -> None:
        gone = subprocess.Popen(["true"])
        gone.wait()
        watching = f"import time; from service.parent import end_with; end_with({gone.pid}, 9)"
        command = [sys.executable, "-c", f"{watching}; time.sleep(3600)"]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL

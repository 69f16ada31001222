"""A pool of decoding processes, of which any may die at any moment.

bytes -> [Pool -> processes of service.inference.worker] -> session
The service and the clients' local scoring decode in such processes.

Each process has pipes of its own, so that its death is the end of its answers and nothing else.
Executors of the standard library and of loky share one pipe for all results: they wait for ever
when a process is killed while it writes to it, and fail every task under way when it dies before.
"""

import logging
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, Any, TypeVar, cast

from service import errors
from service.errors import DecoderCrashed, DecodeTimeout, ReadingError
from service.imaging.claim import MIB, Claim, Verdict
from service.inference.worker import FAILED, READY, ROLE, Answer, Request
from service.observe.stages import Stage, add

T = TypeVar("T")
Admit = Callable[[Claim], Verdict]
Known = Mapping[tuple[str, str], type]  # by module and name, as they are pickled

WATCH_SECONDS = 0.1  # how often dead processes are looked for, and late ones killed
START_SECONDS = 120.0
START_ATTEMPTS = 3  # it may be killed from outside before it is ready
RESTART_SECONDS = 1.0
MAIN = "from service.inference.worker import main; main()"
PIPE_BYTES = MIB  # the most that Linux gives everyone; a radiograph passes in few turns
# glibc would give the megabytes of each image back to the kernel and fetch them again for the next:
# 4 of 12 ms an image. What a process keeps instead is bounded by the second number.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * MIB),
    "MALLOC_TRIM_THRESHOLD_": str(128 * MIB),
}
# What arrays are pickled as.
ARRAYS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy._core.multiarray", "_reconstruct"),
}

logger = logging.getLogger("nanocxr")


def _grant(_: Claim) -> Verdict:
    """Whoever keeps no account of memory grants everything; the process's own bound remains."""
    return "granted"


class DecodingError(Exception):
    """The pool is at fault, not a file: no process can be started, or a task has a defect."""


class Pool:
    """Run tasks in ``processes`` processes, each task once; close it after use.

    Parameters
    ----------
    processes
        How many tasks run at once.
    modules
        What the tasks need; a process imports it before its first task.
    memory
        Bytes that a process may be granted at most.
    results
        Classes of what the tasks return and of what that holds, beside plain values and arrays.
        An answer with anything else in it costs the process: a file may have taken it over.
    """

    def __init__(
        self,
        processes: int,
        *,
        modules: tuple[str, ...],
        memory: int,
        results: tuple[type, ...] = (),
    ) -> None:
        known = {
            (kind.__module__, kind.__name__): kind for kind in (Answer, Stage, Claim, *results)
        }
        self._all = [_Decoder(modules, memory, known) for _ in range(processes)]
        self._idle: SimpleQueue[_Decoder] = SimpleQueue()
        for decoder in self._all:
            self._idle.put(decoder)
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="decoders", daemon=True)
        self._watcher.start()

    def run(
        self,
        task: Callable[..., T],
        *arguments: object,
        seconds: float,
        admit: Admit = _grant,
    ) -> T:
        """Run ``task(*arguments)`` in an idle process, or wait for one; for any thread.

        Parameters
        ----------
        task
            A function of a module. It returns plain values, arrays, and the ``results``.
        seconds
            After which the process is killed.
        admit
            Decides on what the task claims of memory; it may wait.

        Raises
        ------
        DecoderCrashed
            If the process died of the task, or was killed. Another has taken its place.
        DecodeTimeout
            If the task took too long.
        ReadingError
            Whatever the task raises of this kind.
        DecodingError
            If the task raised anything else, or the pool is closed.
        """
        decoder = self._idle.get()
        try:
            return cast("T", decoder.run(seconds, task, arguments, admit))
        finally:
            self._idle.put(decoder)

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        self._closed.set()
        self._watcher.join()
        for decoder in self._all:
            decoder.close()

    def _watch(self) -> None:
        while not self._closed.wait(WATCH_SECONDS):
            for decoder in self._all:
                decoder.check()


class _Answers(pickle.Unpickler):
    """Reads what a process sends, which a hostile file may have taken over: values only."""

    def __init__(self, pipe: IO[bytes], known: Known) -> None:
        super().__init__(pipe)
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ARRAYS:
            return super().find_class(module, name)
        found = self._known.get((module, name))
        if found is None and module == errors.__name__:
            found = vars(errors).get(name)
            if not (isinstance(found, type) and issubclass(found, ReadingError)):
                found = None
        if found is None:
            raise pickle.UnpicklingError(f"{module}.{name} is no answer")
        return found


class _Decoder:
    """One process at a time; the next is started as soon as the last has died."""

    def __init__(self, modules: tuple[str, ...], memory: int, known: Known) -> None:
        self._arguments = [str(os.getpid()), ",".join(modules), str(memory)]
        self._known = known
        self._in_use = threading.Lock()
        self._timing = threading.Lock()  # of the two below
        self._due = math.inf  # when the process is late
        self._late = False
        self._closed = False
        self._start()

    def run(
        self, seconds: float, task: Callable[..., Any], arguments: tuple[Any, ...], admit: Admit
    ) -> Any:
        """Have one task done."""
        with self._in_use:
            if self._process.poll() is not None:
                self._replace()
            if not self._ready:
                self._wait_until_ready()
            request: Request = (seconds, task, arguments)
            answer = self._ask(request, seconds, admit)
        add(answer.stages)
        if isinstance(answer.value, ReadingError):
            raise answer.value
        if isinstance(answer.value, str) and answer.value == FAILED:
            raise DecodingError("a task failed; the log of its process says where")
        return answer.value

    def check(self) -> None:
        """Kill the process where it is late, replace it where it died while idle."""
        with self._timing:
            if time.monotonic() > self._due:
                self._late = True
                self._process.kill()
        if self._in_use.acquire(blocking=False):
            try:
                # A process that dies at its start would be started again without a pause.
                old = time.monotonic() - self._started > RESTART_SECONDS
                if old and self._process.poll() is not None:
                    self._replace()
            except DecodingError as error:
                logger.error("%s", error)  # noqa: TRY400  no task waits for it; tried again
            finally:
                self._in_use.release()

    def close(self) -> None:
        """End the process for good; a task under way raises DecodingError."""
        self._closed = True
        self._process.kill()  # wakes the thread that waits for its answer
        with self._in_use:
            self._end()

    def _start(self) -> None:
        if self._closed:
            raise DecodingError("the pool is closed")
        as_here = os.pathsep.join(map(os.path.abspath, sys.path))
        self._ready, self._started = False, time.monotonic()
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter
                [sys.executable, "-P", "-c", MAIN, ROLE, *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pipesize=PIPE_BYTES,
                env=os.environ | MALLOC | {"PYTHONPATH": as_here},
            )
        except OSError as error:
            raise DecodingError("a decoding process cannot be started") from error
        self._requests = cast("IO[bytes]", self._process.stdin)
        self._answers = cast("IO[bytes]", self._process.stdout)

    def _end(self) -> int:
        """Kill the process, if it lives, and return how it ended."""
        self._process.kill()
        for pipe in (self._requests, self._answers):
            with suppress(OSError):  # of what was not sent
                pipe.close()
        return self._process.wait()

    def _replace(self) -> None:
        status = self._end()
        if not self._closed:
            logger.warning("Decoding process %d ended (%d): replaced", self._process.pid, status)
        self._start()

    def _wait_until_ready(self) -> None:
        for _ in range(START_ATTEMPTS):
            with suppress(DecoderCrashed, DecodeTimeout):
                self._ready = self._ask(None, START_SECONDS, _grant) == READY
                return
        raise DecodingError("a decoding process cannot be started")

    def _ask(self, request: Request | None, seconds: float, admit: Admit) -> Any:
        """Send a request, if any, and return the answer; replace a process that gives none."""
        self._late = False
        try:
            due = self._expect(seconds)
            if request is not None:
                self._send(request)
            answer = _Answers(self._answers, self._known).load()
            while isinstance(answer, Claim):
                left = due - time.monotonic()
                self._expect(None)  # waiting is not decoding
                verdict = admit(answer)
                due = self._expect(left)
                self._send(verdict)
                answer = _Answers(self._answers, self._known).load()
            if request is None or isinstance(answer, Answer):
                return answer
        except (EOFError, OSError, pickle.UnpicklingError):
            pass
        finally:
            self._expect(None)
        late = self._end() == -signal.SIGALRM or self._late
        self._replace()
        if late:
            raise DecodeTimeout(
                f"Decoding took longer than {seconds:.0f} s and was ended. Send a smaller image."
            )
        raise DecoderCrashed(
            "The decoder did not survive this file, or was killed. Send it uncompressed."
        )

    def _expect(self, seconds: float | None) -> float:
        """Have the process killed after so many seconds, and return when; None for never."""
        due = math.inf if seconds is None else time.monotonic() + seconds
        with self._timing:
            self._due = due
        return due

    def _send(self, message: Request | Verdict) -> None:
        pickle.dump(message, self._requests, protocol=pickle.HIGHEST_PROTOCOL)
        self._requests.flush()

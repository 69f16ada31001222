"""What a decoding process does: one task after the other, bounded in time and memory.

:class:`service.inference.worker_pool.Pool` starts it, with the modules that its tasks need and
the bytes they may allocate. It imports no onnxruntime and no server, writes no file, and ends when
the process that started it does: its input has an end then, and no task under way is waited for.
"""

import ctypes
import importlib
import logging
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from service.errors import DecoderCrashed, ReadingError, ServiceBusy, TooManyPixels
from service.imaging.claim import MIB, Claim, Verdict, asking
from service.observe import logs
from service.observe.stages import Stage, collecting
from service.parent import end_with

logger = logging.getLogger("nanocxr")

ROLE = "nanocxr-decoder"  # in the command line: what the process is, to operators and tests
READY = "ready"
FAILED = "failed"  # the task raised what is no refusal; the log says where

# What a task may allocate before it claims memory: the file, its header, an allocator's reserve.
UNASKED = 256 * MIB
KEPT = 128 * MIB  # of a process between two tasks

Request = tuple[float, Callable[..., Any], tuple[Any, ...]]  # seconds, task, its arguments


@dataclass(frozen=True, slots=True)
class Answer:
    """What the task returned, its refusal or :data:`FAILED`; and how long its stages took."""

    value: Any
    stages: list[Stage]


def main() -> None:
    """Serve on standard input and output; whatever a decoder prints is lost.

    It may quote the file. The log goes to standard error.
    """
    # Ctrl-C and the signals of a supervisor reach every process below it: they are the parent's to
    # handle, which may still need this one to answer what it has accepted.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _, parent, modules, bytes_of_memory = sys.argv[1:]  # the first is the ROLE
    end_with(int(parent), signal.SIGKILL)  # before memory is bounded: a thread takes some
    # pydicom would import it to download files for its own tests: a fifth of the start, 7 MiB, and
    # nothing that a process which reads strangers' files should have.
    sys.modules["requests"] = None  # type: ignore[assignment]
    for module in modules.split(","):
        importlib.import_module(module)
    bound_memory(int(bytes_of_memory))
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        logs.to_stream(os.fdopen(os.dup(sys.stderr.fileno()), "w"), os.environ)
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
            os.dup2(nowhere.fileno(), sys.stderr.fileno())
        try:
            serve(sys.stdin.buffer, answers)
        except BrokenPipeError:
            os._exit(1)  # nobody is there to answer


def bound_memory(growth: int) -> None:
    """Let this process never allocate more than ``growth`` bytes beyond what it has."""
    pages = _pages(0)
    if pages:
        limit = pages * resource.getpagesize() + UNASKED + growth
        with suppress(ValueError):  # a lower limit is in force
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer pickled :data:`Request` by an :class:`Answer` until they end.

    The first answer, unasked, is :data:`READY`. A task that claims memory has its :class:`Claim`
    sent, and waits for the :data:`Verdict`.
    """
    _send(READY, answers)
    while True:
        try:
            request: Request = pickle.load(requests)  # noqa: S301  written by the parent
        except EOFError:
            return
        seconds, task, arguments = request
        # SIGALRM ends the process wherever it is, native code included. The parent kills it too;
        # this is for a parent that is gone.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        stages: list[Stage] = []
        with collecting(stages), asking(_Claims(requests, answers)):
            value = _done(task, arguments)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(Answer(value, stages), answers)
        del request, arguments, value  # the next may be as large
        give_back_freed()


class _Claims:
    """Asks the parent for the memory of one task, and bounds the address space to the answer."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests = requests
        self._answers = answers
        self._before = _pages(0) * resource.getpagesize()
        self._allow(0)

    def __call__(self, claim: Claim) -> None:
        """Wait for the verdict; raises ServiceBusy or TooManyPixels where it is not granted."""
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)  # waiting is not decoding
        _send(claim, self._answers)
        verdict: Verdict = pickle.load(self._requests)  # noqa: S301  written by the parent
        signal.setitimer(signal.ITIMER_REAL, left)
        if verdict == "busy":
            raise ServiceBusy("Other readings need the memory. Send the request again later.")
        if verdict == "never":
            raise TooManyPixels(
                "decoding the image needs more memory than the service may take. Send a smaller "
                "image, or give the service more memory."
            )
        self._allow(claim.size)

    def _allow(self, size: int) -> None:
        """Let the process allocate as much, and :data:`UNASKED`, beyond what it had."""
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        if self._before and most != resource.RLIM_INFINITY:
            soft = min(most, self._before + UNASKED + size)
            resource.setrlimit(resource.RLIMIT_AS, (soft, most))


def give_back_freed() -> None:
    """Return to the kernel what the allocator keeps of the last image, where it is much."""
    if _pages(1) * resource.getpagesize() > KEPT:
        with suppress(AttributeError, OSError):  # another libc than glibc
            ctypes.CDLL(None).malloc_trim(0)


def _pages(column: int) -> int:
    """Of this process: all (0) or those in memory (1); 0 where there is no /proc."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[column])
    except OSError:  # no Linux; the bounds on bytes and pixels remain
        return 0


def _done(task: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return task(*arguments)
    except ReadingError as refusal:
        return refusal.with_traceback(None)
    except MemoryError:
        return DecoderCrashed(
            "Decoding the file needs more memory than an image of its size should. "
            "Send it uncompressed."
        )
    except Exception as error:
        logger.error("decoding failed", exc_info=error)  # noqa: TRY400  never its text: logs.sealed
        return FAILED


def _send(answer: object, answers: BinaryIO) -> None:
    pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
    answers.flush()

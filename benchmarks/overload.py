"""What becomes of requests and memory when four times as many clients come as can be served.

    python -m benchmarks.overload [--seconds 60] [--path /predict]

Each client sends a 1024 x 1024 8-bit PNG as soon as its last request is answered, whatever the
answer was: none waits as Retry-After asks. 16 clients keep the service busy, before, and in the
first 5 s after 64 came. Memory is the sum of the proportional set sizes of all processes of the
service, its peak with 16 clients and with 64.
"""

import argparse
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.load import Load, send, upload
from benchmarks.serving import CLIENTS, running
from service.model.shipped import default_model
from tests.factories import chest, png_bytes

OVERLOAD = 4
AFTER_SECONDS = 5.0
POLL_SECONDS = 0.5


class Peak:
    """The most memory that a process and all below it took, in bytes, while it was watched."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.bytes = 0

    def look(self) -> None:
        """Take memory as it is now into account."""
        total = 0
        for process in (self._process, *self._process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        self.bytes = max(self.bytes, total)


@contextmanager
def watched(pid: int) -> Iterator[Peak]:
    """Look again and again, in a thread."""
    peak, over = Peak(pid), threading.Event()

    def watch() -> None:
        while not over.wait(POLL_SECONDS):
            peak.look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
        peak.look()


def overload(url: str, pid: int, request: bytes, seconds: float) -> tuple[list[Load], list[Peak]]:
    """Loads and peaks of memory: usual, too much, usual again."""
    send(url, request, clients=CLIENTS, seconds=AFTER_SECONDS)
    loads, peaks = list[Load](), list[Peak]()
    for clients, duration in (
        (CLIENTS, seconds / 3),
        (OVERLOAD * CLIENTS, seconds),
        (CLIENTS, AFTER_SECONDS),
    ):
        with watched(pid) as peak:
            loads.append(send(url, request, clients=clients, seconds=duration))
        peaks.append(peak)
    return loads, peaks


def main() -> None:
    """Print answers, rates and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--path", default="/predict")
    arguments = parser.parse_args()
    with running(arguments.model.resolve()) as (url, process):
        request = upload(url, arguments.path, png_bytes(chest(1024, 1024, bits=8)))
        loads, peaks = overload(url, process.pid, request, arguments.seconds)
    for name, load, peak in zip(("usual", "overload", "after"), loads, peaks, strict=True):
        print(
            f"{name}: {load.rate:.1f} images/s, answers {dict(load.statuses)}, "
            f"broken connections {load.broken}, refusals without Retry-After {load.rude}, "
            f"p99 of readings {load.percentile(99):.2f} s, memory {peak.bytes / 2**20:.0f} MiB"
        )
    usual, much, after = loads
    print(
        f"memory under overload: {peaks[1].bytes / peaks[0].bytes:.2f} of the usual peak; "
        f"images/s under overload {much.rate / usual.rate:.2f}, "
        f"in the {AFTER_SECONDS:.0f} s after it {after.rate / usual.rate:.2f} of the usual"
    )


if __name__ == "__main__":
    main()

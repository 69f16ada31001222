"""Memory as a budget: how much the service may take, and which request holds how much of it.

header -> claim -> [budget] -> pixels -> picture -> answer
A reading holds, from before its first pixel until it is answered, the most that any of its stages
takes at once. So no reading waits for memory while it keeps others waiting.
"""

import math
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from service.imaging.claim import MIB, Claim, Verdict
from service.observe.stages import stage
from service.processor import CGROUP

OWN_CGROUP = Path("/proc/self/cgroup")

# What the processes take beside readings, measured (python -m benchmarks.memory) and rounded up.
SUPERVISOR_BYTES = 144 * MIB  # of BentoML
DECODER_BYTES = 192 * MIB  # with a file, and with what its allocator keeps of the last image
WORKER_BYTES = 448 * MIB  # with model and gate, an inference of a whole batch, and its allocator
UPLOADS = 0.25  # of the rest is for bodies that arrive: they must not wait for readings


class Budget:
    """Bytes that readings may take together; whoever asks first gets them first.

    Parameters
    ----------
    total
        Bytes; infinity where nothing is known of a limit.
    """

    def __init__(self, total: float = math.inf) -> None:
        self.total = total
        self.held = 0
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    def lease(self) -> "Lease":
        """One reading's part, nothing yet; close it after use."""
        return Lease(self)

    def take(self, size: int, seconds: float) -> bool:
        """Hold more bytes; wait until they are free, and return whether they are."""
        ticket = object()

        def is_next_and_fits() -> bool:
            return self._waiting[0] is ticket and self.held + size <= self.total

        with self._changed:
            self._waiting.append(ticket)
            try:
                granted = self._changed.wait_for(
                    is_next_and_fits, min(seconds, threading.TIMEOUT_MAX)
                )
                self.held += size if granted else 0
                return granted
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def give_back(self, size: int) -> None:
        """Hold fewer bytes."""
        with self._changed:
            self.held -= size
            self._changed.notify_all()


class Lease:
    """What one reading holds of a budget; safe between threads that use it one after the other."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.held = 0

    @contextmanager
    def handed_on(self) -> Iterator["Lease"]:
        """Close it only where something fails inside; else whoever gets it closes it."""
        with ExitStack() as held:
            yield held.enter_context(self)
            held.pop_all()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, size: int, seconds: float) -> bool:
        """Hold these bytes instead of what it held; False where they did not become free."""
        self.keep(0)  # or two that want more would wait for one another
        granted = self.budget.take(size, seconds)
        self.held = size if granted else 0
        return granted

    def decide(self, claim: Claim, *, seconds: float) -> Verdict:
        """Hold what decoding claims, for all that comes after it too; wait at most so long."""
        if claim.size > self.budget.total:
            return "never"
        with stage("wait"):
            return "granted" if self.take(claim.size, seconds) else "busy"

    def keep(self, size: int) -> None:
        """Give back what it holds beyond these bytes."""
        excess = max(0, self.held - size)
        self.held -= excess
        self.budget.give_back(excess)

    def close(self) -> None:
        """Give everything back; more than once does no harm."""
        self.keep(0)


def limit(cgroup: Path = CGROUP, own: Path = OWN_CGROUP) -> int:
    """Bytes that this process and its siblings may take: of a container, of systemd, or the RAM."""
    return min([_ram(), *_cgroup_limits(cgroup, own)])


def beside_readings(processes: int) -> int:
    """Bytes that the service takes with so many decoding processes, readings left out."""
    return SUPERVISOR_BYTES + WORKER_BYTES + processes * DECODER_BYTES


def shared_out(memory: int, processes: int) -> tuple[int, int]:
    """Bytes for uploads and bytes for readings, of what the service may take in all."""
    rest = max(0, memory - beside_readings(processes))
    uploads = int(rest * UPLOADS)
    return uploads, rest - uploads


def needed(worst: int, processes: int) -> int:
    """Bytes that the service must be given so that a reading of ``worst`` bytes fits."""
    return beside_readings(processes) + math.ceil(worst / (1 - UPLOADS))


def _ram() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise ValueError("/proc/meminfo names no MemTotal")


def _cgroup_limits(cgroup: Path, own: Path) -> list[int]:
    """Limits of this process's control group and of those above it, in versions 2 and 1."""
    limits = []
    lines = own.read_text().splitlines() if own.is_file() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = cgroup, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = cgroup / "memory", "memory.limit_in_bytes"
        else:
            continue
        here = root / path.strip("/")
        # In a container the path may be the host's: its own group is then what is mounted.
        for folder in (here, *here.parents):
            file = folder / name
            if file.is_file() and (text := file.read_text().strip()) != "max":
                limits.append(int(text))
            if folder == root:
                break
    return limits

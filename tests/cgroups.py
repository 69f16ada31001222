"""Control groups of Linux: processes that share a limit of memory, as a container's do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryGroup:
    """A control group with a limit of memory, in version 2 or 1."""

    folder: Path
    limit_file: str
    peak_file: str

    @property
    def command(self) -> tuple[str, ...]:
        """Runs another command, whose words follow, and all its processes in the group."""
        script = f'echo $$ > {self.folder / "cgroup.procs"} && exec "$@"'
        return ("sh", "-c", script, "sh")

    @property
    def peak(self) -> int:
        """Most bytes that all processes took together, the kernel's cache of files left in."""
        return int((self.folder / self.peak_file).read_text())

    @property
    def kills(self) -> int:
        """How many processes the kernel killed for want of memory."""
        name = "memory.events" if self.limit_file == "memory.max" else "memory.oom_control"
        lines = (self.folder / name).read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


@contextmanager
def memory_group(limit: int) -> Iterator[MemoryGroup]:
    """Make a group with this many bytes; skips the test where that is not permitted."""
    group = _group()
    try:
        group.folder.mkdir()
    except OSError as error:
        pytest.skip(f"control groups of memory cannot be made here ({error.strerror})")
    try:
        try:
            (group.folder / group.limit_file).write_text(str(limit))
        except OSError as error:
            pytest.skip(f"memory cannot be limited here ({error.strerror})")
        yield group
    finally:
        with suppress(OSError):  # a process of it still ends
            group.folder.rmdir()


def _group() -> MemoryGroup:
    name = f"nanocxr-test-{os.getpid()}"
    if (ROOT / "memory").is_dir():
        folder = ROOT / "memory" / name
        return MemoryGroup(folder, "memory.limit_in_bytes", "memory.max_usage_in_bytes")
    return MemoryGroup(ROOT / name, "memory.max", "memory.peak")

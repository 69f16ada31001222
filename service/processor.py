"""How many cores this process may use, and what the processor has that int8 depends on.

Its features decide how fast int8 is computed, and how.
"""

import math
import os
import platform
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # of Linux
CGROUP = Path("/sys/fs/cgroup")  # as a container sees its own
X86 = {"x86_64", "AMD64", "i386", "i686"}
FEATURES = {  # as Linux calls them -> as their makers do
    "avx2": "AVX2",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_bf16": "AMX BF16",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """A processor as a report names it.

    Attributes
    ----------
    name
        Its maker's name for it, or the architecture's where the system does not tell.
    features
        Those of ``FEATURES`` that it has; None where they are not known, or it is no x86.
    """

    name: str
    features: tuple[str, ...] | None

    def __str__(self) -> str:
        if self.features is None:
            return self.name
        absent = [feature for feature in FEATURES.values() if feature not in self.features]
        has, lacks = ", ".join(self.features) or "none", ", ".join(absent) or "none"
        return f"{self.name} (has {has}; lacks {lacks})"


def this_processor(cpuinfo: Path = CPUINFO, machine: str | None = None) -> Processor:
    """Describe the processor that this process runs on.

    Parameters
    ----------
    cpuinfo
        What Linux tells about it; other systems have no such file.
    machine
        Architecture, by default this machine's.
    """
    machine = machine or platform.machine()
    if machine not in X86 or not cpuinfo.is_file():
        return Processor(name=machine, features=None)
    # Cores are alike: the first one's lines will do.
    lines = cpuinfo.read_text().partition("\n\n")[0].splitlines()
    facts = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    flags = facts.get("flags", "").split()
    return Processor(
        name=facts.get("model name", machine),
        features=tuple(name for flag, name in FEATURES.items() if flag in flags),
    )


def cores(cgroup: Path = CGROUP) -> int:
    """Cores this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        shown = len(os.sched_getaffinity(0))
    else:
        shown = os.cpu_count() or 1
    return max(1, math.ceil(min(shown, _quota(cgroup))))


def _quota(cgroup: Path) -> float:
    """Cores' worth of time that a container's limit grants; it does not show in their number.

    Without a limit infinity: "max" in version 2 of Linux's control groups, -1 in version 1.
    """
    files = (
        (cgroup / "cpu.max",),
        (cgroup / "cpu/cpu.cfs_quota_us", cgroup / "cpu/cpu.cfs_period_us"),
    )
    for version in files:
        if all(file.is_file() for file in version):
            quota, period = " ".join(file.read_text() for file in version).split()
            return math.inf if quota in ("max", "-1") else int(quota) / int(period)
    return math.inf

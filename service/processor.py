"""Which processor this is, and which of its features decide how fast, and how, int8 is computed."""

import platform
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # of Linux
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

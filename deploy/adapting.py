"""What podman and buildah have to be told on a machine that allows less than they presume.

They run containers themselves, as far as the caller may. Docker's daemon has its own settings.
"""

import os
import re
import resource
from dataclasses import dataclass
from pathlib import Path

SYSTEM = Path("/")
CAP_SYS_RESOURCE = 24  # linux/capability.h: may raise a hard limit
PROCESSES = 4096  # of one user; far above --pids-limit, which is the limit that counts


@dataclass(frozen=True)
class Adaptation:
    """Options that make containers run here, and why each is needed.

    Attributes
    ----------
    runtime
        Options that choose the OCI runtime.
    limits
        Options that bound the resources of one container's processes.
    notes
        A line for each reason, for whoever reads what a build or a test printed.
    """

    runtime: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def here(cls, engine: str, system: Path = SYSTEM) -> "Adaptation":
        """Look at what is mounted and allowed below ``system``, the root of the file system."""
        if engine == "docker":
            return cls()
        runtime: list[str] = []
        limits: list[str] = []
        notes = []
        if controllers := _beside_version_1(system):
            runtime = ["--runtime=runc"]
            notes.append(f"runc, since crun refuses cgroups of both versions ({controllers} in 2)")
        # Buildah asks for no limits of its own.
        if engine == "podman" and _root_without_capability(system):
            _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
            limits = [f"--ulimit=nofile={files}:{files}", f"--ulimit=nproc={PROCESSES}:{PROCESSES}"]
            notes.append(f"{' '.join(limits)}, since CAP_SYS_RESOURCE is missing to raise limits")
        return cls(tuple(runtime), tuple(limits), tuple(notes))


def _beside_version_1(system: Path) -> str:
    """Controllers of cgroup version 2 where version 1 has others, "" where one version has all."""
    controllers = system / "sys/fs/cgroup/unified/cgroup.controllers"
    return controllers.read_text().strip() if controllers.exists() else ""


def _root_without_capability(system: Path) -> bool:
    """Whether podman takes the caller for one who may raise limits, as root may elsewhere."""
    status = system / "proc/self/status"
    if os.geteuid() or not status.exists():  # without root it keeps to the caller's own limits
        return False
    (effective,) = re.findall(r"^CapEff:\s*([0-9a-f]+)$", status.read_text(), flags=re.M)
    return not int(effective, 16) >> CAP_SYS_RESOURCE & 1

"""Docker, podman or buildah, whichever answers."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ENGINES = ("docker", "podman", "buildah")


class EngineFailed(Exception):
    """A container engine is missing or ended with an error; its own words are above."""


@dataclass(frozen=True)
class Engine:
    """A container engine on this machine.

    Attributes
    ----------
    name
        ``"docker"``, ``"podman"`` or ``"buildah"``.
    """

    name: str

    @classmethod
    def find(cls) -> "Engine":
        """Take the first engine that answers, or the one that ``ENGINE`` names.

        Raises
        ------
        EngineFailed
            If none answers; a docker client without its daemon does not.
        """
        for name in (os.environ["ENGINE"],) if os.environ.get("ENGINE") else ENGINES:
            if (
                shutil.which(name)
                and not subprocess.run([name, "info"], capture_output=True).returncode
            ):
                return cls(name)
        raise EngineFailed(
            "No container engine answers. Install docker (and start its daemon), podman or buildah."
        )

    def build(
        self,
        context: Path,
        containerfile: Path,
        tag: str,
        *,
        arguments: Mapping[str, str],
        labels: Mapping[str, str],
        options: Sequence[str] = (),
    ) -> None:
        """Build an image; ``options`` go to the engine as they are."""
        command = ["build", "--tag", tag, "--file", str(containerfile), *options]
        if self.name != "docker":
            command += ["--format", "docker"]  # OCI's own format has no health check
        for key, value in arguments.items():
            command += ["--build-arg", f"{key}={value}"]
        for key, value in labels.items():
            command += ["--label", f"{key}={value}"]
        self._run(*command, str(context))

    def size(self, tag: str) -> str:
        """Size of an image with its base, uncompressed."""
        if self.name == "buildah":
            return str(json.loads(self._output("images", "--json", tag))[0]["size"])
        size = int(self._output("image", "inspect", "--format", "{{.Size}}", tag))
        return f"{size / 1e6:.0f} MB"

    def output(
        self, tag: str, script: str, *, options: Sequence[str] = ("--network", "none")
    ) -> bytes:
        """What a shell script prints in a container of this image, which is then removed."""
        if self.name != "buildah":
            once = ("--rm", "--no-healthcheck", "--entrypoint", "sh")
            return self._output("run", *once, *options, tag, "-c", script)
        container = self._output("from", tag).decode().strip()
        try:
            return self._output("run", *options, container, "--", "sh", "-c", script)
        finally:
            self._output("rm", container)

    def _run(self, *command: str) -> None:
        if subprocess.run([self.name, *command]).returncode:
            raise EngineFailed(f"`{self.name} {command[0]}` failed")

    def _output(self, *command: str) -> bytes:
        done = subprocess.run([self.name, *command], stdout=subprocess.PIPE)
        if done.returncode:
            raise EngineFailed(f"`{self.name} {' '.join(command[:2])}` failed")
        return done.stdout

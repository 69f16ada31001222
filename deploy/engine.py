"""Docker, podman or buildah, whichever answers."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.adapting import Adaptation

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
    adaptation
        What this machine asks of it.
    """

    name: str
    adaptation: Adaptation

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
                return cls(name, Adaptation.here(name))
        raise EngineFailed(
            "No container engine answers. Install docker (and start its daemon), podman or buildah."
        )

    def command(self, verb: str, *words: str) -> list[str]:
        """Words of a command line, with those that this machine asks for."""
        if self.name == "podman":
            limits = self.adaptation.limits if verb == "run" else ()
            return [self.name, *self.adaptation.runtime, verb, *limits, *words]
        runtime = self.adaptation.runtime if verb in {"run", "build"} else ()
        return [self.name, verb, *runtime, *words]

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
        words = ["--tag", tag, "--file", str(containerfile), *options]
        if self.name != "docker":
            words += ["--format", "docker"]  # OCI's own format has no health check
        for key, value in arguments.items():
            words += ["--build-arg", f"{key}={value}"]
        for key, value in labels.items():
            words += ["--label", f"{key}={value}"]
        self._run("build", *words, str(context))

    def pull(self, image: str) -> None:
        """Fetch what a registry has under this name now."""
        self._run("pull", image)

    def digest(self, image: str) -> str | None:
        """Digest of an image, fetched where it is not here yet, as a build would do.

        None where the engine knows none: docker of what it built itself, and buildah, which does
        not tell in which repository an image has which digest.
        """
        if "@" in image:
            return image.partition("@")[2]
        if self.name == "buildah":
            return None
        here = self.command("image", "inspect", image)
        if subprocess.run(here, capture_output=True).returncode:
            self.pull(image)
        known = self._output("image", "inspect", "--format", "{{json .RepoDigests}}", image)
        return digest_of(image, json.loads(known) or [])

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

    def _run(self, verb: str, *words: str) -> None:
        if subprocess.run(self.command(verb, *words)).returncode:
            raise EngineFailed(f"`{self.name} {verb}` failed")

    def _output(self, verb: str, *words: str) -> bytes:
        done = subprocess.run(self.command(verb, *words), stdout=subprocess.PIPE)
        if done.returncode:
            raise EngineFailed(f"`{' '.join((self.name, verb, *words[:1]))}` failed")
        return done.stdout


def digest_of(image: str, known: Sequence[str]) -> str | None:
    """Digest of a tagged image among "repository@digest" of every repository that it came from.

    One image has other digests in other repositories, which may compress its layers anew.
    """
    repository = _short(re.sub(r":[\w.-]+$", "", image))
    return next(
        (e.partition("@")[2] for e in known if _short(e.partition("@")[0]) == repository), None
    )


def _short(repository: str) -> str:
    """As docker writes a repository; podman writes "docker.io/library/" too."""
    return repository.removeprefix("docker.io/").removeprefix("library/")

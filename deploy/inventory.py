"""What an image says of its packages: taken from the image itself, not from what was asked for."""

import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path
from typing import Any

from deploy.engine import Engine

COPY_OUT = """
cd /
exec tar --create --file - $(ls -d opt/nanocxr/lib/python3*/site-packages/*.dist-info \
    opt/bento/src/models/*/*/manifest.json var/lib/dpkg/status usr/lib/os-release 2>/dev/null)
"""


@dataclass(frozen=True)
class DebianPackage:
    """An installed package of the base."""

    name: str
    version: str
    architecture: str


@dataclass(frozen=True)
class Inventory:
    """Files of an image that describe its content.

    Attributes
    ----------
    root
        Folder with the files at their places in the image.
    """

    root: Path

    @classmethod
    @contextmanager
    def of(cls, engine: Engine, tag: str) -> Iterator["Inventory"]:
        """Copy the files out of an image into a folder that lasts as long as the context."""
        content = engine.output(tag, COPY_OUT)
        with tempfile.TemporaryDirectory() as folder:
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                archive.extractall(folder, filter="data")
            yield cls(Path(folder))

    @property
    def site_packages(self) -> Path:
        """Folder with the metadata of every installed Python distribution."""
        return next(self.root.glob("opt/nanocxr/lib/python3*/site-packages"))

    @property
    def manifest(self) -> dict[str, Any]:
        """Manifest of the model in the image."""
        path = next(self.root.glob("opt/bento/src/models/*/*/manifest.json"))
        return dict(json.loads(path.read_text()))

    @property
    def debian(self) -> list[DebianPackage]:
        """Installed packages of a Debian base; none where the base is another."""
        status = self.root / "var/lib/dpkg/status"
        if not status.is_file():
            return []
        found = [
            Parser().parsestr(text) for text in status.read_text().split("\n\n") if text.strip()
        ]
        return [
            DebianPackage(entry["Package"], entry["Version"], entry["Architecture"])
            for entry in found
            if entry["Status"] == "install ok installed"
        ]

    @property
    def release(self) -> dict[str, str]:
        """Fields of os-release(5), such as ``ID`` and ``VERSION_ID``."""
        lines = (self.root / "usr/lib/os-release").read_text().splitlines()
        pairs = (line.split("=", 1) for line in lines if "=" in line)
        return {key: value.strip('"') for key, value in pairs}

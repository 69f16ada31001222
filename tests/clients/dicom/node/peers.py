"""Who a node works with: a real service, a real archive (Orthanc), senders; and the node itself."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families
from pydicom import Dataset, dcmread
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom import AE

from clients.cli.main import cli
from clients.dicom.node.classes import VERIFICATION
from tests.clients.dicom.tools import tool
from tests.factories import Pixels, chest, dicom_bytes
from tests.ports import free_port
from tests.processes import PATIENCE, wait_until
from tests.sources import ROOT

# Orthanc listens on every address; what comes from other computers is refused by it.
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ORTHANC: dict[str, Any] = {
    "DicomAet": "ORTHANC",
    "DicomAlwaysAllowStore": False,
    "DicomAlwaysAllowEcho": False,
    "DicomCheckModalityHost": True,
    "DicomModalities": {"node": ["NANOCXR", "127.0.0.1", 1]},
    "RemoteAccessAllowed": False,
    "AuthenticationEnabled": False,
    "OrthancExplorerEnabled": False,
    "Plugins": [str(DICOMWEB)],
    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
}
CXR_NODE = (sys.executable, "-c", "from clients.cli.main import cli; cli()", "node", "--config")
# The same without the commands beside it, whose imports take longer than a node's start.
RUN = """
import sys
from pathlib import Path
from clients.dicom.node.command import run
from clients.dicom.node.config import load

file = Path(sys.argv[1])
run(load(file), file)
"""
NODE = (sys.executable, "-c", RUN)


@dataclass
class Archive:
    """An Orthanc with a folder of its own; it can be stopped and started again."""

    folder: Path
    dicom_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """Of its DICOMweb service."""
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def start(self) -> None:
        """Return as soon as it answers."""
        settings = ORTHANC | {
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "StorageDirectory": str(self.folder),
            "IndexDirectory": str(self.folder),
        }
        self.folder.mkdir(exist_ok=True)
        (self.folder / "orthanc.json").write_text(json.dumps(settings))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [tool("Orthanc"), str(self.folder / "orthanc.json")], stdout=log, stderr=log
            )
        wait_until(lambda: answers(f"http://127.0.0.1:{self.http_port}/system"))

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(PATIENCE)
            self.process = None

    def instances(self, study: str) -> list[dict[str, Any]]:
        """What QIDO-RS lists of a study: class and series description of each instance."""
        fields = "includefield=00080016&includefield=0008103E"
        answer = httpx.get(f"{self.url}/studies/{study}/instances?{fields}", timeout=60)
        return list(answer.json()) if answer.status_code == 200 and answer.content else []

    def count(self) -> int:
        """How many instances it has."""
        statistics = httpx.get(f"http://127.0.0.1:{self.http_port}/statistics", timeout=60)
        return int(statistics.json()["CountInstances"])

    def has(self, least: int) -> bool:
        """Whether it has so many instances."""
        return self.count() >= least

    def classes(self, study: str) -> list[str]:
        """SOP classes of the instances of a study."""
        return sorted(one["00080016"]["Value"][0] for one in self.instances(study))

    def fetch(self, instance: dict[str, Any]) -> Dataset:
        """One of the instances."""
        found = httpx.post(
            f"http://127.0.0.1:{self.http_port}/tools/lookup",
            content=instance["00080018"]["Value"][0],
            timeout=60,
        ).json()
        path = next(one["Path"] for one in found if one["Type"] == "Instance")
        file = httpx.get(f"http://127.0.0.1:{self.http_port}{path}/file", timeout=60)
        return dcmread(BytesIO(file.content))


@contextmanager
def archive(folder: Path) -> Iterator[Archive]:
    """Run an archive."""
    running = Archive(folder)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def answers(url: str) -> bool:
    """Whether something is there and well."""
    try:
        return httpx.get(url, timeout=60).is_success
    except httpx.TransportError:
        return False


@dataclass
class Node:
    """A node, and what it is set to; it can be killed and started again."""

    folder: Path
    service: str
    destination: str
    more: str = ""
    port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def config(self) -> Path:
        """Its file."""
        return self.folder / "node.toml"

    @property
    def spool(self) -> Path:
        """Its folder."""
        return self.folder / "spool"

    @property
    def log(self) -> str:
        """All that it wrote."""
        return (self.folder / "log").read_text()

    @property
    def url(self) -> str:
        """Of its health, metrics and STOW-RS."""
        return f"http://127.0.0.1:{self.http_port}"

    def write(self) -> None:
        """Write its file."""
        self.folder.mkdir(exist_ok=True)
        tables = {
            "receive": f"port = {self.port}",
            "http": f"port = {self.http_port}\nstow = true",
            "service": f'url = "{self.service}"',
            "limits": "wait_seconds = 1\nfree_mib = 0\nsilent_seconds = 5",
        }
        lines = [f'spool = "{self.spool}"', self.destination]
        lines += [f"[{name}]\n{keys}" for name, keys in tables.items()]
        lines.append(self.more)
        self.config.write_text("\n".join(lines))

    def start(self, within: tuple[str, ...] = (), *, wait: bool = True) -> None:
        """Start it; return as soon as it is ready."""
        self.write()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*within, *NODE, str(self.config)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            wait_until(self.ready)

    def ready(self) -> bool:
        """Whether it can work; fails where it has ended."""
        assert self.process is not None
        assert self.process.poll() is None, self.log
        return answers(f"{self.url}/readyz")

    def stop(self) -> int:
        """Stop it as an operator does; return its exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process = None
        return status

    def kill(self) -> None:
        """Kill it without a warning."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def workers(self) -> list[psutil.Process]:
        """What reads and delivers."""
        assert self.process is not None
        return list(psutil.Process(self.process.pid).children())

    def command(self, name: str, *words: str) -> Result:
        """Run one of its commands."""
        return CliRunner().invoke(cli, ["node", name, "--config", str(self.config), *words])

    def metric(self, name: str, **labels: str) -> float:
        """One of its metrics now; 0 where it has none."""
        text = httpx.get(f"{self.url}/metrics", timeout=60).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def kill_worker(running: Node) -> None:
    """Kill what reads and delivers, without a warning."""
    for worker in running.workers():
        worker.kill()


def to_archive(archive: Archive, name: str = "pacs") -> str:
    """The destination of a node: this archive, by C-STORE."""
    return (
        f'[[destination]]\nname = "{name}"\nae_title = "ORTHANC"\n'
        f'address = "127.0.0.1"\nport = {archive.dicom_port}'
    )


@contextmanager
def node(
    folder: Path, service: str, destination: str, more: str = "", *, within: tuple[str, ...] = ()
) -> Iterator[Node]:
    """Run a node.

    ``more`` are further tables of its file.
    """
    made = Node(folder, service, destination, more)
    made.start(within)
    try:
        yield made
    finally:
        made.stop()


def film(number: int = 0, pixels: Pixels | None = None, **tags: Any) -> Dataset:
    """A small synthetic chest film of a patient of its own."""
    uid = f"2.25.{4_000_000 + 1000 * os.getpid() + number}"
    known = {
        "SOPInstanceUID": f"{uid}.1",
        "SeriesInstanceUID": f"{uid}.2",
        "StudyInstanceUID": f"{uid}.3",
        "PatientID": f"P{number}",
        "PatientName": f"Test^{number}",
        "StudyDate": time.strftime("%Y%m%d"),
    }
    shown = chest(128, 112, seed=number, bits=8) if pixels is None else pixels
    return dcmread(BytesIO(dicom_bytes(shown, **known | tags)))


def photograph(number: int) -> Dataset:
    """A picture in colour, as a camera's secondary capture."""
    y, x = np.mgrid[0:256, 0:256].astype(np.uint8)
    colours = np.stack([x, 255 - y, x ^ y], axis=-1)
    kind = {"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "XC"}
    return film(number, colours, photometric="RGB", view=None, BodyPartExamined=None, **kind)


def send(port: int, *films: Dataset, title: str = "NANOCXR") -> list[int]:
    """Send films in one association; status of each, -1 where there was no answer."""
    entity = AE("SENDER")
    entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = 30
    for context in {(film.SOPClassUID, film.file_meta.TransferSyntaxUID) for film in films}:
        entity.add_requested_context(*context)
    association = entity.associate("127.0.0.1", port, ae_title=title)
    if not association.is_established:
        return [-1] * len(films)
    statuses = []
    for one in films:
        try:
            statuses.append(int(association.send_c_store(one).get("Status", -1)))
        except RuntimeError:  # the association was ended
            statuses.append(-1)
    association.release()
    return statuses


def echo(port: int, title: str = "NANOCXR", calling: str = "SENDER") -> bool:
    """Whether the node answers C-ECHO."""
    entity = AE(calling)
    entity.add_requested_context(VERIFICATION)
    association = entity.associate("127.0.0.1", port, ae_title=title)
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return bool(status.get("Status") == 0)


def until(happened: Callable[[], bool], node: Node) -> None:
    """Wait, and show the node's log where it is in vain."""
    try:
        wait_until(happened)
    except AssertionError:
        raise AssertionError(node.log) from None


def send_until_stored(node: Node, one: Dataset) -> None:
    """Send a film as a modality does: again, until it is answered."""
    until(lambda: send(node.port, one) == [0], node)

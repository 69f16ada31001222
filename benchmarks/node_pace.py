"""How fast a node takes films, and how soon their results are in the archive.

    python -m benchmarks.node_pace [--received 200] [--read 40]

Receiving: storescu (DCMTK) sends JPEG 2000 films, in one association and in four at once, to the
part of the node that receives, which flushes each to the disk before it answers. Prints films a
second, and the highest memory of the process.

Reading: the same films, through a node with the default model, into Orthanc; and the same to
`/predict` alone, from as many threads as the node has readers. Prints films a second, for a report
alone and for all that is made by default, by C-STORE and by STOW-RS, and the median time from
sending one film to an idle node until its results are delivered.

Needs the Debian packages dcmtk, orthanc and orthanc-dicomweb.
"""

import argparse
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom import dcmread
from pydicom.uid import UID

from clients import ChestXrayClient
from clients.dicom.minimal import minimal
from clients.dicom.node.config import Limits
from clients.dicom.node.rows import BUSY_SECONDS
from tests.clients.dicom.node.peers import Node, archive, node, to_archive, until
from tests.clients.dicom.node.test_spool import RECEIVE
from tests.clients.dicom.tools import tool
from tests.e2e.conftest import running, sample
from tests.ports import free_port
from tests.sources import ROOT

FILM = "RG1_J2KI.dcm"
ASSOCIATIONS = (1, 4)
IDLE_FILMS = 9
READERS = Limits().readers
REPORT, ALL = '["sr"]', '["sr", "sc", "gsps"]'


def copies(folder: Path, count: int) -> Path:
    """Write so many films, each of a study of its own."""
    folder.mkdir()
    film = dcmread(BytesIO(sample(FILM)))
    for number in range(count):
        uid = f"2.25.{time.time_ns()}{number:06}"
        film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = UID(f"{uid}.1")
        film.SeriesInstanceUID, film.StudyInstanceUID = f"{uid}.2", f"{uid}.3"
        film.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


def sent(port: int, folders: Sequence[Path]) -> float:
    """Send each folder in an association of its own, all at once; seconds until all are stored."""
    options = ["-xw", "-R", "-aec", "NANOCXR", "+sd", "127.0.0.1", str(port)]
    start = time.perf_counter()
    senders = [subprocess.Popen([tool("storescu"), *options, str(one)]) for one in folders]
    for sender in senders:
        if sender.wait():
            raise SystemExit("a film was not stored")
    return time.perf_counter() - start


@contextmanager
def receiver(folder: Path) -> Iterator[tuple[int, int]]:
    """Run what receives; its port and process."""
    folder.mkdir()
    config, port = folder / "node.toml", free_port()
    config.write_text(
        f'spool = "{folder / "spool"}"\n[receive]\nport = {port}\n'
        '[[destination]]\nname = "no"\nurl = "http://127.0.0.1/"\n'
    )
    process = subprocess.Popen(
        [sys.executable, "-c", RECEIVE, str(config)], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


def peak_mib(pid: int) -> float:
    """The highest resident memory of a process so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    (kib,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kib) / 1024


def receive(root: Path, count: int) -> None:
    """Print how fast films are taken."""
    for associations in ASSOCIATIONS:
        folder = root / f"receive-{associations}"
        folder.mkdir()
        films = [copies(folder / str(one), count // associations) for one in range(associations)]
        with receiver(folder / "node") as (port, pid):
            seconds = sent(port, films)
            rate, peak = count / seconds, peak_mib(pid)
        print(f"received on {associations}: {rate:.1f} films/s, {peak:.0f} MiB")


def predicted(url: str, folder: Path) -> float:
    """Seconds that `/predict` takes for the films of a folder."""
    films = [minimal(path.read_bytes()) for path in sorted(folder.iterdir())]
    with ChestXrayClient(url) as client, ThreadPoolExecutor(READERS) as threads:
        client.predict(films[0])
        start = time.perf_counter()
        list(threads.map(client.predict, films))
        return time.perf_counter() - start


def done(made: Node) -> int:
    """How many films are done, by the spool: asking the node by HTTP takes 30 ms of the cores."""
    with closing(sqlite3.connect(made.spool / "node.db", timeout=BUSY_SECONDS)) as rows:
        (count,) = rows.execute("select count(*) from films where state='done'").fetchone()
    return int(count)


def delivered(made: Node, folder: Path) -> float:
    """Seconds until the archive has the results of the films of a folder."""
    enough = done(made) + len(list(folder.iterdir()))
    start = time.perf_counter()
    sent(made.port, [folder])
    until(lambda: done(made) >= enough, made)
    return time.perf_counter() - start


def read(root: Path, count: int) -> None:
    """Print how fast films are read, and how soon."""
    (root / "service").mkdir()
    with running(root / "service") as service, archive(root / "orthanc") as pacs:
        by_store = to_archive(pacs)
        by_web = f'[[destination]]\nname = "web"\nurl = "{pacs.url}"'
        for name, kinds, destination in (
            ("a report", REPORT, by_store),
            ("all by default", ALL, by_store),
            ("all by default, by STOW-RS", ALL, by_web),
        ):
            folder = root / f"read-{name}"
            folder.mkdir()
            objects = f"[objects]\nkinds = {kinds}"
            with node(folder / "node", service.url, destination, objects) as made:
                delivered(made, copies(folder / "first", 1))
                films = copies(folder / "films", count)
                alone, whole = predicted(service.url, films), delivered(made, films)
                soon = [
                    delivered(made, copies(folder / f"idle-{one}", 1)) for one in range(IDLE_FILMS)
                ]
            print(
                f"{name}: {count / whole:.2f} films/s, {alone / whole:.2f} of /predict alone "
                f"({count / alone:.2f} films/s); one film {statistics.median(soon):.2f} s"
            )


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--received", type=int, default=200)
    parser.add_argument("--read", type=int, default=40)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        receive(Path(folder), arguments.received)
        read(Path(folder), arguments.read)


if __name__ == "__main__":
    main()

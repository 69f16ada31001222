"""Send hostile files to a real service, and look at what they leave behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from clients.scoring.flow import in_flight
from service.errors import ServiceBusy
from service.http.problems import FRAMEWORK, STATUS
from tests.ports import free_port
from tests.sources import ROOT

START_SECONDS = 300.0
ANSWER_SECONDS = 300.0
MIB = 1 << 20
EXPLAIN_EVERY = 50
READING = "reading"
DOCUMENTED = {error.code: int(status) for error, status in STATUS.items()} | {
    code: status for status, (code, _) in FRAMEWORK.items() if status != 500
}


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back for one file."""

    name: str
    status: int
    code: str
    seconds: float

    @property
    def documented(self) -> bool:
        """Whether it is a reading, or a problem with its own status; a failure (500) is none."""
        return self.status == (200 if self.code == READING else DOCUMENTED.get(self.code))


@dataclass(frozen=True, slots=True)
class Footprint:
    """What all processes of a service hold together; ``workers`` are those that BentoML started."""

    mebibytes: float
    processes: int
    open_files: int
    temporary_files: int
    workers: frozenset[int]


@dataclass(frozen=True, slots=True)
class Target:
    """A running service."""

    url: str
    process: psutil.Process
    temporary: Path
    log: Path

    def footprint(self) -> Footprint:
        """Measure; call it while the service is idle."""
        workers = self.process.children()
        family = [self.process, *self.process.children(recursive=True)]
        return Footprint(
            mebibytes=sum(one.memory_info().rss for one in family) / MIB,
            processes=len(family),
            open_files=sum(one.num_fds() for one in family),
            temporary_files=sum(1 for _ in self.temporary.rglob("*")),
            workers=frozenset(one.pid for one in workers),
        )

    def attack(self, files: Iterable[tuple[str, bytes]], at_once: int) -> Iterator[Answered]:
        """Send the files, ``at_once`` at a time, and yield the answers in the order they come."""
        limits = httpx.Limits(max_connections=at_once)
        with (
            httpx.Client(base_url=self.url, timeout=ANSWER_SECONDS, limits=limits) as client,
            ThreadPoolExecutor(at_once) as pool,
        ):

            def ask(item: tuple[int, tuple[str, bytes]]) -> Answered:
                index, (name, data) = item
                path = "/explain" if index % EXPLAIN_EVERY == EXPLAIN_EVERY - 1 else "/predict"
                return _ask(client, path, name, data)

            for _, future in in_flight(pool, ask, enumerate(files), at_once):
                yield future.result()


def _ask(client: httpx.Client, path: str, name: str, data: bytes) -> Answered:
    while True:
        start = time.perf_counter()
        try:
            answer = client.post(path, files={"image": data})
        except httpx.HTTPError as error:
            return Answered(name, 0, type(error).__name__, time.perf_counter() - start)
        seconds = time.perf_counter() - start
        code = READING
        if answer.status_code != 200:
            with suppress(ValueError):
                code = str(answer.json()["code"])
        if code != ServiceBusy.code:
            return Answered(name, answer.status_code, code, seconds)
        time.sleep(0.5)


@contextmanager
def target(model: Path, folder: Path) -> Iterator[Target]:
    """Start `bentoml serve` with this model; logs and temporary files go to ``folder``."""
    port = free_port()
    temporary, log, url = folder / "tmp", folder / "log", f"http://127.0.0.1:{port}"
    temporary.mkdir()
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    with log.open("w") as output:
        process = subprocess.Popen(
            [bentoml, "serve", "service.app:ChestXray", "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env=os.environ
            | {
                "BENTOML_DO_NOT_TRACK": "True",
                "BENTOML_HOME": str(folder / "bentoml"),
                "CXR_MODEL": str(model),
                "TMPDIR": str(temporary),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, url, log)
        yield Target(url, psutil.Process(process.pid), temporary, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"not ready:\n{log.read_text()}")

"""One really running `bentoml serve` for all end-to-end tests."""

import base64
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser
from pydicom.data import get_testdata_file

from service.model.shipped import default_model
from tests.e2e.browser import Screen, chromium, screen
from tests.ports import free_port
from tests.sources import ROOT

SHIPPED = default_model()
SERVE = (str(Path(sys.executable).with_name("bentoml")), "serve", "service.app:ChestXray")
START_SECONDS = 120.0
# The command `bentoml` in forks of a process that has imported what it would import.
PREPARED = """
import json, os, sys
import bentoml_cli.cli
import service.app

for line in sys.stdin:
    words, variables, output = json.loads(line)
    child = os.fork()
    if child == 0:
        file = os.open(output, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.environ.clear()
        os.environ.update(variables)
        sys.argv = ["bentoml", *words]
        sys.exit(bentoml_cli.cli.cli())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
Command = Callable[[Sequence[str], Mapping[str, str], Path], int]


@dataclass(frozen=True)
class Server:
    """A running service: its address, its log, the model folder it serves, its supervisor."""

    url: str
    log: Path
    model: Path
    process: "subprocess.Popen[bytes]"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service as an operator starts it, on a free port, with the model that ships."""
    folder = tmp_path_factory.mktemp("serve")
    temporary = folder / "temporary"
    temporary.mkdir()
    with running(folder, TMPDIR=str(temporary)) as server:
        yield server


@contextmanager
def running(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    within: Sequence[str] = (),
    **variables: str,
) -> Iterator[Server]:
    """Run the service with these environment variables; its log and store are in ``folder``.

    ``within`` is a command that runs it, such as ``("prlimit", "--fsize=0")``.
    """
    with started(folder, host=host, within=within, **variables) as server:
        wait_until_ready(server.process, server.url, server.log)
        yield server


@contextmanager
def started(
    folder: Path, *, host: str = "127.0.0.1", within: Sequence[str] = (), **variables: str
) -> Iterator[Server]:
    """As :func:`running`, without waiting for it to be ready."""
    log, port = folder / "log", free_port()
    command = [*within, *SERVE]
    environment = os.environ | {
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(folder / "bentoml"),
        "CXR_MODEL": str(SHIPPED),
        **variables,
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--host", host, "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Server(f"http://127.0.0.1:{port}", log, SHIPPED, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def bentoml() -> Iterator[Command]:
    """`bentoml` with these words and variables, its output in a file: how it ends.

    For what ends before it listens; importing takes most of that. A setting that is read by an
    import needs a real start.
    """
    with subprocess.Popen(
        [sys.executable, "-c", PREPARED],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        asked, ends = process.stdin, process.stdout
        assert asked
        assert ends

        def run(words: Sequence[str], variables: Mapping[str, str], output: Path) -> int:
            print(json.dumps([words, dict(variables), str(output)]), file=asked, flush=True)
            if not select.select([ends], [], [], START_SECONDS)[0]:
                os.killpg(process.pid, signal.SIGKILL)  # it serves, and would for ever
                pytest.fail(f"bentoml {' '.join(words)} did not end: {output.read_text()}")
            return int(ends.readline())

        yield run
        asked.close()


@pytest.fixture(scope="session")
def http(server: Server) -> Iterator[httpx.Client]:
    """A plain HTTP client of the service."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; not of the session, as no other test can start an event loop meanwhile."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def tab(browser: Browser, server: Server) -> Iterator[Screen]:
    """The tab of :func:`shown`; a tab for each test would take as long again as its page."""
    with screen(browser, server.url) as tab:
        yield tab


@pytest.fixture
def shown(tab: Screen) -> Iterator[Screen]:
    """The page at /ui, just opened; it keeps nothing from one opening to the next."""
    yield tab.renew()
    tab.check()


@pytest.fixture(scope="session")
def patient() -> tuple[bytes, bytes]:
    """Synthetic radiographs, healthy and with a pneumonia that the model finds."""
    golden = json.loads((SHIPPED / "golden.json").read_text())["readings"]
    films = [base64.b64decode(entry["image"]) for entry in golden]
    return films[0], films[-1]


def wait_until_ready(
    process: "subprocess.Popen[bytes]", url: str, log: Path, status: int = 200
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz").status_code == status:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not ready:\n{log.read_text()}")


def sample(name: str) -> bytes:
    """A real DICOM file of the pydicom-data package; nothing is downloaded."""
    path = get_testdata_file(name, download=False)
    assert path is not None, f"{name} is not in pydicom-data"
    return Path(str(path)).read_bytes()

"""A disk that is full, or that may not be written, takes nothing from the service."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import SERVE, SHIPPED, Server, running
from tests.factories import png_bytes
from tests.ports import free_port
from tests.processes import descendants, serving_process, wait_until, wait_until_gone
from tests.sources import ROOT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="tmpfs and prlimit are Linux'"),
]

STORES = ("bentos", "models", "envs", "tmp")  # what BentoML makes in BENTOML_HOME
READINGS = ("/predict", "/explain", "/view")
OTHERS = ("/livez", "/healthz", "/readyz", "/metrics", "/model", "/ui/")
NO_FILE = ("prlimit", "--fsize=0")  # no process may write a byte to a file, wherever it is


@contextmanager
def disk(folder: Path, options: str = "size=2m") -> Iterator[Path]:
    """A disk of 2 MB at this folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode and any(word in done.stderr for word in ("permission", "superuser")):
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave no byte on it."""
    with (disk / "full").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    assert os.statvfs(disk).f_bavail == 0


def read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def temporary(folder: Path) -> Path:
    made = folder / "temporary"
    made.mkdir()
    return made


def reads(server: Server) -> bool:
    try:
        return ask(server, "/predict").status_code == 200
    except httpx.TransportError:
        return False


def connects(server: Server) -> bool:
    address = httpx.URL(server.url)
    try:
        with socket.create_connection((address.host, address.port or 80)):
            return True
    except ConnectionError:
        return False


def ask(server: Server, path: str) -> httpx.Response:
    if path in OTHERS:
        return httpx.get(server.url + path, timeout=120)
    return httpx.post(server.url + path, files={"image": png_bytes()}, timeout=120)


@pytest.fixture(scope="module", params=["while it serves", "before it starts"])
def full(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The service with its log, BENTOML_HOME and TMPDIR on a disk that is full."""
    with disk(tmp_path_factory.mktemp("disk") / "full") as folder:
        variables = {"TMPDIR": str(temporary(folder))}
        if request.param == "before it starts":
            (folder / "log").touch()
            fill(folder)
            with running(folder, **variables) as server:
                yield server
        else:
            with running(folder, **variables) as server:
                assert reads(server)
                fill(folder)
                yield server


class TestFull:
    @pytest.mark.parametrize("path", READINGS + OTHERS)
    def test_answers(self, full: Server, path: str) -> None:
        assert ask(full, path).status_code == 200

    def test_counts(self, full: Server) -> None:
        def counted() -> float:
            answer = ask(full, "/metrics").text
            return sum(
                sample.value
                for family in text_string_to_metric_families(answer)
                for sample in family.samples
                if sample.name == "nanocxr_requests_total" and sample.labels["route"] == "/predict"
            )

        before = counted()
        assert reads(full)
        wait_until(lambda: counted() == before + 1)  # counted when it is answered

    @pytest.mark.parametrize("full", ["while it serves"], indirect=True)
    def test_process_that_dies_is_replaced(self, full: Server) -> None:
        """By one that starts on a full disk; where the first did too, nothing else is tried."""
        first = serving_process(full.process.pid)
        first.kill()
        wait_until(lambda: reads(full))
        assert serving_process(full.process.pid) != first


class TestNoFile:
    def test_serves_where_no_file_can_be_written(self, tmp_path: Path) -> None:
        folder = temporary(tmp_path)
        with running(tmp_path, within=NO_FILE, TMPDIR=str(folder)) as server:
            for path in READINGS + OTHERS:
                assert ask(server, path).status_code == 200
            serving_process(server.process.pid).kill()
            wait_until(lambda: reads(server))
        assert list(folder.iterdir()) == []

    def test_says_why_it_cannot_start(self, tmp_path: Path) -> None:
        """No file can be written anywhere, and no folder be made in TMPDIR either."""
        with disk(tmp_path / "read-only") as folder:
            read_only(folder)
            status, said = failing(NO_FILE, BENTOML_HOME=tmp_path / "home", TMPDIR=folder)
        assert status != 0
        assert f"No temporary folder can be made in {folder} (Read-only file system)" in said
        assert "set TMPDIR" in said
        assert "Traceback" not in said


class TestReadOnlyHome:
    def test_serves_and_leaves_nothing(self, tmp_path: Path) -> None:
        folder = temporary(tmp_path)
        with disk(tmp_path / "home") as home:
            for store in STORES:
                (home / store).mkdir()
            read_only(home)
            with running(tmp_path, BENTOML_HOME=str(home), TMPDIR=str(folder)) as server:
                for path in READINGS + OTHERS:
                    assert ask(server, path).status_code == 200
        assert list(folder.iterdir()) == []

    def test_names_the_folder_that_is_missing(self, tmp_path: Path) -> None:
        """BentoML makes its folders before it loads the service, so the words are Python's."""
        with disk(tmp_path / "home") as home:
            read_only(home)
            status, said = failing(BENTOML_HOME=home)
        assert status != 0
        last = said.strip().splitlines()[-1]
        assert last == f"OSError: [Errno 30] Read-only file system: '{home}/bentos'"


class TestLeftovers:
    def test_nothing_after_an_orderly_end(self, tmp_path: Path) -> None:
        folder = temporary(tmp_path)
        with running(tmp_path, TMPDIR=str(folder)) as server:
            assert reads(server)
            serving_process(server.process.pid).kill()
            wait_until(lambda: reads(server))
            assert [path.name[:12] for path in folder.iterdir()] == ["bentoml-uds-"]
        assert list(folder.iterdir()) == []
        assert not any(path.is_file() for path in (tmp_path / "bentoml").rglob("*"))

    def test_one_empty_folder_and_no_process_after_the_supervisor_was_killed(
        self, tmp_path: Path
    ) -> None:
        folder = temporary(tmp_path)
        with running(tmp_path, TMPDIR=str(folder)) as server:
            assert reads(server)
            processes = descendants(server.process.pid)
            assert len(processes) > 1
            server.process.kill()
            wait_until_gone(processes)
            # The last thread of a process closes its files.
            wait_until(lambda: not connects(server))
        (left,) = folder.iterdir()
        assert left.name.startswith("bentoml-uds-")
        assert list(left.iterdir()) == []


def failing(within: Sequence[str] = (), **variables: Path) -> tuple[int, str]:
    """Exit status and all words of a service that does not start."""
    environment = {"BENTOML_DO_NOT_TRACK": "True", "CXR_MODEL": str(SHIPPED)}
    done = subprocess.run(
        [*within, *SERVE, "--host", "127.0.0.1", "--port", str(free_port())],
        cwd=ROOT,
        env=os.environ | environment | {name: str(path) for name, path in variables.items()},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr

"""What `bentoml serve` says where it cannot start as told: one sentence, and no traceback."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from service.settings import MOST
from tests.e2e.conftest import Command, Server, running, started, wait_until_ready
from tests.e2e.test_guard import SECONDS, environment
from tests.factories import png_bytes
from tests.ports import free_port
from tests.sources import ROOT

pytestmark = pytest.mark.e2e

PRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that something listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


WORDS = ("serve", "service.app:ChestXray")
Refusal = Callable[..., str]


def variables_of(folder: Path, **variables: object) -> dict[str, str]:
    """Loopback and a free port, unless told otherwise."""
    default = {"BENTOML_HOST": "127.0.0.1", "BENTOML_PORT": free_port()}
    return environment(folder, folder) | {k: str(v) for k, v in (default | variables).items()}


def sentence_of(status: int, said: str) -> str:
    """The sentence that `bentoml serve` ends with."""
    assert status == 1, said
    assert "Traceback" not in said
    (sentence,) = re.findall(r"^Error: \[serve\] `serve` failed: (.*)$", said, re.MULTILINE)
    return str(sentence)


def started_refusal(folder: Path, *words: str, prefix: tuple[str, ...] = (), **more: object) -> str:
    """How the command ends where it is really started."""
    done = subprocess.run(
        [*prefix, str(Path(sys.executable).with_name("bentoml")), *WORDS, *words],
        cwd=ROOT,
        env=variables_of(folder, **more),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return sentence_of(done.returncode, done.stdout + done.stderr)


@pytest.fixture
def refusal(bentoml: Command, tmp_path: Path) -> Refusal:
    """How the command ends with these words and variables."""

    def refusal(*words: str, **more: object) -> str:
        output = tmp_path / "said"
        status = bentoml((*WORDS, *words), variables_of(tmp_path, **more), output)
        return sentence_of(status, output.read_text())

    return refusal


class TestAddress:
    def test_port_in_use(self, tmp_path: Path, taken: int) -> None:
        said = started_refusal(tmp_path, "--port", str(taken))
        assert f"--port {taken}: something listens there already" in said
        assert "choose another port" in said

    def test_port_in_use_while_developing(self, refusal: Refusal, taken: int) -> None:
        said = refusal("--port", str(taken), "--development", "--reload")
        assert f"--port {taken}: something listens there already" in said

    def test_port_of_the_environment(self, refusal: Refusal) -> None:
        said = refusal(BENTOML_PORT=70_000)
        assert said == "--port 70000 is no port from 1 to 65535. Correct --port (BENTOML_PORT)."

    def test_name_instead_of_an_address(self, refusal: Refusal) -> None:
        said = refusal("--host", "localhost")
        assert "--host 'localhost' is not an IP address" in said
        assert "127.0.0.1" in said

    @pytest.mark.skipif(
        not PRIVILEGED.is_file() or int(PRIVILEGED.read_text()) <= 80,
        reason="every port is everybody's here",
    )
    @pytest.mark.skipif(
        os.geteuid() == 0 and shutil.which("setpriv") is None,
        reason="root needs setpriv (util-linux) to give the privilege away",
    )
    def test_privileged_port(self, tmp_path: Path) -> None:
        prefix = ("setpriv", "--bounding-set", "-net_bind_service") if os.geteuid() == 0 else ()
        said = started_refusal(tmp_path, "--port", "80", prefix=prefix)
        assert "--port 80: this port needs privileges. Choose one above 1023" in said


class TestSettings:
    def test_malformed(self, refusal: Refusal) -> None:
        said = refusal(CXR_THREADS="100000")
        assert said.startswith("CXR_THREADS='100000' is no integer from 0 to 1024. Correct it")

    def test_malformed_while_modules_are_imported(self, tmp_path: Path) -> None:
        said = started_refusal(tmp_path, CXR_LOG="xml")
        assert said.startswith("CXR_LOG='xml' is neither json nor text. Correct it")

    def test_file_of_keys_that_cannot_be_read(self, refusal: Refusal, tmp_path: Path) -> None:
        said = refusal(CXR_API_KEYS=tmp_path / "gone.txt")
        assert said.startswith(f"CXR_API_KEYS: the keys file {tmp_path / 'gone.txt'} cannot be")
        assert "python -m service.auth.keys new" in said

    @pytest.fixture(scope="class")
    def odd(self, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
        """The service with every number as large as it may be, and a variable that it ignores."""
        largest = {name: str(most) for name, most in MOST.items()}
        others = {"CXR_MODEL": str(tiny_model), "CXR_APIKEYS": "secret"}
        with running(tmp_path_factory.mktemp("odd"), **largest, **others) as server:
            yield server

    def test_every_number_may_be_as_large_as_it_may(self, odd: Server) -> None:
        answer = httpx.post(f"{odd.url}/predict", files={"image": png_bytes()}, timeout=SECONDS)
        assert answer.status_code == 200, answer.text

    def test_misspelt_variable_is_warned_of_without_its_value(self, odd: Server) -> None:
        said = odd.log.read_text()
        (line,) = [line for line in said.splitlines() if "CXR_APIKEYS" in line]
        assert json.loads(line)["level"] == "warning"
        assert "did you mean CXR_API_KEYS?" in line
        assert "secret" not in said


class TestNoModel:
    """The process stays: one that ended would be started again for ever, and answer nobody."""

    def test_key_that_is_missing(self, tmp_path: Path, tiny_model: Path) -> None:
        variables = {"CXR_MODEL": str(tiny_model), "CXR_MODEL_KEY": str(tmp_path / "gone.pub")}
        with started(tmp_path, **variables) as server:
            wait_until_ready(server.process, server.url, server.log, status=503)
            said = server.log.read_text()
        assert "The public key 'gone.pub' cannot be read" in said
        assert "Set CXR_MODEL_KEY to the public key" in said
        assert "Traceback" not in said

"""What becomes of requests when processes of the service end, wanted or not."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.conftest import Server, running
from tests.factories import png_bytes
from tests.processes import (
    decoders_of,
    descendants,
    has_work,
    serving_process,
    suspended,
    wait_until,
    wait_until_gone,
)

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service of these tests alone."""
    folder = tmp_path_factory.mktemp("lifetime")
    with running(folder, CXR_DECODE_SECONDS="120") as server:
        yield server


def status(server: Server) -> int:
    return httpx.post(
        f"{server.url}/predict", files={"image": png_bytes()}, timeout=120
    ).status_code


def reads(server: Server) -> bool:
    try:
        return status(server) == 200
    except httpx.TransportError:
        return False


class TestDeath:
    def test_serving_process_is_replaced_and_the_log_says_why(self, server: Server) -> None:
        """Nobody may be left of it who holds memory or a patient's film."""
        for name in ("SIGKILL", "SIGSEGV"):
            first = serving_process(server.process.pid)
            decoders = decoders_of(server.process.pid)
            assert decoders
            first.send_signal(signal.Signals[name])
            wait_until_gone(decoders)
            wait_until(lambda: reads(server))
            second = serving_process(server.process.pid)
            assert second != first
            (end,) = told(server, f"Serving process {first.pid} ended by {name}: ")
            assert end["level"] == "error"
            assert end["message"].endswith(" Another takes its place.")
            assert ("want of memory" in end["message"]) == (name == "SIGKILL")
            assert told(server, f"process {second.pid} takes the place of {first.pid}.")

    def test_container_ends_with_its_serving_process(self, tmp_path: Path) -> None:
        with running(tmp_path, BENTOML_CONTAINERIZED="true") as server:
            serving_process(server.process.pid).kill()
            assert server.process.wait(60) != 0
            (end,) = told(server, "ended by SIGKILL")
            assert end["message"].endswith(" The service ends.")


class TestTermination:
    """Last, as it ends the service of the others."""

    def test_answers_what_it_has_accepted(self, server: Server) -> None:
        said = told(server, "Serving process")
        decoders = decoders_of(server.process.pid)
        assert decoders
        for _ in decoders:  # none is still starting when it is stopped
            assert status(server) == 200
        with ThreadPoolExecutor(6) as clients:
            with suspended(decoders):
                answers = [clients.submit(status, server) for _ in range(6)]
                wait_until(lambda: all(map(has_work, decoders)))
                wait_until(lambda: _connections(server, psutil.CONN_ESTABLISHED) == 6)
                server.process.send_signal(signal.SIGTERM)
                wait_until(lambda: _connections(server, psutil.CONN_LISTEN) == 0)
                assert not any(answer.done() for answer in answers)
            assert [answer.result() for answer in answers] == [200] * 6
        assert server.process.wait(60) == 0
        assert not descendants(server.process.pid)
        assert told(server, "Serving process") == said  # nothing of the orderly end


def told(server: Server, words: str) -> list[dict[str, str]]:
    """Lines of the log with these words in their message."""
    lines = [line for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in map(json.loads, lines) if words in line["message"]]


def _connections(server: Server, status: str) -> int:
    return sum(
        connection.status == status
        for connection in serving_process(server.process.pid).net_connections("tcp")
    )

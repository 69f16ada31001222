"""What becomes of requests when processes of the service end, wanted or not."""

import signal
import socket
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
    suspended,
    wait_until,
    wait_until_gone,
)

pytestmark = pytest.mark.e2e


def status(server: Server) -> int:
    return httpx.post(
        f"{server.url}/predict", files={"image": png_bytes()}, timeout=120
    ).status_code


def reads(server: Server) -> bool:
    try:
        return status(server) == 200
    except httpx.TransportError:
        return False


def connects(server: Server) -> bool:
    address = httpx.URL(server.url)
    try:
        with socket.create_connection((address.host, address.port or 80)):
            return True
    except ConnectionError:
        return False


def serving_process(server: Server) -> psutil.Process:
    (process,) = psutil.Process(server.process.pid).children()
    return process


class TestTermination:
    def test_answers_what_it_has_accepted_and_refuses_the_rest(self, tmp_path: Path) -> None:
        with running(tmp_path, CXR_DECODE_SECONDS="120") as server:
            decoders = decoders_of(server.process.pid)
            for _ in decoders:  # none is still starting when it is stopped
                assert status(server) == 200
            with ThreadPoolExecutor(6) as clients:
                with suspended(decoders):
                    answers = [clients.submit(status, server) for _ in range(6)]
                    wait_until(lambda: all(map(has_work, decoders)))
                    wait_until(lambda: _connections(server) == 6)
                    server.process.send_signal(signal.SIGTERM)
                    wait_until(lambda: not connects(server))
                    assert not any(answer.done() for answer in answers)
                assert [answer.result() for answer in answers] == [200] * 6
            assert server.process.wait(60) == 0
            assert not descendants(server.process.pid)


class TestOrphans:
    """Nobody may be left who holds memory, the port, or a patient's film."""

    def test_all_end_with_a_supervisor_that_was_killed(self, tmp_path: Path) -> None:
        with running(tmp_path) as server:
            below = descendants(server.process.pid)
            assert {process.pid for process in decoders_of(server.process.pid)} < {
                process.pid for process in below
            }
            server.process.kill()
            wait_until_gone(below)
            wait_until(
                lambda: not connects(server)
            )  # the last thread of a process closes its files

    def test_decoders_end_with_a_serving_process_that_was_killed(self, tmp_path: Path) -> None:
        with running(tmp_path) as server:
            serving = serving_process(server)
            decoders = decoders_of(server.process.pid)
            assert decoders
            serving.kill()
            wait_until_gone(decoders)


class TestDeath:
    def test_serving_process_is_replaced(self, tmp_path: Path) -> None:
        with running(tmp_path) as server:
            first = serving_process(server)
            first.kill()
            wait_until(lambda: reads(server))
            assert serving_process(server) != first

    def test_container_ends_with_its_serving_process(self, tmp_path: Path) -> None:
        with running(tmp_path, BENTOML_CONTAINERIZED="true") as server:
            serving_process(server).kill()
            assert server.process.wait(60) != 0


def _connections(server: Server) -> int:
    return sum(
        connection.status == psutil.CONN_ESTABLISHED
        for connection in serving_process(server).net_connections("tcp")
    )

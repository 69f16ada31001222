"""Strangers who keep the service waiting do not keep it from its users."""

import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from circus.client import CircusClient
from circus.exc import CallError

from benchmarks.load import send, upload
from benchmarks.strangers import dripping
from service.http.admission import ARRIVING_PER_REQUEST
from tests.e2e.conftest import Server, running
from tests.factories import png_bytes
from tests.processes import PATIENCE, descendants, wait_until
from tests.sockets import read_to_end

pytestmark = pytest.mark.e2e

SLOW = 50
STRANGER = "127.0.0.2"  # loopback is a whole network
HEAD = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
UNFINISHED = f"{HEAD}Content-Length: 999999\r\n\r\n--x"


@contextmanager
def connected(server: Server, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    address = httpx.URL(server.url)
    with socket.create_connection(
        (address.host, address.port or 80), timeout=PATIENCE, source_address=(source, 0)
    ) as client:
        yield client


def predict(server: Server, source: str) -> int:
    transport = httpx.HTTPTransport(local_address=source)
    with httpx.Client(transport=transport, timeout=PATIENCE) as client:
        return client.post(f"{server.url}/predict", files={"image": png_bytes()}).status_code


@pytest.fixture(scope="module")
def ends(server: Server) -> dict[str, bytes]:
    """What comes to those who send a part of a request and no more: they wait at the same time."""
    sent = ("", HEAD, UNFINISHED)
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in sent]
        for client, words in zip(clients, sent, strict=True):
            client.sendall(words.encode())
        return dict(zip(sent, map(read_to_end, clients), strict=True))


class TestSlowBodies:
    @pytest.mark.alone
    def test_take_no_place_of_those_that_are_read(self, tmp_path: Path) -> None:
        with running(tmp_path, CXR_MAX_REQUESTS="16") as server:
            with dripping(server.url, SLOW) as slow:
                slow.wait_until_under_way()
                request = upload(server.url, "/predict", png_bytes())
                load = send(server.url, request, clients=8, requests=80)
            assert load.statuses == {200: 80}
            assert slow.begun >= SLOW

    @pytest.mark.alone
    def test_of_one_client_leave_places_to_others(self, tmp_path: Path) -> None:
        with running(tmp_path, CXR_MAX_REQUESTS="1") as server:
            slow = dripping(server.url, ARRIVING_PER_REQUEST, source=STRANGER, bytes_a_turn=8192)
            with slow as strangers:  # brisk enough to stay
                strangers.wait_until_under_way()
                wait_until(lambda: predict(server, STRANGER) == 503)
                assert [predict(server, "127.0.0.1") for _ in range(3)] == [200] * 3

    def test_are_refused_and_their_connection_is_closed(self, ends: dict[str, bytes]) -> None:
        answer = ends[UNFINISHED]
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert b"upload_timeout" in answer


class TestConnections:
    @pytest.mark.parametrize("sent", ["", HEAD])
    def test_without_the_head_of_a_request_are_closed(
        self, ends: dict[str, bytes], sent: str
    ) -> None:
        assert ends[sent] == b""

    def test_with_two_lengths_of_a_body_are_closed(self, server: Server) -> None:
        smuggled = "GET /model HTTP/1.1\r\nHost: x\r\n\r\n"
        body = f"0\r\n\r\n{smuggled}"
        head = f"{HEAD}Transfer-Encoding: chunked\r\nContent-Length: {len(body)}\r\n\r\n"
        with connected(server) as client:
            client.sendall((head + body).encode())
            answer = read_to_end(client)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"malformed_body" in answer
        assert answer.count(b"HTTP/1.1") == 1


class TestSockets:
    def test_none_is_a_file_and_the_folder_for_them_is_private(self, server: Server) -> None:
        supervisor = psutil.Process(server.process.pid)
        listening = {
            connection.laddr
            for process in (supervisor, *descendants(supervisor.pid))
            for connection in process.net_connections("unix")
            if connection.laddr
        }
        assert listening == set()
        folders = list(Path(supervisor.environ()["TMPDIR"]).glob("bentoml-uds-*"))
        assert len(folders) == 1
        assert stat.S_IMODE(folders[0].stat().st_mode) == 0o700

    def test_supervisor_takes_no_command(self, server: Server) -> None:
        supervisor = psutil.Process(server.process.pid)
        ports = {
            connection.laddr.port
            for connection in supervisor.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        } - {httpx.URL(server.url).port}
        assert ports  # of commands, and of events
        for port in ports:
            client = CircusClient(endpoint=f"tcp://127.0.0.1:{port}", timeout=2.0)
            with pytest.raises(CallError, match=r"[Tt]imed out"):
                client.send_message("list")
            client.stop()

"""A real server with this class of connections, and clients that do not do their part."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.http import connection
from service.http.connection import BoundedConnection
from service.http.pieces import PiecesMiddleware
from tests.processes import PATIENCE, wait_until
from tests.sockets import read_to_end

SHORT, LONG = 0.2, 3600.0
LARGE = 32 * 1024 * 1024  # more than the kernels of both ends hold
ASK = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"


class Served:
    """A server in a thread, and what became of the requests."""

    def __init__(self, keep_alive: int) -> None:
        self.answered = 0
        routes = [Route("/large", self._large), Route("/echo", self._echo, methods=["POST"])]
        app = PiecesMiddleware(
            Starlette(routes=[*routes, Route("/early", self._early, methods=["POST"])])
        )
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self.server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=BoundedConnection,
                log_config=None,
                lifespan="off",
                timeout_keep_alive=keep_alive,
            )
        )
        self._thread = threading.Thread(target=self.server.run, args=([self._socket],))

    async def _large(self, _: Request) -> Response:
        return Counting(self)

    async def _echo(self, request: Request) -> Response:
        return Response(await request.body())

    async def _early(self, _: Request) -> Response:
        return PlainTextResponse("not read", 401)

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self.server.started)

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self._thread.join()
        self._socket.close()


class Counting(Response):
    """A large answer that tells when all of it was sent, or nobody was there any more."""

    def __init__(self, served: Served) -> None:
        super().__init__(bytes(LARGE))
        self._served = served

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        await super().__call__(scope, receive, send)
        self._served.answered += 1


@contextmanager
def serving(*, keep_alive: int = 3600) -> Iterator[Served]:
    served = Served(keep_alive)
    served.start()
    try:
        yield served
    finally:
        served.stop()


@contextmanager
def connected(served: Served) -> Iterator[socket.socket]:
    with socket.create_connection(served.address, timeout=PATIENCE) as client:
        yield client


def read_answer(client: socket.socket, length: int) -> bytes:
    with client.makefile("rb") as answers:
        while answers.readline().strip():  # the head
            pass
        return answers.read(length)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", SHORT)
    monkeypatch.setattr(connection, "ANSWER_SECONDS", SHORT)
    monkeypatch.setattr(connection, "UPLOAD_SECONDS", SHORT)


@pytest.mark.usefixtures("short")
class TestClosed:
    @pytest.mark.parametrize("sent", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\nX: "])
    def test_without_a_whole_head(self, sent: bytes) -> None:
        with serving() as served, connected(served) as client:
            client.sendall(sent)
            assert read_to_end(client) == b""

    def test_where_the_head_comes_byte_by_byte(self) -> None:
        with serving() as served, connected(served) as client:
            over = threading.Event()

            def drip() -> None:
                try:
                    client.sendall(b"GET / HTTP/1.1\r\nX: ")
                    while not over.wait(SHORT / 4):
                        client.sendall(b"x")
                except OSError:
                    pass

            thread = threading.Thread(target=drip)
            thread.start()
            assert read_to_end(client) == b""
            over.set()
            thread.join()

    def test_where_the_next_head_does_not_end(self) -> None:
        with serving() as served, connected(served) as client:
            client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab")
            assert read_answer(client, 2) == b"ab"
            client.sendall(b"GET /lar")
            assert read_to_end(client) == b""

    def test_where_the_rest_of_an_unread_body_does_not_end(self) -> None:
        with serving() as served, connected(served) as client:
            client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na")
            assert read_answer(client, 8) == b"not read"
            client.sendall(b"b")
            assert read_to_end(client) == b""

    def test_where_an_answer_is_not_taken(self, caplog: pytest.LogCaptureFixture) -> None:
        with serving() as served, connected(served) as client:
            client.sendall(ASK)
            wait_until(lambda: served.answered == 1)
            wait_until(lambda: served.connections == 0)
            assert len(read_to_end(client)) < LARGE
        assert "did not take its answer" in caplog.text

    def test_where_the_end_of_an_answer_is_not_taken(self) -> None:
        # Asked to close, uvicorn waits for what it has handed to asyncio.
        with serving() as served, connected(served) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(ASK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            wait_until(lambda: served.connections == 0)


class TestKept:
    def test_answers_wait_for_their_client(self) -> None:
        with serving() as served, connected(served) as client:
            client.sendall(ASK)
            assert client.recv(4096)  # it is on its way, and must not be over
            assert served.answered == 0
            read_answer_rest(client)
            wait_until(lambda: served.answered == 1)

    def test_slow_client_that_is_in_time_gets_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "ANSWER_SECONDS", LONG)
        with serving() as served, connected(served) as client:
            for _ in range(2):
                client.sendall(ASK)
                assert read_answer(client, LARGE) == bytes(LARGE)

    def test_timers_of_one_answer_do_not_end_the_next(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits = []
        begin = connection._Deadline.begin

        def noting(wait: connection._Deadline, seconds: float) -> None:
            begin(wait, seconds)
            waits.append(wait)

        monkeypatch.setattr(connection._Deadline, "begin", noting)
        with serving() as served, connected(served) as client:
            client.sendall(ASK)
            # Of the head, and of the answer: more than fits between the two before it is read.
            wait_until(lambda: len(set(map(id, waits))) == 2)
            read_answer(client, LARGE)
            wait_until(lambda: all(wait._timer is None for wait in waits))

    def test_idle_connection_is_uvicorns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "HEAD_SECONDS", SHORT)
        with serving() as served, connected(served) as client:
            ask = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"
            client.sendall(ask)
            assert read_answer(client, 2) == b"ab"
            client.settimeout(5 * SHORT)
            with pytest.raises(TimeoutError):
                client.recv(1)
            client.settimeout(PATIENCE)
            client.sendall(ask)
            assert read_answer(client, 2) == b"ab"


def read_answer_rest(client: socket.socket) -> None:
    """Read on until nothing of the large answer can be missing."""
    left = LARGE - 4096
    while left > 0:
        left -= len(client.recv(1 << 16))

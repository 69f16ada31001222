"""HTTP as no library sends it: byte by byte, over a socket."""

import re
import socket
import time
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.conftest import Server
from tests.factories import png_bytes
from tests.serving import FORM, form, part, problem

pytestmark = pytest.mark.e2e

SECONDS = 30.0
BODY = form(part(png_bytes()))
CLOSE = b"Connection: close\r\n"


def request(
    head: str, body: bytes = b"", *, headers: bytes = CLOSE, host: bytes = b"Host: service\r\n"
) -> bytes:
    return f"{head} HTTP/1.1\r\n".encode() + host + headers + b"\r\n" + body


def post(body: bytes, headers: bytes) -> bytes:
    kind = f"Content-Type: {FORM}\r\n".encode()
    return request("POST /predict", body, headers=kind + headers + CLOSE)


def connect(server: Server) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=SECONDS)


def answers(server: Server, sent: bytes, *, end: bool = False) -> list[tuple[int, bytes]]:
    """Status and what follows of every answer until the service closes the connection."""
    received = b""
    with connect(server) as connection, suppress(OSError):  # closed before all was read
        connection.sendall(sent)
        if end:
            connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65_536):
            received += piece
    pieces = re.split(rb"HTTP/1\.1 (\d{3}) ", received)[1:]
    return [(int(s), rest) for s, rest in zip(pieces[::2], pieces[1::2], strict=True)]


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


LENGTH = b"Content-Length: %d\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
# What is sent, the statuses that come back (none: the connection may just be closed), and the code
# of the first where it is a problem.
SENT: dict[str, tuple[bytes, list[int], str]] = {
    "chunks of any size": (post(chunked(BODY[:1], BODY[1:50], BODY[50:]), CHUNKED), [200], ""),
    "chunk without a size": (post(b"no size\r\n" + BODY, CHUNKED), [400], ""),
    "length below the body's": (post(BODY, LENGTH % 60), [400], "malformed_body"),
    "length that is no number": (post(BODY, b"Content-Length: -5\r\n"), [400], ""),
    "two lengths": (post(BODY, LENGTH % 5 + LENGTH % len(BODY)), [400], ""),
    "huge announced length": (post(b"", LENGTH % 10**15), [], ""),
    "huge header": (request("GET /livez", headers=b"X: " + b"x" * 200_000 + b"\r\n"), [], ""),
    "no HTTP": (b"\x16\x03\x01 hello\r\n\r\n", [400], ""),
    "no host": (request("GET /livez", host=b""), [400], ""),
    "line break in a header": (request("GET /livez", headers=b"A: b\rC: d\r\n" + CLOSE), [400], ""),
    "unknown method": (request("BREW /predict"), [405], "method_not_allowed"),
    "delete": (request("DELETE /model"), [405], "method_not_allowed"),
    "path that climbs": (request("GET /static_content/../../etc/hostname"), [404], "not_found"),
    "encoded path that climbs": (
        request("GET /static_content/%2e%2e/%2e%2e/etc/hostname"), [404], "not_found"
    ),
    "several requests at once": (
        request("GET /livez", headers=b"") + request("GET /nope", headers=b"") + post(
            BODY, LENGTH % len(BODY)
        ),
        [200, 404, 200],
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SENT)
def test_answer_is_as_documented_and_the_service_goes_on(name: str, server: Server) -> None:
    sent, statuses, code = SENT[name]
    found = answers(server, sent, end=not statuses)
    assert not statuses or [status for status, _ in found] == statuses
    assert not {status for status, _ in found} & {500, 502, 503, 504}
    if code:
        assert f'"code":"{code}"'.encode() in found[0][1].replace(b" ", b"")
    assert httpx.get(f"{server.url}/livez", timeout=60).status_code == 200


def test_connections_cut_in_the_body_leave_room_for_others(server: Server) -> None:
    for _ in range(100):
        with connect(server) as connection:
            connection.sendall(post(BODY[:200], LENGTH % len(BODY)))
    deadline = time.monotonic() + SECONDS
    while True:  # until the service has noticed that they are gone
        answer = httpx.post(f"{server.url}/predict", files={"image": png_bytes()}, timeout=SECONDS)
        if answer.status_code != 503 or time.monotonic() > deadline:
            break
        time.sleep(float(answer.headers["retry-after"]))
    assert answer.status_code == 200


def test_connections_that_never_finish_their_header_do_not_stop_others(server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            connection = stack.enter_context(connect(server))
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: service\r\nX-Slow: ")
        answer = httpx.post(f"{server.url}/predict", files={"image": b"text"}, timeout=SECONDS)
        assert problem(answer) == (415, "not_an_image")

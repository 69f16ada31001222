import asyncio
import secrets

import pytest
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message

from service.http.pieces import PIECE_BYTES, PiecesMiddleware


def messages_of(app: ASGIApp) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "headers": [], "asgi": {"spec_version": "2.4"}}
    asyncio.run(PiecesMiddleware(app)(scope, receive, send))
    return sent


@pytest.mark.parametrize(
    ("length", "pieces"),
    [(0, 1), (1, 1), (PIECE_BYTES, 1), (PIECE_BYTES + 1, 2), (3 * PIECE_BYTES, 3)],
)
def test_answer_arrives_whole_and_in_pieces(length: int, pieces: int) -> None:
    content = secrets.token_bytes(length)
    start, *bodies = messages_of(Response(content))
    assert (b"content-length", str(length).encode()) in start["headers"]
    assert b"".join(body["body"] for body in bodies) == content
    assert len(bodies) == pieces
    assert all(len(body["body"]) <= PIECE_BYTES for body in bodies)
    assert [body.get("more_body", False) for body in bodies] == [True] * (pieces - 1) + [False]


def test_answer_that_comes_in_parts_ends_with_the_last() -> None:
    parts = [b"x" * (PIECE_BYTES + 1), b"y"]
    _, *bodies = messages_of(StreamingResponse(iter(parts)))
    assert b"".join(body["body"] for body in bodies) == b"".join(parts)
    assert [body["more_body"] for body in bodies] == [True] * 3 + [False]


def test_each_piece_waits_for_the_one_before() -> None:
    order: list[str] = []

    async def send(message: Message) -> None:
        order.append("given")
        await asyncio.sleep(0)
        order.append("taken")

    app = PiecesMiddleware(Response(bytes(2 * PIECE_BYTES)))
    asyncio.run(app({"type": "http", "method": "GET", "headers": []}, lambda: None, send))  # type: ignore[arg-type,return-value]
    assert order == ["given", "taken"] * 3

"""Send answers in pieces, each when the client has taken the one before.

uvicorn takes an answer of any length at once, and keeps what the client has not read. With pieces a
request ends when its client has (almost) all of it; until then its other bounds hold.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PIECE_BYTES = 256 * 1024


class PiecesMiddleware:
    """Outside of everything that looks at an answer as a whole."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_in_pieces(message: Message) -> None:
            body = message.get("body", b"")
            last = max(0, len(body) - 1) // PIECE_BYTES * PIECE_BYTES
            for start in range(0, last, PIECE_BYTES):
                piece = body[start : start + PIECE_BYTES]
                await send({"type": message["type"], "body": piece, "more_body": True})
            await send({**message, "body": body[last:]} if last else message)

        await self._app(scope, receive, send_in_pieces if scope["type"] == "http" else send)

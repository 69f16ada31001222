"""Successful answers: JSON, compressed where that pays; what a client has already; memory.

endpoints -> [answers] -> pieces
"""

import hashlib
from collections.abc import Mapping

from isal import igzip
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse
from starlette.types import Receive, Scope, Send

from service.http.query import quality
from service.memory import Lease

JSON = "application/json"
COMPRESSED_BYTES = 1024  # and more; what is shorter fits in one packet as it is


class Leased(Response):
    """An answer whose memory is accounted for until it is sent, or cannot be."""

    def __init__(
        self, content: bytes, media_type: str, headers: Mapping[str, str], lease: Lease
    ) -> None:
        super().__init__(content, headers=headers, media_type=media_type)
        self._lease = lease

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._lease:
            await super().__call__(scope, receive, send)


def json_answer(request: Request, content: object) -> Response:
    """Answer with models, or what JSON knows; with gzip where it is long and the client takes it.

    Starlette's GZipMiddleware would compress pictures in JSON too, at ten times what it saves.
    """
    body, headers = to_json(content), {"Vary": "Accept-Encoding"}
    accepted = request.headers.get("accept-encoding", "")
    if len(body) >= COMPRESSED_BYTES and quality(accepted, "gzip") > 0:
        body = igzip.compress(body, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type=JSON)


def unless_known(request: Request, content: object) -> Response:
    """Answer as :func:`json_answer`, or with 304 where the client has this answer already.

    References
    ----------
    RFC 9110, 8.8.1 (weak, as it names the answer with and without compression) and 13.1.2.
    """
    answer = json_answer(request, content)
    tag = f'W/"{hashlib.sha256(to_json(content)).hexdigest()}"'
    answer.headers.update({"ETag": tag, "Cache-Control": "private, no-cache"})
    known = [one.strip() for one in request.headers.get("if-none-match", "").split(",")]
    return NotModifiedResponse(answer.headers) if {tag, "*"} & set(known) else answer

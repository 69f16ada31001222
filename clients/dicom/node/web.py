"""HTTP of the node: health, metrics, and STOW-RS where it is wanted."""

import hmac
import logging
import socket
import threading
from collections.abc import Awaitable, Callable

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from clients.dicom.node.config import Config, secret
from clients.dicom.node.metrics import REGISTRY
from clients.dicom.node.receive import Inbox
from clients.dicom.node.stow import Stow

Endpoint = Callable[[Request], Awaitable[Response]]
HEALTH = Callable[[], dict[str, bool]]


class Web:
    """A server of its own thread.

    Parameters
    ----------
    health
        Says of each part of the node whether it works.
    """

    def __init__(self, config: Config, inbox: Inbox, health: HEALTH) -> None:
        """Listen; raises OSError where the address cannot be listened on."""
        self._health = health
        self._key = secret(config.http.key_file)
        routes = [
            Route("/livez", self._livez),
            Route("/readyz", self._readyz),
            Route("/metrics", self._guarded(self._metrics)),
        ]
        if config.http.stow:
            store = self._guarded(Stow(inbox, config.limits).store)
            routes += [
                Route("/studies", store, methods=["POST"]),
                Route("/studies/{study}", store, methods=["POST"]),
            ]
        self._socket = socket.create_server((config.http.address, config.http.port))
        # Neither access log nor server header: paths may name a study.
        self._server = uvicorn.Server(
            uvicorn.Config(
                Starlette(routes=routes),
                http="h11",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=10,
            )
        )
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="web", daemon=True
        )
        self._thread.start()

    def alive(self) -> bool:
        """Whether it listens."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Answer what is under way, and end."""
        self._server.should_exit = True
        self._thread.join()

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        """Answer only those who have the key, where there is one."""

        async def guarded(request: Request) -> Response:
            given = request.headers.get("authorization", "").encode()
            if self._key and not hmac.compare_digest(given, f"Bearer {self._key}".encode()):
                return PlainTextResponse(
                    "no valid key", 401, headers={"WWW-Authenticate": "Bearer"}
                )
            return await endpoint(request)

        return guarded

    async def _livez(self, _request: Request) -> Response:
        return PlainTextResponse("alive")

    async def _readyz(self, _request: Request) -> Response:
        found = await run_in_threadpool(self._health)
        return JSONResponse(found, 200 if all(found.values()) else 503)

    async def _metrics(self, _request: Request) -> Response:
        text = await run_in_threadpool(generate_latest, REGISTRY)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

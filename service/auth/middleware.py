"""Who may ask: API keys, cross-origin pages, and headers that keep answers where they belong.

BentoML -> problems -> [guard] -> BentoML's routes, endpoints
"""

import ipaddress
import logging
from collections.abc import Iterable
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders, State
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth.keys import PREFIX, KeyFile
from service.errors import KeysRequired, MalformedBody, ReadingError, Unauthorized
from service.http.places import CLIENT
from service.http.problems import problem_of, problem_response
from service.settings import Settings

logger = logging.getLogger("nanocxr")

# Probes carry no key; pages hold no data, and are where people enter theirs; what they load, and
# the description of the interface, is the same for everybody who has this release.
OPEN_PATHS = frozenset(
    {
        *("/livez", "/readyz", "/healthz", "/ui"),
        *("/", "/docs", "/docs.js", "/docs.json", "/openapi.json"),
    }
)
STATIC_FOLDERS = ("/ui/", "/static_content/")
REALM = 'Bearer realm="nanocxr"'
KEYS_REMEDY = (
    "Set it to a file of keys that the service may read: "
    "python -m service.auth.keys new NAME --file keys.txt makes one."
)
REMEDY = (
    "Set CXR_API_KEYS to a file of keys (python -m service.auth.keys new NAME --file keys.txt), "
    "listen on 127.0.0.1 only, or set CXR_ALLOW_ANONYMOUS=true where something else keeps "
    "strangers out."
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# To pages of other origins; browsers hide all that are not named.
EXPOSED = [
    "ETag", "Retry-After", "X-Call", "X-Columns", "X-Intended-Use", "X-Model-Sha256",
    "X-Probability", "X-Request-Id", "X-Rows",
]  # fmt: skip
# From them, besides what a form could send.
TAKEN = ["Authorization", "If-None-Match", "X-Request-Id", "traceparent"]
# Of pages: everything from this service, and no page around them. Swagger UI has styles inline.
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class Guard:
    """What the settings say about who may ask; raises ValueError for an unusable keys file."""

    def __init__(self, settings: Settings) -> None:
        self.keys = None if settings.api_keys is None else _open_keys(settings.api_keys)
        self.anonymous = settings.allow_anonymous
        self.origins = settings.cors_origins
        self._refused = 0

    def admit(self, scope: Scope) -> None:
        """Let a request pass and note whose it is, or raise Unauthorized or KeysRequired."""
        path = scope["path"]
        if path in OPEN_PATHS or path.startswith(STATIC_FOLDERS):
            return
        if self.keys is not None:
            scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
            owner = self.keys.owner(key.strip()) if scheme.lower() == "bearer" else None
            if owner is not None:
                scope[CLIENT] = owner
                return
            self._count()
            fact = "The API key is not valid" if scheme else "An API key is needed"
            raise Unauthorized(f"{fact}. Send one: Authorization: Bearer cxr_...")
        if not self.anonymous and not is_local(scope.get("server")):
            raise KeysRequired(f"The service was reached from beyond its computer. {REMEDY}")

    def check_host(self, host: str) -> None:
        """Raise KeysRequired where the service is about to listen beyond loopback without keys."""
        if self.keys is None and not self.anonymous and not is_local((host, 0)):
            raise KeysRequired(f"Not listening on {host} without API keys. {REMEDY}")

    def _count(self) -> None:
        """Log the 1st, 2nd, 4th, 8th ... refusal: a flood of them must not flood the log."""
        self._refused += 1
        if self._refused & (self._refused - 1) == 0:
            logger.warning("Requests without a valid API key since start: %d", self._refused)


def _open_keys(path: Path) -> KeyFile:
    if path.name.startswith(PREFIX) and not path.exists():  # which no message may quote
        raise ValueError(f"CXR_API_KEYS holds a key instead of a path. {KEYS_REMEDY}")
    try:
        return KeyFile(path)
    except ValueError as error:
        raise ValueError(f"CXR_API_KEYS: {error}. {KEYS_REMEDY}") from None


def is_local(server: tuple[str, int | None] | None) -> bool:
    """Whether an address that is listened on, as ASGI gives it, is reached from here only."""
    if server is None:
        return False
    host, port = server
    if port is None or host == "localhost":  # a Unix socket
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def check_framing(scope: Scope) -> None:
    """Raise MalformedBody where two headers disagree on where a body ends (RFC 9112, 6.3).

    h11 goes by Transfer-Encoding then, a proxy in front perhaps by Content-Length: what one takes
    for the rest of a body would be another's next request.
    """
    headers = Headers(scope=scope)
    if "transfer-encoding" in headers and "content-length" in headers:
        raise MalformedBody("Transfer-Encoding and Content-Length exclude each other. Send one.")


class GuardMiddleware:
    """Refuse whoever may not ask, answer cross-origin requests, and add headers.

    Parameters
    ----------
    app
        What is guarded.
    state
        Its ``guard`` is set before the first request.
    """

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guard: Guard = self._state.guard

        async def finish(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_headers(message["headers"], scope["path"])
            await send(message)

        async def admitted(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                guard.admit(scope)
            except ReadingError as refusal:
                await _refusal(refusal, scope)(scope, receive, send)
            else:
                await self._app(scope, receive, send)

        try:
            check_framing(scope)
        except MalformedBody as refusal:
            response = _refusal(refusal, scope)
            response.headers["Connection"] = "close"  # what follows may be no request
            await response(scope, receive, finish)
            return
        app: ASGIApp = admitted
        if guard.origins:
            app = CORSMiddleware(
                admitted,
                allow_origins=guard.origins,
                allow_methods=["GET", "POST"],
                allow_headers=TAKEN,
                expose_headers=EXPOSED,
            )
        await app(scope, receive, finish)


def _refusal(error: ReadingError, scope: Scope) -> Response:
    response = problem_response(problem_of(error))
    if isinstance(error, Unauthorized):  # RFC 6750, 3: no error where nothing was sent
        sent = "authorization" in Headers(scope=scope)
        response.headers["WWW-Authenticate"] = REALM + (', error="invalid_token"' if sent else "")
    return response


def _with_headers(raw: Iterable[tuple[bytes, bytes]], path: str) -> list[tuple[bytes, bytes]]:
    """Add what an answer does not have itself."""
    headers = MutableHeaders(raw=list(raw))
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if not path.startswith(STATIC_FOLDERS):
        headers.setdefault("Cache-Control", "no-store")  # a reading is data of a patient
    if headers.get("content-type", "").startswith("text/html"):
        headers.setdefault("Content-Security-Policy", PAGE_POLICY)
    return headers.raw

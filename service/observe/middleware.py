"""Around every request: its id, its line in the log, its metrics, its spans, and a veil.

    OuterMiddleware -> BentoML's metrics and tracing -> InnerMiddleware -> everything else

BentoML makes a metric's label, a span's name and attributes of the path, the query, Host,
User-Agent and the address of the client. Any of them may name a patient, and paths that do not
exist would make new time series without end. So the outer middleware shows BentoML the route
instead of the path, and only the headers it needs; the inner one gives the request back as it came.
"""

import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from http import HTTPStatus
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import TracerProvider
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.observe import logs, metrics
from service.observe.request import CURRENT, RequestFacts, choose_id
from service.observe.stages import collecting

logger = logging.getLogger("nanocxr.access")

UNMATCHED = "unmatched"
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
PROBES = {"/livez", "/healthz", "/readyz", "/metrics"}
# The headers that BentoML's middleware needs, and what they look like where they are honest.
SHOWN = {
    b"traceparent": re.compile(rb"[0-9a-f]{2}(-[0-9a-f]+){3}"),
    b"content-length": re.compile(rb"\d{1,18}"),
}
ORIGINAL = "nanocxr.original"


class OuterMiddleware:
    """Outside of everything: id, log, metrics; shows BentoML no more than the route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        route = route_of(scope["app"].routes, scope) or UNMATCHED
        veiled = veil(scope, route)
        if scope["type"] != "http":
            veiled[ORIGINAL] = (scope, receive)
            await self._app(veiled, receive, send)
            return
        facts = RequestFacts(id=choose_id(Headers(scope=scope).get("x-request-id", "")))
        answer = _Answer(facts, receive, send)
        veiled[ORIGINAL] = (scope, answer.receive)
        logs.seal()
        with _observed(veiled, facts, answer):
            await self._app(veiled, answer.receive, answer.send)


class InnerMiddleware:
    """Inside BentoML's: gives the request back as it came, and makes spans of its stages.

    Parameters
    ----------
    app
        Everything else.
    tracer_provider
        Gives BentoML's provider, which is made when the service starts.
    """

    def __init__(self, app: ASGIApp, tracer_provider: Callable[[], TracerProvider]) -> None:
        self._app = app
        self._tracer_provider = tracer_provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope, receive = scope.get(ORIGINAL, (scope, receive))
        facts = CURRENT.get()
        if facts is None:
            await self._app(scope, receive, send)
            return
        span = trace.get_current_span()
        if not span.get_span_context().trace_flags.sampled:
            await self._app(scope, receive, send)
            return
        facts.trace_id = trace.format_trace_id(span.get_span_context().trace_id)

        async def noting_send(message: Message) -> None:
            if message["type"] == "http.response.start":  # the span ends with the answer
                span.set_attributes({"nanocxr.request_id": facts.id, "nanocxr.code": facts.code})
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            tracer = self._tracer_provider().get_tracer("nanocxr")
            for stage in facts.stages:
                tracer.start_span(stage.name, start_time=stage.start).end(stage.end)


def veil(scope: Scope, route: str) -> Scope:
    """What BentoML may see of a request: enough to count and to trace it."""
    headers = [
        (name, value)
        for name, value in scope["headers"]
        if name in SHOWN and SHOWN[name].fullmatch(value)
    ]
    method = {"method": method_of(scope)} if "method" in scope else {}
    hidden = {"path": route, "raw_path": route.encode(), "query_string": b"", "client": None}
    return {**scope, **hidden, **method, "headers": headers}


def route_of(routes: list[BaseRoute], scope: Scope) -> str | None:
    """The template of the path, one of a fixed number; None where nothing is at the path."""
    other_method = None
    for route in routes:
        match, child = route.matches(scope)
        if match is Match.NONE:
            continue
        template: str = getattr(route, "path", "")
        if isinstance(route, Mount):
            inner = route_of(route.routes, {**scope, **child}) if route.routes else "/{path}"
            template += inner or "/{path}"
        if match is Match.FULL:
            return template
        other_method = other_method or template
    return other_method


def method_of(scope: Scope) -> str:
    """The method, one of a fixed number; whoever calls may invent some."""
    return scope["method"] if scope["method"] in METHODS else "other"


class _Answer:
    """Both directions of one request: counts what comes in, marks and notes what goes out."""

    def __init__(self, facts: RequestFacts, receive: Receive, send: Send) -> None:
        self._facts = facts
        self._receive = receive
        self._send = send
        self.status: int = HTTPStatus.INTERNAL_SERVER_ERROR  # where there never is an answer

    async def receive(self) -> Message:
        message = await self._receive()
        self._facts.bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = self._facts.id
        await self._send(message)


@contextmanager
def _observed(veiled: Scope, facts: RequestFacts, answer: _Answer) -> Iterator[None]:
    """Count, time and log what happens inside, in the context of this request and of no other.

    On a connection that is kept open, uvicorn can call in the context of the request before: its
    span would become the parent of this one's.
    """
    route, probe = veiled["path"], veiled["path"] in PROBES
    token, parent = CURRENT.set(facts), context.attach(context.Context())
    start = time.perf_counter()
    try:
        with (
            collecting(facts.stages),
            nullcontext() if probe else metrics.REQUESTS_UNDER_WAY.track_inprogress(),
        ):
            yield
    finally:
        seconds = time.perf_counter() - start
        labels = route, veiled["method"], str(int(answer.status)), facts.code
        metrics.REQUESTS.labels(*labels).inc()
        metrics.REQUEST_SECONDS.labels(route).observe(seconds)
        for stage in facts.stages:
            metrics.STAGE_SECONDS.labels(stage.name).observe(stage.seconds)
        if not probe or answer.status >= HTTPStatus.BAD_REQUEST:
            logger.info("answered", extra={"facts": line(veiled, facts, answer.status, seconds)})
        facts.ended = True
        context.detach(parent)
        CURRENT.reset(token)


def line(veiled: Scope, facts: RequestFacts, status: int, seconds: float) -> dict[str, Any]:
    """The line of the log. A probability beside an id would be a result of a patient."""
    totals: defaultdict[str, float] = defaultdict(float)
    for stage in facts.stages:
        totals[stage.name] += stage.seconds
    fields = {
        "method": veiled["method"],
        "route": veiled["path"],
        "status": int(status),
        "code": facts.code,
        "duration_ms": round(seconds * 1000, 2),
        "bytes_in": facts.bytes_in,
        "images": facts.images,
        "format": facts.format,
        "rows": facts.rows,
        "columns": facts.columns,
        "stages_ms": {name: round(took * 1000, 2) for name, took in totals.items()},
    }
    return {name: value for name, value in fields.items() if value not in (None, {})}

"""Around every request: its id, its line in the log, its metrics and its spans.

    ObserveMiddleware -> everything else

BentoML's own middleware makes a metric's label, a span's name and attributes of the path, the
query, Host, User-Agent and the address of the client. Any of them may name a patient, and paths
that do not exist would make new time series without end. So it is left out (service/app.py), and
requests are counted and traced here, by their route.
"""

import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from http import HTTPStatus
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import SpanKind, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
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
# As of request ids, digits alone could be a patient's number; one trace in 3 million has no letter.
TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?=[0-9]*[a-f])[0-9a-f]+(-[0-9a-f]+){2}")


class ObserveMiddleware:
    """Gives a request its id; logs, counts and traces it.

    Parameters
    ----------
    app
        Everything else.
    tracer_provider
        BentoML's, which samples as its configuration says.
    excluded
        Whether BentoML's configuration wants no spans of a route.
    service
        Values of the labels :data:`service.observe.metrics.SERVICE`.
    """

    def __init__(
        self,
        app: ASGIApp,
        tracer_provider: TracerProvider,
        excluded: Callable[[str], bool],
        service: Sequence[str],
    ) -> None:
        self._app = app
        self._tracer = tracer_provider.get_tracer("nanocxr")
        self._excluded = excluded
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        facts = RequestFacts(
            id=choose_id(headers.get("x-request-id", "")),
            method=scope["method"] if scope["method"] in METHODS else "other",
            route=route_of(scope["app"].routes, scope) or UNMATCHED,
        )
        answer = _Answer(facts, receive, send)
        logs.seal()
        with self._observed(facts, answer), self._traced(facts, answer, headers):
            await self._app(scope, answer.receive, answer.send)

    @contextmanager
    def _observed(self, facts: RequestFacts, answer: "_Answer") -> Iterator[None]:
        """Count, time and log what happens inside, in the context of this request and of no other.

        On a connection that is kept open, uvicorn can call in the context of the request before:
        its span would become the parent of this one's.
        """
        probe = facts.route in PROBES
        token, parent = CURRENT.set(facts), context.attach(context.Context())
        start = time.perf_counter()
        try:
            with (
                collecting(facts.stages),
                nullcontext() if probe else metrics.REQUESTS_UNDER_WAY.track_inprogress(),
                self._counted_as_by_bentoml(facts, answer),
            ):
                yield
        finally:
            seconds = time.perf_counter() - start
            labels = facts.route, facts.method, str(int(answer.status)), facts.code
            metrics.REQUESTS.labels(*labels).inc()
            metrics.REQUEST_SECONDS.labels(facts.route).observe(seconds)
            for stage in facts.stages:
                metrics.STAGE_SECONDS.labels(stage.name).observe(stage.seconds)
            if not probe or answer.status >= HTTPStatus.BAD_REQUEST:
                logger.info("answered", extra={"facts": line(facts, answer.status, seconds)})
            facts.ended = True
            context.detach(parent)
            CURRENT.reset(token)

    @contextmanager
    def _counted_as_by_bentoml(self, facts: RequestFacts, answer: "_Answer") -> Iterator[None]:
        """Keep the metrics of BentoML's own middleware, which dashboards may know, by the route."""
        if facts.route == "/metrics":
            yield
            return
        endpoint, start = (*self._service, facts.route), time.perf_counter()
        if facts.route not in PROBES:
            metrics.SERVICE_LATEST.labels(*self._service).set_to_current_time()
        try:
            with metrics.SERVICE_UNDER_WAY.labels(*endpoint).track_inprogress():
                yield
        finally:
            status = str(int(answer.status))
            seconds = time.perf_counter() - start
            metrics.SERVICE_REQUESTS.labels(*endpoint, status).inc()
            metrics.SERVICE_SECONDS.labels(*endpoint, status).observe(seconds)

    @contextmanager
    def _traced(self, facts: RequestFacts, answer: "_Answer", headers: Headers) -> Iterator[None]:
        """Make a span of the request, and one of each of its stages.

        Of the caller's headers only a well-formed ``traceparent`` is looked at; no exception is
        recorded, as its text may quote a value.
        """
        if self._excluded(facts.route):
            yield
            return
        with self._tracer.start_as_current_span(
            f"{facts.method} {facts.route}",
            _caller(headers.get("traceparent", "")),
            SpanKind.SERVER,
            {"http.method": facts.method, "http.target": facts.route},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            known = span.get_span_context()
            if known.trace_flags.sampled:  # BentoML records every span, also those it drops
                facts.trace_id = trace.format_trace_id(known.trace_id)
            try:
                yield
            finally:
                span.set_attribute("http.status_code", int(answer.status))
                span.set_attribute("nanocxr.request_id", facts.id)
                span.set_attribute("nanocxr.code", facts.code)
                if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    span.set_status(StatusCode.ERROR)
                for stage in facts.stages if span.is_recording() else ():
                    self._tracer.start_span(stage.name, start_time=stage.start).end(stage.end)


def _caller(traceparent: str) -> context.Context | None:
    """The caller's trace, where there is one to continue."""
    if TRACEPARENT.fullmatch(traceparent) is None:
        return None
    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


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


def line(facts: RequestFacts, status: int, seconds: float) -> dict[str, Any]:
    """The line of the log. A probability beside an id would be a result of a patient."""
    totals: defaultdict[str, float] = defaultdict(float)
    for stage in facts.stages:
        totals[stage.name] += stage.seconds
    fields = {
        "method": facts.method,
        "route": facts.route,
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

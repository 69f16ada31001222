import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from service.observe.middleware import InnerMiddleware, OuterMiddleware
from service.observe.request import CURRENT, current
from service.observe.stages import stage

NAME = "DOE"
ID = "0123456789abcdef" * 2


class Spy:
    """Stands where BentoML's own middleware stands, and keeps what it sees."""

    seen: list[Scope] = []

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            self.seen.append(scope)
        await self._app(scope, receive, send)


class Traced:
    """What BentoML's OpenTelemetry middleware does, for every request sampled."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with PROVIDER.get_tracer("server").start_as_current_span("server"):
            await self._app(scope, receive, send)


PROVIDER, SPANS = TracerProvider(), InMemorySpanExporter()
PROVIDER.add_span_processor(SimpleSpanProcessor(SPANS))


async def echo(request: Request) -> Response:
    body = await request.body()
    facts = current()
    facts.format, facts.rows, facts.columns = "PNG", 3, 4
    with stage("decode"):
        pass
    agent = request.headers["user-agent"]
    return JSONResponse([request.url.path, request.url.query, agent, len(body), facts.id])


async def fail(_: Request) -> Response:
    raise RuntimeError(NAME)


async def refuse(_: Request) -> Response:
    current().code = "not_a_chest"
    return PlainTextResponse("no", 422)


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(socket.url.path)
    await socket.close()


@pytest.fixture
def client() -> Iterator[TestClient]:
    inner = Starlette(routes=[Route("/deep", echo), Route("/item/{name}", echo)])
    app = Starlette(
        routes=[
            Route("/echo", echo, methods=["POST"]),
            Route("/fail", fail),
            Route("/refuse", refuse),
            Route("/livez", refuse),
            WebSocketRoute("/talk", talk),
            Mount("/files", PlainTextResponse("file")),
            Mount("/inner", inner),
        ]
    )
    app.add_middleware(InnerMiddleware, tracer_provider=lambda: PROVIDER)
    app.add_middleware(Traced)
    app.add_middleware(Spy)
    app.add_middleware(OuterMiddleware)
    Spy.seen = []
    SPANS.clear()
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    records = [record for record in caplog.records if record.name == "nanocxr.access"]
    facts: dict[str, Any] = records[-1].facts  # type: ignore[attr-defined]
    return facts


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nanocxr.access")


class TestVeil:
    def test_bentoml_sees_the_route_and_the_endpoint_sees_the_request(
        self, client: TestClient
    ) -> None:
        headers = {"User-Agent": NAME, "X-Patient": NAME, "traceparent": NAME}
        answer = client.post(f"/echo?{NAME}", content=b"12345", headers=headers)
        path, query, agent, size, _ = answer.json()
        assert (path, query, agent, size) == ("/echo", NAME, NAME, 5)
        (scope,) = Spy.seen
        shown = {k: v for k, v in scope.items() if k in SHOWN_KEYS}
        assert NAME not in repr(shown)
        assert scope["headers"] == [(b"content-length", b"5")]
        assert scope["client"] is None

    def test_trace_of_the_caller_is_shown(self, client: TestClient) -> None:
        parent = f"00-{'ab' * 16}-{'cd' * 8}-01"
        client.post("/echo", headers={"traceparent": parent})
        assert (b"traceparent", parent.encode()) in Spy.seen[0]["headers"]

    @pytest.mark.parametrize(
        ("method", "path", "route"),
        [
            ("POST", "/echo", "/echo"),
            ("GET", "/echo", "/echo"),
            ("GET", f"/{NAME}", "unmatched"),
            ("GET", f"/echo/{NAME}", "unmatched"),
            ("GET", f"/files/{NAME}", "/files/{path}"),
            ("GET", "/inner/deep", "/inner/deep"),
            ("GET", f"/inner/item/{NAME}", "/inner/item/{name}"),
            ("GET", f"/inner/{NAME}", "/inner/{path}"),
        ],
    )
    def test_route(self, client: TestClient, method: str, path: str, route: str) -> None:
        client.request(method, path)
        assert (Spy.seen[0]["path"], Spy.seen[0]["raw_path"]) == (route, route.encode())

    def test_invented_method(self, client: TestClient) -> None:
        assert client.request(NAME, "/echo").status_code == 405
        assert Spy.seen[0]["method"] == "other"

    def test_websocket(self, client: TestClient) -> None:
        with client.websocket_connect(f"/talk?{NAME}") as socket:
            assert socket.receive_text() == "/talk"
        assert Spy.seen[0]["path"] == "/talk"
        assert Spy.seen[0]["query_string"] == b""


SHOWN_KEYS = {"path", "raw_path", "query_string", "headers", "client", "method", "server"}


class TestLine:
    def test_of_an_answer(self, client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
        answer = client.post("/echo", content=b"12345", headers={"X-Request-Id": ID})
        assert answer.headers["X-Request-Id"] == answer.json()[-1] == ID
        found = line(caplog)
        assert found.pop("duration_ms") > 0
        assert found.pop("stages_ms").keys() == {"decode"}
        assert found == {
            "method": "POST", "route": "/echo", "status": 200, "code": "ok", "bytes_in": 5,
            "format": "PNG", "rows": 3, "columns": 4,
        }  # fmt: skip
        json.dumps(found)

    def test_of_a_refusal(self, client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
        client.get("/refuse")
        assert (line(caplog)["status"], line(caplog)["code"]) == (422, "not_a_chest")

    def test_of_a_failure(self, client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
        assert client.get("/fail").status_code == 500
        assert line(caplog)["status"] == 500

    def test_of_a_probe_only_where_it_fails(
        self, client: TestClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        client.get("/livez")
        assert line(caplog)["status"] == 422
        assert CURRENT.get() is None


class TestMetrics:
    def test_request_is_counted_by_route_method_status_and_code(self, client: TestClient) -> None:
        labels = {"route": "/refuse", "method": "GET", "status": "422", "code": "not_a_chest"}
        before = REGISTRY.get_sample_value("nanocxr_requests_total", labels) or 0
        client.get("/refuse")
        assert REGISTRY.get_sample_value("nanocxr_requests_total", labels) == before + 1

    def test_stages_are_timed(self, client: TestClient) -> None:
        def count() -> float:
            labels = {"stage": "decode"}
            return REGISTRY.get_sample_value("nanocxr_stage_seconds_count", labels) or 0

        before = count()
        client.post("/echo")
        assert count() == before + 1

    def test_failed_request_is_not_under_way_any_more(self, client: TestClient) -> None:
        before = REGISTRY.get_sample_value("nanocxr_requests_under_way")
        client.get("/fail")
        assert REGISTRY.get_sample_value("nanocxr_requests_under_way") == before


class TestSpans:
    def test_stages_are_children_of_the_request(self, client: TestClient) -> None:
        client.post("/echo", headers={"X-Request-Id": ID})
        spans = {span.name: span for span in SPANS.get_finished_spans()}
        server, decode = spans["server"], spans["decode"]
        assert decode.parent is not None
        assert decode.parent.span_id == server.context.span_id
        assert dict(server.attributes or {}) == {"nanocxr.request_id": ID, "nanocxr.code": "ok"}

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, StaticSampler
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.util.http import ExcludeList
from prometheus_client import REGISTRY, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from service.observe.middleware import ObserveMiddleware
from service.observe.request import CURRENT, current
from service.observe.stages import stage

NAME = "DOE"
ID = "0123456789abcdef" * 2


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
    app.add_middleware(
        ObserveMiddleware,
        tracer_provider=PROVIDER,
        excluded=ExcludeList(["refuse"]).url_disabled,
        service=("runner", "service", "version"),
    )
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


class TestRoute:
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
    def test_is_counted_logged_and_traced_instead_of_the_path(
        self,
        client: TestClient,
        caplog: pytest.LogCaptureFixture,
        method: str,
        path: str,
        route: str,
    ) -> None:
        client.request(method, path)
        assert line(caplog)["route"] == route
        assert server_span().name == f"{method} {route}"
        assert NAME not in repr(caplog.records) + generate_latest().decode()

    def test_invented_method(self, client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
        assert client.request(NAME, "/echo").status_code == 405
        assert line(caplog)["method"] == "other"
        assert server_span().name == "other /echo"

    def test_request_reaches_the_endpoint_as_it_came(self, client: TestClient) -> None:
        answer = client.post(f"/echo?{NAME}", content=b"12345", headers={"User-Agent": NAME})
        assert answer.json()[:4] == ["/echo", NAME, NAME, 5]

    def test_websocket(self, client: TestClient) -> None:
        with client.websocket_connect(f"/talk?{NAME}") as socket:
            assert socket.receive_text() == "/talk"


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


def bentoml(name: str, **labels: str) -> float:
    labels |= {"runner_name": "runner", "service_name": "service", "service_version": "version"}
    return REGISTRY.get_sample_value(f"bentoml_service_{name}", labels) or 0


class TestMetricsOfBentoml:
    """As its own middleware keeps them; that one would take the path for a label."""

    def test_request_is_counted_and_timed_by_route_and_status(self, client: TestClient) -> None:
        labels = {"endpoint": "/inner/{path}", "http_response_code": "404"}
        counted, timed = "request_total", "request_duration_seconds_count"
        before = bentoml(counted, **labels), bentoml(timed, **labels)
        client.get(f"/inner/{NAME}")
        after = bentoml(counted, **labels), bentoml(timed, **labels)
        assert after == (before[0] + 1, before[1] + 1)

    def test_failed_request_is_not_in_progress_any_more(self, client: TestClient) -> None:
        client.get("/fail")
        assert bentoml("request_in_progress", endpoint="/fail") == 0
        assert bentoml("request_total", endpoint="/fail", http_response_code="500") > 0

    def test_latest_request_is_no_probe(self, client: TestClient) -> None:
        latest = "last_request_timestamp_seconds"
        client.get("/refuse")
        before = bentoml(latest)
        assert before > 0
        client.get("/livez")
        assert bentoml(latest) == before


def server_span() -> ReadableSpan:
    (span,) = [one for one in SPANS.get_finished_spans() if one.kind is SpanKind.SERVER]
    return span


class TestSpans:
    def test_stages_are_children_of_the_request(self, client: TestClient) -> None:
        client.post("/echo", headers={"X-Request-Id": ID})
        server = server_span()
        (decode,) = [span for span in SPANS.get_finished_spans() if span.name == "decode"]
        assert decode.parent is not None
        assert server.context is not None
        assert decode.parent.span_id == server.context.span_id
        assert dict(server.attributes or {}) == {
            "http.method": "POST", "http.target": "/echo", "http.status_code": 200,
            "nanocxr.request_id": ID, "nanocxr.code": "ok",
        }  # fmt: skip

    def test_trace_of_the_caller_is_continued(self, client: TestClient) -> None:
        client.post("/echo", headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})
        parent = server_span().parent
        assert parent is not None
        assert (f"{parent.trace_id:x}", f"{parent.span_id:x}") == ("ab" * 16, "cd" * 8)

    @pytest.mark.parametrize("decision", list(Decision))
    def test_line_names_the_trace_only_where_it_is_sent(self, decision: Decision) -> None:
        provider = TracerProvider(sampler=StaticSampler(decision))
        told: list[str | None] = []

        async def note(_: Request) -> Response:
            told.append(current().trace_id)
            return Response()

        app = Starlette(routes=[Route("/", note)])
        app.add_middleware(
            ObserveMiddleware,
            tracer_provider=provider,
            excluded=lambda _: False,
            service=("", "", ""),
        )
        with TestClient(app) as client:
            client.get("/", headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})
        assert told == ["ab" * 16 if decision is Decision.RECORD_AND_SAMPLE else None]

    @pytest.mark.parametrize(
        "header",
        [NAME, f"00-{NAME}-{'cd' * 8}-01", f"00-{'12' * 16}-{'cd' * 8}-01", ""],
    )
    def test_malformed_trace_of_the_caller_is_none(self, client: TestClient, header: str) -> None:
        client.post("/echo", headers={"traceparent": header})
        assert server_span().parent is None

    def test_nothing_of_the_request_or_of_an_exception_is_in_them(self, client: TestClient) -> None:
        headers = {"User-Agent": NAME, "tracestate": f"doe={NAME}", "baggage": f"doe={NAME}"}
        client.get(f"/fail?{NAME}", headers=headers)
        span = server_span()
        assert NAME not in span.to_json()
        assert span.status.status_code is StatusCode.ERROR

    def test_route_that_the_configuration_leaves_out_has_none(self, client: TestClient) -> None:
        client.get("/refuse")
        assert SPANS.get_finished_spans() == ()

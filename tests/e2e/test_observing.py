"""What the service says about itself, and that no patient is in it."""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from service.model.reader import Reader
from service.observe.stages import NAMES as STAGES
from tests.e2e.marked import NAME, NEEDLES, dicoms, rasters
from tests.e2e.observed import Observed, observed
from tests.factories import dicom_bytes, png_bytes
from tests.serving import FORM, form, part

pytestmark = pytest.mark.e2e

ENDPOINTS = (
    ("/predict", "image"),
    ("/explain", "image"),
    ("/view", "image"),
    ("/predict_batch", "images"),
)
PATHS = (
    "/predict", "/explain?bare=true", "/view", "/predict_batch", "/model", "/docs.json", "/",
    "/ui/", "/livez", "/healthz", "/readyz", "/schema.json", "/metrics",
)  # fmt: skip
HEADERS = (
    "User-Agent", "X-Patient", "X-Request-Id", "Referer", "Cookie", "Authorization", "traceparent",
    "tracestate", "baggage", "X-Forwarded-For", "X-Forwarded-Host", "Accept", "Accept-Language",
    "Origin",
)  # fmt: skip
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LAST = f"00-{'ab' * 16}-{'cd' * 8}-01"
PATIENCE_SECONDS = 30


@pytest.fixture(scope="module")
def service(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    with observed(tiny_model, tmp_path_factory.mktemp("observed")) as service:
        yield service


def wait_for(found: Callable[[], bool]) -> bool:
    """Whether it comes true; exports and log lines come a moment after the answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not found() and time.monotonic() < deadline:
        time.sleep(0.05)
    return found()


def lines(service: Observed, request_id: str) -> list[dict[str, object]]:
    """The lines of the log of one request, as soon as it has its last one."""
    assert wait_for(lambda: request_id in service.log)
    entries = [json.loads(line) for line in service.log.splitlines() if request_id in line]
    return [entry for entry in entries if entry["request_id"] == request_id]


def series(service: Observed) -> dict[str, set[tuple[tuple[str, str], ...]]]:
    """Names of time series, and the labels of each."""
    found: dict[str, set[tuple[tuple[str, str], ...]]] = {}
    for family in text_string_to_metric_families(service.ask("GET", "/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).add(tuple(sorted(sample.labels.items())))
    return found


def values(service: Observed) -> dict[str, float]:
    """Every time series by its name and labels."""
    return {
        sample.name + json.dumps(sample.labels): sample.value
        for family in text_string_to_metric_families(service.ask("GET", "/metrics").text)
        for sample in family.samples
    }


class TestLog:
    def test_every_line_is_one_json_object(self, service: Observed) -> None:
        service.ask("POST", "/predict", files={"image": png_bytes()})
        for line in service.log.splitlines():
            entry = json.loads(line)
            assert {"time", "level", "logger", "message"} <= entry.keys()

    def test_line_of_a_reading_has_no_result_and_no_address(self, service: Observed) -> None:
        answer = service.ask("POST", "/predict", files={"image": dicom_bytes()})
        (line,) = lines(service, answer.headers["X-Request-Id"])
        assert line["method"] == "POST"
        assert line["route"] == "/predict"
        assert (line["status"], line["code"]) == (200, "ok")
        assert (line["format"], line["rows"], line["columns"]) == ("DICOM", 256, 240)
        assert int(str(line["bytes_in"])) > len(dicom_bytes())
        assert not {"probability", "call", "client", "path", "query"} & line.keys()

    def test_line_of_a_batch_has_the_number_of_images(self, service: Observed) -> None:
        files = [("images", png_bytes()), ("images", b"text"), ("images", png_bytes())]
        answer = service.ask("POST", "/predict_batch", files=files)
        (line,) = lines(service, answer.headers["X-Request-Id"])
        assert line["images"] == 3
        assert not {"format", "rows", "columns"} & line.keys()
        assert answer.json()[1]["request_id"] == line["request_id"]

    def test_probes_are_only_logged_where_they_fail(self, service: Observed) -> None:
        probe = service.ask("GET", "/readyz").headers["X-Request-Id"]
        lines(service, service.ask("GET", "/model").headers["X-Request-Id"])
        assert probe not in service.log


class TestRequestId:
    def test_of_the_caller_is_taken(self, service: Observed) -> None:
        offered = "3F2504E0-4F89-11D3-9A0C-0305E82C3301"
        answer = service.ask(
            "POST", "/predict", files={"image": b"text"}, headers={"X-Request-Id": offered}
        )
        assert answer.headers["X-Request-Id"] == answer.json()["request_id"] == offered
        assert lines(service, offered)[0]["code"] == "not_an_image"

    @pytest.mark.parametrize(
        "offered", ["1", "1" * 32, "a" * 65, f"{NAME}-{NAME}", "0123456789abcdef g"]
    )
    def test_another_one_is_replaced(self, service: Observed, offered: str) -> None:
        answer = service.ask("GET", "/nope", headers={"X-Request-Id": offered})
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])
        assert answer.json()["request_id"] == answer.headers["X-Request-Id"]


class TestMetrics:
    def test_unknown_paths_and_methods_make_no_series(self, service: Observed) -> None:
        def provoke(number: int) -> None:
            service.ask("GET", f"/nope/{number}")
            service.ask("GET", f"/static_content/{number}.js")
            service.ask(f"ODD{number}", "/predict")

        provoke(0)
        series(service)  # makes the series of /metrics itself
        before = series(service)
        for number in range(1, 20):
            provoke(number)
        assert series(service) == before

    def test_readings_and_their_stages_are_counted(self, service: Observed) -> None:
        before = values(service)
        service.ask("POST", "/explain", files={"image": png_bytes()})
        service.ask("POST", "/predict", files={"image": dicom_bytes(view="LL")})
        after = values(service)
        for name in STAGES:
            key = f'nanocxr_stage_seconds_count{{"stage": "{name}"}}'
            assert after[key] > before.get(key, 0), name
        for key, more in (
            ("nanocxr_probability_count{}", 1),
            ("nanocxr_batch_images_count{}", 1),
            ('nanocxr_problems_total{"code": "not_frontal"}', 1),
            ("nanocxr_queue_length{}", 0),
        ):
            assert after[key] - before.get(key, 0) == more, key

    def test_model_is_named(self, service: Observed, tiny_model: Path) -> None:
        (labels,) = series(service)["nanocxr_model_info"]
        assert dict(labels)["sha256"] == Reader.open(tiny_model).model.sha256
        assert dict(labels)["name"] == "tiny"

    def test_routes_of_bentoml_are_told_apart(self, service: Observed) -> None:
        service.ask("GET", "/model")
        series_of_bentoml = series(service)["bentoml_service_request_total"]
        endpoints = {dict(labels)["endpoint"] for labels in series_of_bentoml}
        assert "/model" in endpoints


class TestTracing:
    def test_request_goes_on_with_the_trace_of_the_caller(self, service: Observed) -> None:
        answer = service.ask(
            "POST", "/predict", files={"image": png_bytes()}, headers={"traceparent": PARENT}
        )
        identity = answer.headers["X-Request-Id"]

        def mine() -> list[Span]:
            return [
                span for span in service.receiver.spans() if span.trace_id.hex() == PARENT[3:35]
            ]

        assert wait_for(lambda: "POST /predict" in {span.name for span in mine()})
        (server,) = [span for span in mine() if span.name == "POST /predict"]
        assert server.parent_span_id.hex() == PARENT[36:52]
        attributes = {pair.key: pair.value.string_value for pair in server.attributes}
        assert attributes["nanocxr.request_id"] == identity
        assert lines(service, identity)[0]["trace_id"] == PARENT[3:35]
        stages = {span.name for span in mine() if span.parent_span_id == server.span_id}
        assert {"upload", "wait", "decode", "standardise", "infer"} <= stages


@pytest.fixture(scope="module")
def marked(service: Observed) -> Observed:
    """The service after it was sent markers by every way in, and has ended."""
    send_marked_files(service)
    send_marked_requests(service)
    service.ask("GET", "/metrics")
    service.ask("GET", "/docs.json", headers={"traceparent": LAST})
    service.stop()
    return service


class TestPrivacy:
    """Last: it looks through everything that was said and written until now."""

    def test_no_answer_holds_a_marker(self, marked: Observed) -> None:
        assert [answer for answer in marked.answers if found_in(answer)] == []

    def test_no_output_and_no_file_holds_a_marker(self, marked: Observed) -> None:
        written = dict(marked.files())
        assert {"stdout", "stderr"} < written.keys()
        assert {
            name: found_in(content) for name, content in written.items() if found_in(content)
        } == {}

    def test_no_span_holds_a_marker(self, marked: Observed) -> None:
        names = {span.name for span in marked.receiver.spans()}
        assert {"POST /predict", "POST /explain", "GET unmatched"} <= names
        assert [body for body in marked.receiver.bodies if found_in(body)] == []

    def test_last_spans_are_sent_at_the_end(self, marked: Observed) -> None:
        traces = {span.trace_id.hex() for span in marked.receiver.spans()}
        assert LAST[3:35] in traces

    def test_every_line_is_json_to_the_end(self, marked: Observed) -> None:
        for line in marked.log.splitlines():
            assert json.loads(line)["message"]


def found_in(content: bytes) -> list[bytes]:
    """The markers in it, as text or as hexadecimal digits."""
    lower = content.lower()
    return [needle for needle in NEEDLES if needle in lower or needle.hex().encode() in lower]


def send_marked_files(service: Observed) -> None:
    for _, content in [*dicoms(), *rasters()]:
        for path, field in ENDPOINTS:
            answer = service.ask("POST", path, files={field: (f"{NAME}.dcm", content)})
            assert answer.status_code < 500, answer.text


def send_marked_requests(service: Observed) -> None:
    png = png_bytes()
    for path, field in ENDPOINTS:
        service.ask("POST", path, files={NAME: png})
        service.ask("POST", path, files={field: (None, NAME)})
        service.ask("POST", path, files={field: (f"../../tmp/{NAME}", png)}, params={NAME: NAME})
        service.ask("POST", path, files={field: png}, params={"bare": NAME})
        for body in (form(part(png, field))[:-10], form(part(png, NAME)), NAME.encode()):
            service.ask("POST", path, content=body, headers={"Content-Type": FORM})
        for media_type in (f"multipart/form-data; boundary={NAME}", f"text/{NAME}", NAME):
            service.ask("POST", path, content=png, headers={"Content-Type": media_type})
    for path in PATHS:
        for method in ("GET", "POST", NAME):
            service.ask(method, path, params={NAME: NAME, "bare": NAME})
            service.ask(method, path, headers=dict.fromkeys(HEADERS, NAME))
    for path in (
        f"/{NAME}",
        f"/predict/{NAME}",
        f"/static_content/{NAME}.js",
        f"/ui/{NAME}",
        f"/model/%2e/{NAME}",
    ):
        service.ask("GET", path)
    send_raw(service, f"GET /predict HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n")
    send_raw(service, f"{NAME}\r\n\r\n")
    send_raw(service, f"GET /{NAME} HTTP/9.9\r\n{NAME}\r\n\r\n")
    send_raw(service, f"POST /predict HTTP/1.1\r\nContent-Length: {NAME}\r\n\r\n")
    send_raw(
        service,
        f"GET /{NAME} HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {NAME}\r\n\r\n",
    )


def send_raw(service: Observed, request: str) -> None:
    """Send what no HTTP library would."""
    address = service.http.base_url
    with socket.create_connection((address.host, address.port or 80), 60) as connection:
        connection.sendall(request.encode())
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(60)
        answer = b""
        while block := connection.recv(65536):
            answer += block
    service.answers.append(answer)

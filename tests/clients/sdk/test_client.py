"""The client against a real HTTP server, with the faults that networks and proxies add."""

import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from clients.sdk.client import (
    PROBABILITY_HEADER,
    AccessDenied,
    ChestXrayClient,
    ChestXrayError,
    ImageRefused,
    ServiceBusy,
    ServiceFailed,
    ServiceUnreachable,
    wait_seconds,
)
from clients.sdk.results import CalibrationReference, Prediction, Problem
from tests.clients.sdk import bodies
from tests.clients.sdk.http_server import Answer, Server
from tests.ports import free_port


def test_importing_the_client_stays_light() -> None:
    code = "import sys, clients.sdk.client; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"bentoml", "onnxruntime", "pandas", "torch"} & set(loaded.stdout.split())


class TestPredict:
    def test_returns_the_typed_reading(self, server: Server) -> None:
        server.on("/predict", Answer.json(bodies.reading(0.75)))
        with ChestXrayClient(server.url) as client:
            reading = client.predict(b"pixels")
        assert isinstance(reading, Prediction)
        assert (reading.probability, reading.call) == (0.75, "pneumonia")
        assert server.asked[0].parts[0].content == b"pixels"
        assert server.asked[0].parts[0].field == "image"

    def test_file_name_is_never_sent(self, server: Server, tmp_path: Path) -> None:
        file = tmp_path / "DOE^JANE.dcm"
        file.write_bytes(b"pixels")
        server.on("/predict", Answer.json(bodies.reading()))
        with ChestXrayClient(server.url) as client:
            client.predict(file)
        part = server.asked[0].parts[0]
        assert (part.filename, part.content) == ("image", b"pixels")

    def test_calibration_is_told_where_the_service_tells_it(self, server: Server) -> None:
        site = {"name": "site", "sha256": "c" * 64, "films": 200}
        server.on(
            "/predict",
            Answer.json({**bodies.reading(), "calibration": site}),
            Answer.json(bodies.reading()),
        )
        with ChestXrayClient(server.url) as client:
            told, older = client.predict(b"x"), client.predict(b"x")
        assert told.calibration == CalibrationReference(name="site", sha256="c" * 64, films=200)
        assert older.calibration is None

    def test_unknown_fields_of_a_newer_service_are_accepted(self, server: Server) -> None:
        server.on("/predict", Answer.json({**bodies.reading(), "new": 1}))
        with ChestXrayClient(server.url) as client:
            assert client.predict(b"x").probability == 0.75


class TestKey:
    @pytest.mark.parametrize(
        ("argument", "variable", "sent"),
        [
            (None, None, None),
            (None, "", None),
            (None, "cxr_env", "Bearer cxr_env"),
            ("cxr_given", "cxr_env", "Bearer cxr_given"),
            ("", "cxr_env", None),
        ],
    )
    def test_argument_comes_before_the_environment(
        self,
        server: Server,
        monkeypatch: pytest.MonkeyPatch,
        argument: str | None,
        variable: str | None,
        sent: str | None,
    ) -> None:
        monkeypatch.delenv("CXR_API_KEY", raising=False)
        if variable is not None:
            monkeypatch.setenv("CXR_API_KEY", variable)
        server.on("/predict", Answer.json(bodies.reading()))
        with ChestXrayClient(server.url, api_key=argument) as client:
            client.predict(b"x")
        assert server.asked[0].authorization == sent

    @pytest.mark.parametrize(
        "answer",
        [
            Answer.problem(401, "unauthorized"),
            Answer.problem(403, "keys_required"),
            Answer(status=403, body=b"the proxy says no"),
        ],
    )
    def test_denial_is_no_refusal_of_the_image_and_not_retried(
        self, server: Server, answer: Answer
    ) -> None:
        server.on("/predict", answer)
        with (
            ChestXrayClient(server.url, api_key="cxr_wrong") as client,
            pytest.raises(AccessDenied) as denied,
        ):
            client.predict(b"x")
        assert denied.value.status == answer.status
        assert "cxr_wrong" not in str(denied.value)
        assert len(server.asked) == 1


class TestRefusals:
    def test_problem_carries_status_code_and_detail(self, server: Server) -> None:
        server.on("/predict", Answer.problem(422, "not_a_chest", "BodyPartExamined is 'HAND'"))
        with ChestXrayClient(server.url) as client, pytest.raises(ImageRefused) as caught:
            client.predict(b"x")
        refusal = caught.value
        assert (refusal.status, refusal.code) == (422, "not_a_chest")
        assert str(refusal) == "not_a_chest: BodyPartExamined is 'HAND'"
        assert len(server.asked) == 1

    @pytest.mark.parametrize(
        ("answer", "error", "message"),
        [
            (Answer.json([{"error": "bad part"}], 400), ServiceFailed, "answered 400: bad part"),
            (
                Answer.json({"error": "1 validation error", "detail": "image: missing"}, 400),
                ServiceFailed,
                "1 validation error: image: missing",
            ),
            (
                Answer(status=413, body=b"<html><h1>413  Too\nLarge</h1>"),
                ImageRefused,
                "http_413: <html><h1>413 Too Large",
            ),
            (Answer(status=404, body=b"no such page"), ServiceFailed, "404: no such page"),
            (Answer(status=502), ServiceFailed, "502: no explanation"),
            (Answer.json("gone", 500), ServiceFailed, '500: "gone"'),
            (Answer.problem(500, "internal_error", "It broke."), ServiceFailed, "500: It broke"),
            (Answer(status=307, headers={"Location": "/login"}), ServiceFailed, "answered 307"),
        ],
    )
    def test_foreign_errors_are_clear_and_not_retried(
        self, server: Server, answer: Answer, error: type[ChestXrayError], message: str
    ) -> None:
        server.on("/predict", answer)
        with ChestXrayClient(server.url) as client, pytest.raises(error) as caught:
            client.predict(b"x")
        assert message in str(caught.value)
        assert len(server.asked) == 1

    @pytest.mark.parametrize("body", [b"{not json", b"[]", b'{"probability": "high"}', b""])
    def test_success_that_is_no_reading_is_a_failure(self, server: Server, body: bytes) -> None:
        server.on("/predict", Answer(body=body))
        with ChestXrayClient(server.url) as client, pytest.raises(ServiceFailed) as caught:
            client.predict(b"x")
        assert caught.value.code == "foreign_answer"


class TestRetries:
    @pytest.mark.parametrize("status", [429, 503])
    def test_busy_service_is_asked_again(self, server: Server, status: int) -> None:
        busy = Answer(status=status, headers={"Retry_After": "0"})
        server.on("/predict", busy, busy, Answer.json(bodies.reading()))
        with ChestXrayClient(server.url, retries=2) as client:
            assert client.predict(b"x").probability == 0.75
        assert len(server.asked) == 3

    def test_gives_up_after_the_last_retry_and_says_why(self, server: Server) -> None:
        server.on("/predict", Answer.problem(503, "model_unavailable", "No model."))
        with ChestXrayClient(server.url, retries=2) as client, pytest.raises(ServiceBusy) as caught:
            client.predict(b"x")
        assert (caught.value.code, len(server.asked)) == ("model_unavailable", 3)
        assert "No model." in str(caught.value)

    def test_longer_wait_than_a_minute_is_not_waited(self, server: Server) -> None:
        server.on("/predict", Answer(status=503, headers={"Retry_After": "3600"}))
        with ChestXrayClient(server.url) as client, pytest.raises(ServiceBusy):
            client.predict(b"x")
        assert len(server.asked) == 1

    def test_refused_connection_names_the_address(self) -> None:
        url = f"http://127.0.0.1:{free_port()}"
        with ChestXrayClient(url, retries=1) as client, pytest.raises(ServiceUnreachable) as caught:
            client.predict(b"x")
        assert url in str(caught.value)

    def test_silent_service_is_unreachable_after_the_timeout(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            with (
                ChestXrayClient(url, timeout=0.05) as client,
                pytest.raises(ServiceUnreachable, match="timed out"),
            ):
                client.predict(b"x")


class TestWaits:
    def test_double_each_time_and_never_exceed_a_minute(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("clients.sdk.client.FIRST_WAIT_SECONDS", 0.5)
        assert 0.25 <= wait_seconds(0, None) <= 0.5
        assert 2.0 <= wait_seconds(3, None) <= 4.0
        assert 30 <= wait_seconds(20, None) <= 60

    def test_retry_after_in_seconds_and_as_a_date_are_honoured(self) -> None:
        later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
        assert wait_seconds(0, "7") == 7
        assert 25 < wait_seconds(0, later) <= 30

    def test_date_in_the_past_means_at_once(self) -> None:
        assert wait_seconds(0, "Wed, 21 Oct 2015 07:28:00 GMT") == 0

    def test_nonsense_falls_back_to_backoff(self) -> None:
        assert wait_seconds(0, "soon") <= 0.5


class TestBatch:
    def test_entries_are_readings_or_problems_in_order(self, server: Server) -> None:
        problem = {"type": "about:blank", "title": "t", "status": 422, "detail": "d"}
        entries = [bodies.reading(0.9), {**problem, "code": "not_frontal"}]
        server.on("/predict_batch", Answer.json(entries))
        with ChestXrayClient(server.url) as client:
            first, second = client.predict_batch([b"one", b"two"])
        assert isinstance(first, Prediction)
        assert isinstance(second, Problem)
        assert second.code == "not_frontal"
        parts = server.asked[0].parts
        assert [(p.field, p.content) for p in parts] == [("images", b"one"), ("images", b"two")]

    def test_wrong_number_of_entries_is_a_failure(self, server: Server) -> None:
        server.on("/predict_batch", Answer.json([bodies.reading()]))
        with (
            ChestXrayClient(server.url) as client,
            pytest.raises(ServiceFailed, match="1 entries for 2 images"),
        ):
            client.predict_batch([b"one", b"two"])

    def test_no_images_ask_nothing(self, server: Server) -> None:
        with ChestXrayClient(server.url) as client:
            assert client.predict_batch([]) == []
        assert server.asked == []


class TestExplain:
    def test_returns_the_picture_and_the_probability_of_the_header(self, server: Server) -> None:
        server.on("/explain", Answer(body=b"PNG", headers={PROBABILITY_HEADER: "0.125"}))
        with ChestXrayClient(server.url) as client:
            explanation = client.explain(b"x", bare=True, form="jpeg")
        assert (explanation.picture, explanation.probability) == (b"PNG", 0.125)
        assert server.asked[0].path == "/explain?bare=true&format=jpeg"

    def test_picture_without_probability_is_a_failure(self, server: Server) -> None:
        server.on("/explain", Answer(body=b"PNG"))
        with ChestXrayClient(server.url) as client, pytest.raises(ServiceFailed):
            client.explain(b"x")


class TestState:
    def test_model_is_typed(self, server: Server) -> None:
        server.on("/model", Answer.json(bodies.model()))
        with ChestXrayClient(server.url) as client:
            assert client.model().manifest.name == "default"

    def test_ready_follows_the_service(self, server: Server) -> None:
        server.on("/readyz", Answer(body=b"\n"), Answer(status=503))
        with ChestXrayClient(server.url) as client:
            assert client.ready()
            assert not client.ready()
        with ChestXrayClient(f"http://127.0.0.1:{free_port()}") as client:
            assert not client.ready()

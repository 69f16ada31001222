import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.errors import ModelUnavailable, ReadingError
from service.http.problems import ProblemMiddleware, problem_of, refuse
from service.inference.async_reader import AsyncReader
from tests.serving import problem, serving


class TestFrameworkErrors:
    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, tiny_model: Path) -> Iterator[TestClient]:
        with serving(tiny_model) as client:
            yield client

    @pytest.mark.parametrize("path", ["/nope", "/predict/x", "/model/manifest.json"])
    def test_unknown_path(self, client: TestClient, path: str) -> None:
        assert problem(client.get(path)) == (404, "not_found")

    @pytest.mark.parametrize("path", ["/predict", "/explain", "/predict_batch"])
    def test_other_method_keeps_the_header_allow(self, client: TestClient, path: str) -> None:
        response = client.get(path)
        assert problem(response) == (405, "method_not_allowed")
        assert response.headers["Allow"] == "POST"

    def test_pickle_is_no_form(self, client: TestClient) -> None:
        headers = {"Content-Type": "application/vnd.bentoml+pickle"}
        response = client.post("/predict", content=b"\x80\x04N.", headers=headers)
        assert problem(response) == (415, "unsupported_media_type")


class TestUnexpectedErrors:
    def test_body_and_log_hold_no_value_of_the_file(
        self, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(_: AsyncReader, data: bytes) -> None:
            raise RuntimeError(f"{data!r} is not a number")

        monkeypatch.setattr(AsyncReader, "read", broken)
        with serving(tiny_model) as client:
            caplog.set_level(logging.DEBUG)
            response = client.post("/predict", files={"image": b"Doe^Jane"})
        assert problem(response) == (500, "internal_error")
        assert "Doe" not in response.text
        assert "Doe" not in caplog.text
        assert "RuntimeError" in caplog.text
        assert "in broken" in caplog.text


def answering(status: int, body: bytes, content_type: bytes, *, then_fail: bool = False) -> Any:
    """An ASGI app under the middleware that always gives this answer, in two pieces."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", content_type), (b"retry-after", b"7")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body[:3], "more_body": True})
        await send({"type": "http.response.body", "body": body[3:]})
        if then_fail:
            raise RuntimeError

    return TestClient(ProblemMiddleware(app), raise_server_exceptions=True)


class TestProblemMiddleware:
    @pytest.mark.parametrize(
        ("status", "body", "code"),
        [
            (400, b'[{"error": "stray list"}]', "http_400"),
            (404, b"Not Found", "not_found"),
            (500, b'{"error": "see the log"}', "internal_error"),
            (503, b'{"error": "overloaded"}', "not_ready"),
            (504, b'{"error": "too slow"}', "http_504"),
            (499, b"no standard status", "http_499"),
        ],
    )
    def test_foreign_error_is_replaced(self, status: int, body: bytes, code: str) -> None:
        response = answering(status, body, b"application/json").get("/")
        assert problem(response) == (status, code)
        assert body.decode() not in response.text

    def test_other_headers_stay(self) -> None:
        response = answering(503, b"busy", b"text/plain").get("/")
        assert response.headers["retry-after"] == "7"
        assert int(response.headers["content-length"]) == len(response.content)

    def test_success_passes_unchanged(self) -> None:
        assert answering(200, b"all is well", b"text/plain").get("/").text == "all is well"

    def test_own_problem_passes_unchanged(self) -> None:
        body = b'{"code": "not_a_chest"}'
        response = answering(422, body, b"application/problem+json").get("/")
        assert response.content == body

    def test_error_after_the_answer_is_not_answered_twice(self) -> None:
        client = answering(500, b"Internal Server Error", b"text/plain", then_fail=True)
        assert problem(client.get("/")) == (500, "internal_error")


class TestRefuse:
    def test_problem_of_an_error(self) -> None:
        wire = problem_of(ModelUnavailable("No model. Copy one."))
        assert (wire.status, wire.code, wire.title) == (
            503,
            "model_unavailable",
            "Model unavailable",
        )
        assert wire.detail == "No model. Copy one."

    def test_another_exception_is_not_swallowed(self) -> None:
        with pytest.raises(ZeroDivisionError):
            refuse(None, ZeroDivisionError())  # type: ignore[arg-type]

    def test_base_class_has_no_status_of_its_own(self) -> None:
        with pytest.raises(KeyError):
            problem_of(ReadingError("x"))

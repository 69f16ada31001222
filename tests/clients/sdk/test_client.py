"""The client against a real HTTP server, with the faults that networks and proxies add."""

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any, Literal, Self

import httpx
import pytest

from clients import (
    AccessDenied,
    AsyncChestXrayClient,
    CalibrationReference,
    ChestXrayClient,
    ChestXrayError,
    HeatmapFacts,
    ImageRefused,
    ModelInfo,
    Prediction,
    PredictionWithHeatmap,
    Problem,
    ServiceBusy,
    ServiceFailed,
    ServiceUnreachable,
)
from clients.sdk.calls import PROBABILITY_HEADER
from clients.sdk.errors import unreachable
from service.model.reader import Reader
from tests.clients.sdk import bodies
from tests.clients.sdk.http_server import Answer, Server, running_server
from tests.factories import png_bytes
from tests.ports import free_port
from tests.processes import PATIENCE, wait_until


class Awaited:
    """An AsyncChestXrayClient with the face of the other, so that each test runs with both."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._loop = asyncio.Runner()
        self._client = AsyncChestXrayClient(*arguments, **options)

    def __enter__(self) -> Self:
        self._loop.run(self._client.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._loop.run(self._client.__aexit__(*error))
        self._loop.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments, **options: self._loop.run(
            getattr(self._client, name)(*arguments, **options)
        )


Connect = type[ChestXrayClient]


@pytest.fixture(params=[ChestXrayClient, Awaited])
def connect(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_importing_the_client_stays_light() -> None:
    code = "import sys, clients.sdk.client; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"bentoml", "onnxruntime", "pandas", "starlette", "torch"}
    assert not heavy & set(loaded.stdout.split())


class TestPredict:
    def test_returns_the_typed_reading(self, server: Server, connect: Connect) -> None:
        server.on("/predict", Answer.json(bodies.reading(0.75)))
        with connect(server.url) as client:
            reading = client.predict(b"pixels")
        assert isinstance(reading, Prediction)
        assert (reading.probability, reading.call) == (0.75, "pneumonia")
        assert server.asked[0].parts[0].content == b"pixels"
        assert server.asked[0].parts[0].field == "image"

    def test_file_name_is_never_sent(
        self, server: Server, tmp_path: Path, connect: Connect
    ) -> None:
        file = tmp_path / "DOE^JANE.dcm"
        file.write_bytes(b"pixels")
        server.on("/predict", Answer.json(bodies.reading()))
        with connect(server.url) as client:
            client.predict(file)
        part = server.asked[0].parts[0]
        assert (part.filename, part.content) == ("image", b"pixels")

    def test_calibration_is_told_where_the_service_tells_it(
        self, server: Server, connect: Connect
    ) -> None:
        site = {"name": "site", "sha256": "c" * 64, "films": 200}
        server.on(
            "/predict",
            Answer.json({**bodies.reading(), "calibration": site}),
            Answer.json(bodies.reading()),
        )
        with connect(server.url) as client:
            told, older = client.predict(b"x"), client.predict(b"x")
        assert told.calibration == CalibrationReference(name="site", sha256="c" * 64, films=200)
        assert older.calibration is None

    def test_newer_service_may_add_fields_and_read_other_formats(
        self, server: Server, connect: Connect
    ) -> None:
        newer = bodies.reading() | {"new": 1}
        newer["input"] |= {"format": "TIFF", "depth": 16}
        server.on("/predict", Answer.json(newer))
        with connect(server.url) as client:
            reading = client.predict(b"x")
        assert (reading.probability, reading.input.format) == (0.75, "TIFF")

    def test_everything_that_this_service_answers_is_kept(
        self, server: Server, connect: Connect, tiny_model: Path
    ) -> None:
        sent = Prediction.from_reading(Reader.open(tiny_model).read(png_bytes()))
        server.on("/predict", Answer(body=sent.model_dump_json().encode()))
        with connect(server.url) as client:
            assert client.predict(b"x") == sent


class TestPredictWithHeatmap:
    @pytest.mark.parametrize(("form", "picture"), [("array", None), ("png", b"\x89PNG\0\xff")])
    def test_one_call_gives_both(
        self, server: Server, connect: Connect, form: Literal["png", "array"], picture: bytes | None
    ) -> None:
        server.on("/predict", Answer.json(bodies.with_heatmap(picture)))
        with connect(server.url) as client:
            reading = client.predict(b"pixels", heatmap=form)
        assert isinstance(reading, PredictionWithHeatmap)
        assert reading.probability == 0.75
        assert reading.heatmap.values == ((0.1, 0.25),)
        assert reading.heatmap.picture == picture
        (asked,) = server.asked
        assert asked.path == f"/predict?heatmap={form}"
        assert asked.parts[0].content == b"pixels"

    def test_reduced_picture_is_asked_for(self, server: Server, connect: Connect) -> None:
        server.on("/predict", Answer.json(bodies.with_heatmap(b"JPEG")))
        with connect(server.url) as client:
            client.predict(b"x", heatmap="jpeg", size="reduced")
        assert server.asked[0].path == "/predict?heatmap=jpeg&size=reduced"

    @pytest.mark.parametrize("picture", [1, "not base64", "AAA", "", None])
    def test_service_that_gives_none_is_told_apart(
        self, server: Server, connect: Connect, picture: object
    ) -> None:
        broken = bodies.with_heatmap()
        broken["heatmap"]["picture"] = picture
        server.on("/predict", Answer.json(bodies.reading()), Answer.json(broken))
        with connect(server.url) as client:
            for _ in range(2):
                with pytest.raises(ServiceFailed) as caught:
                    client.predict(b"x", heatmap="png")
                assert caught.value.code == "foreign_answer"

    def test_everything_that_this_service_answers_is_kept(
        self, server: Server, connect: Connect, tiny_model: Path
    ) -> None:
        reading, picture = Reader.open(tiny_model).explain(png_bytes(), bare=False)
        sent = PredictionWithHeatmap(
            **dict(Prediction.from_reading(reading)),
            heatmap=HeatmapFacts.of(reading, 5.0, picture, "image/png"),
        )
        server.on("/predict", Answer(body=sent.model_dump_json().encode()))
        with connect(server.url) as client:
            assert client.predict(b"x", heatmap="png") == sent
        assert sent.heatmap.picture == picture


class TestWay:
    def test_no_proxy_of_the_environment_gets_films(
        self, server: Server, monkeypatch: pytest.MonkeyPatch, connect: Connect
    ) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        server.on("/predict", Answer.json(bodies.reading()))
        with connect(server.url, retries=0) as client:
            assert client.predict(b"x").probability == 0.75

    @pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
    def test_authorities_of_the_environment_are_trusted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connect: Connect
    ) -> None:
        key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
        make = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x"
        )
        names = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate)
        subprocess.run([*make.split(), *names], check=True, capture_output=True)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        with running_server(context) as server:
            server.on("/predict", Answer.json(bodies.reading()))
            with connect(server.url, retries=0) as client, pytest.raises(ServiceUnreachable):
                client.predict(b"x")
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            with connect(server.url) as client:
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
            (None, " cxr_env\n", "Bearer cxr_env"),
            ("cxr_given\r\n", None, "Bearer cxr_given"),
            ("\n", None, None),
        ],
    )
    def test_argument_comes_before_the_environment(
        self,
        server: Server,
        monkeypatch: pytest.MonkeyPatch,
        argument: str | None,
        variable: str | None,
        sent: str | None,
        connect: Connect,
    ) -> None:
        monkeypatch.delenv("CXR_API_KEY", raising=False)
        if variable is not None:
            monkeypatch.setenv("CXR_API_KEY", variable)
        server.on("/predict", Answer.json(bodies.reading()))
        with connect(server.url, api_key=argument) as client:
            client.predict(b"x")
        assert server.asked[0].authorization == sent

    @pytest.mark.parametrize("key", ["cxr_a\nb", "cxr_a\x7fb", "cxr_a\u201db", "cxr_a\ud800b"])
    def test_one_that_no_header_can_hold_is_refused_and_not_quoted(
        self, monkeypatch: pytest.MonkeyPatch, key: str, connect: Connect
    ) -> None:
        with pytest.raises(
            ValueError, match=r"^api_key is no API key: its character 6 of 7"
        ) as told:
            connect("http://127.0.0.1", api_key=key)
        assert "cxr_" not in str(told.value)
        monkeypatch.setattr("os.environ", {"CXR_API_KEY": key})
        with pytest.raises(ValueError, match=r"^CXR_API_KEY is"):
            connect("http://127.0.0.1")

    def test_is_in_no_message_of_a_request_that_cannot_be_sent(self, server: Server) -> None:
        with pytest.raises(httpx.LocalProtocolError, match="cxr_") as raised:
            httpx.get(server.url, headers={"Authorization": "Bearer cxr_a\n"}, trust_env=False)
        told = unreachable(raised.value, httpx.URL(server.url))
        assert str(told).startswith(f"No answer from {server.url}: the request cannot be sent.")

    @pytest.mark.parametrize(
        "answer",
        [
            Answer.problem(401, "unauthorized"),
            Answer.problem(403, "keys_required"),
            Answer(status=403, body=b"the proxy says no"),
        ],
    )
    def test_denial_is_no_refusal_of_the_image_and_not_retried(
        self, server: Server, answer: Answer, connect: Connect
    ) -> None:
        server.on("/predict", answer)
        with (
            connect(server.url, api_key="cxr_wrong") as client,
            pytest.raises(AccessDenied) as denied,
        ):
            client.predict(b"x")
        assert denied.value.status == answer.status
        assert "cxr_wrong" not in str(denied.value)
        assert len(server.asked) == 1


class TestRefusals:
    def test_problem_carries_status_code_and_detail(self, server: Server, connect: Connect) -> None:
        server.on("/predict", Answer.problem(422, "not_a_chest", "BodyPartExamined is 'HAND'"))
        with connect(server.url) as client, pytest.raises(ImageRefused) as caught:
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
        self,
        server: Server,
        answer: Answer,
        error: type[ChestXrayError],
        message: str,
        connect: Connect,
    ) -> None:
        server.on("/predict", answer)
        with connect(server.url) as client, pytest.raises(error) as caught:
            client.predict(b"x")
        assert message in str(caught.value)
        assert len(server.asked) == 1

    @pytest.mark.parametrize("body", [b"{not json", b"[]", b'{"probability": "high"}', b""])
    def test_success_that_is_no_reading_is_a_failure(
        self, server: Server, body: bytes, connect: Connect
    ) -> None:
        server.on("/predict", Answer(body=body))
        with connect(server.url) as client, pytest.raises(ServiceFailed) as caught:
            client.predict(b"x")
        assert caught.value.code == "foreign_answer"


class TestRetries:
    @pytest.mark.parametrize("status", [429, 503])
    def test_busy_service_is_asked_again(
        self, server: Server, status: int, connect: Connect
    ) -> None:
        busy = Answer(status=status, headers={"Retry_After": "0"})
        server.on("/predict", busy, busy, Answer.json(bodies.reading()))
        with connect(server.url, retries=2) as client:
            assert client.predict(b"x").probability == 0.75
        assert len(server.asked) == 3

    def test_gives_up_after_the_last_retry_and_says_why(
        self, server: Server, connect: Connect
    ) -> None:
        server.on("/predict", Answer.problem(503, "service_busy", "Too many requests."))
        with connect(server.url, retries=2) as client, pytest.raises(ServiceBusy) as caught:
            client.predict(b"x")
        assert (caught.value.code, len(server.asked)) == ("service_busy", 3)
        assert "Too many requests." in str(caught.value)

    @pytest.mark.parametrize("code", ["model_unavailable", "model_corrupt", "calibration_mismatch"])
    def test_service_without_a_model_is_broken_and_asked_once(
        self, server: Server, code: str, connect: Connect
    ) -> None:
        server.on("/predict", Answer.problem(503, code, "Set CXR_MODEL."))
        with connect(server.url) as client, pytest.raises(ServiceFailed) as caught:
            client.predict(b"x")
        assert (caught.value.status, caught.value.code, len(server.asked)) == (503, code, 1)
        assert "Set CXR_MODEL." in str(caught.value)

    def test_longer_wait_than_a_minute_is_not_waited(
        self, server: Server, connect: Connect
    ) -> None:
        server.on("/predict", Answer(status=503, headers={"Retry_After": "3600"}))
        with connect(server.url) as client, pytest.raises(ServiceBusy):
            client.predict(b"x")
        assert len(server.asked) == 1

    def test_refused_connection_names_the_address(self, connect: Connect) -> None:
        url = f"http://127.0.0.1:{free_port()}"
        with connect(url, retries=1) as client, pytest.raises(ServiceUnreachable) as caught:
            client.predict(b"x")
        assert url in str(caught.value)

    def test_silent_service_is_unreachable_after_the_timeout(self, connect: Connect) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            with (
                connect(url, timeout=0.05) as client,
                pytest.raises(ServiceUnreachable, match="timed out"),
            ):
                client.predict(b"x")


class TestBatch:
    def test_entries_are_readings_or_problems_in_order(
        self, server: Server, connect: Connect
    ) -> None:
        problem = {"type": "about:blank", "title": "t", "status": 422, "detail": "d"}
        entries = [bodies.reading(0.9), {**problem, "code": "not_frontal"}]
        server.on("/predict_batch", Answer.json(entries))
        with connect(server.url) as client:
            first, second = client.predict_batch([b"one", b"two"])
        assert isinstance(first, Prediction)
        assert isinstance(second, Problem)
        assert second.code == "not_frontal"
        parts = server.asked[0].parts
        assert [(p.field, p.content) for p in parts] == [("images", b"one"), ("images", b"two")]

    def test_wrong_number_of_entries_is_a_failure(self, server: Server, connect: Connect) -> None:
        server.on("/predict_batch", Answer.json([bodies.reading()]))
        with (
            connect(server.url) as client,
            pytest.raises(ServiceFailed, match="1 entries for 2 images"),
        ):
            client.predict_batch([b"one", b"two"])

    def test_more_than_one_request_takes_are_sent_in_several(
        self, server: Server, connect: Connect
    ) -> None:
        answers = [[bodies.reading(n / 100) for n in some] for some in (range(8), range(8, 10))]
        server.on("/predict_batch", *map(Answer.json, answers))
        with connect(server.url) as client:
            results = client.predict_batch(b"%d" % n for n in range(10))
        assert results == [Prediction(**bodies.reading(n / 100)) for n in range(10)]
        sent = [[part.content for part in asked.parts] for asked in server.asked]
        assert sent == [[b"%d" % n for n in range(8)], [b"8", b"9"]]

    def test_what_was_read_before_a_request_failed_comes_with_the_error(
        self, server: Server, connect: Connect
    ) -> None:
        busy = Answer(status=503, body=b"")
        server.on("/predict_batch", Answer.json([bodies.reading(0.25)] * 8), busy)
        with connect(server.url, retries=0) as client, pytest.raises(ServiceBusy) as caught:
            client.predict_batch([b"x"] * 10)
        assert caught.value.results == [Prediction(**bodies.reading(0.25))] * 8

    def test_no_images_ask_nothing(self, server: Server, connect: Connect) -> None:
        with connect(server.url) as client:
            assert client.predict_batch([]) == []
        assert server.asked == []


class TestManyAtOnce:
    def test_eight_are_under_way_and_the_files_of_the_others_are_unread(
        self, server: Server, tmp_path: Path
    ) -> None:
        films = [tmp_path / str(number) for number in range(12)]
        for film in films:
            film.write_bytes(b"old")
        opened = Event()
        body = json.dumps(bodies.reading()).encode()
        server.on("/predict", Answer(body=body, when=lambda: opened.wait(PATIENCE)))

        async def read() -> None:
            async with AsyncChestXrayClient(server.url, timeout=PATIENCE) as client:
                asked = asyncio.gather(*(client.predict(film) for film in films))
                await asyncio.to_thread(wait_until, lambda: len(server.asked) >= 8)
                for film in films:
                    film.write_bytes(b"new")
                opened.set()
                await asked

        asyncio.run(read())
        sent = sorted(asked.parts[0].content for asked in server.asked)
        assert sent == [b"new"] * 4 + [b"old"] * 8


class TestExplain:
    def test_returns_the_picture_and_the_probability_of_the_header(
        self, server: Server, connect: Connect
    ) -> None:
        server.on("/explain", Answer(body=b"PNG", headers={PROBABILITY_HEADER: "0.125"}))
        with connect(server.url) as client:
            explanation = client.explain(b"x", bare=True, form="jpeg")
            client.explain(b"x", size="reduced")
        assert (explanation.picture, explanation.probability) == (b"PNG", 0.125)
        assert [asked.path for asked in server.asked] == [
            "/explain?bare=true&format=jpeg",
            "/explain?bare=false&format=png&size=reduced",
        ]

    def test_picture_without_probability_is_a_failure(
        self, server: Server, connect: Connect
    ) -> None:
        server.on("/explain", Answer(body=b"PNG"))
        with connect(server.url) as client, pytest.raises(ServiceFailed):
            client.explain(b"x")


class TestState:
    def test_impossible_manifest_is_no_answer_of_this_service(
        self, server: Server, connect: Connect
    ) -> None:
        served = bodies.model()
        served["manifest"]["operating_points"] = [bodies.POINT | {"threshold": 1.5}]
        server.on("/model", Answer.json(served))
        with connect(server.url) as client, pytest.raises(ServiceFailed) as caught:
            client.model()
        assert caught.value.code == "foreign_answer"

    def test_manifest_is_that_of_the_model(
        self, server: Server, connect: Connect, tiny_model: Path
    ) -> None:
        reader = Reader.open(tiny_model)
        sent = ModelInfo.from_reader(reader).model_dump_json()
        assert json.loads(sent)["manifest"] == json.loads(reader.manifest.to_json())
        server.on("/model", Answer(body=sent.encode()))
        with connect(server.url) as client:
            assert client.model().manifest == reader.manifest

    def test_model_is_typed(self, server: Server, connect: Connect) -> None:
        server.on("/model", Answer.json(bodies.model()))
        with connect(server.url) as client:
            assert client.model().manifest.name == "default"

    def test_ready_follows_the_service(self, server: Server, connect: Connect) -> None:
        server.on("/readyz", Answer(body=b"\n"), Answer(status=503))
        with connect(server.url) as client:
            assert client.ready()
            assert not client.ready()
        with connect(f"http://127.0.0.1:{free_port()}") as client:
            assert not client.ready()

import asyncio
import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from email import policy
from email.parser import BytesParser
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from service.app import api, service
from service.http.endpoints import COPIES_IN_JSON
from service.imaging.decode import Limits, decode
from service.imaging.display import grey_values, heat_values
from service.imaging.overlay import colour_map, draw_heatmap
from service.imaging.picture import FORMATS
from service.imaging.standardise import Geometry
from service.inference.async_reader import CHANNELS
from service.memory import Lease
from service.model.reader import Reader
from service.schemas import INTENDED_USE
from tests.factories import chest, dicom_bytes, png_bytes
from tests.processes import has_work, own_decoders, ready_decoders, suspended, wait_until
from tests.serving import problem, serving
from tests.tiny_model import CARD, FAMILIAR, UNFAMILIAR

DICOM, PNG, LATERAL = dicom_bytes(), png_bytes(), dicom_bytes(view="LL")


@pytest.fixture(scope="class")
def client(tiny_model: Path) -> Iterator[TestClient]:
    """One service for all tests of a class; those that start another one are in another class."""
    with serving(tiny_model) as client:
        yield client


class TestPredict:
    def test_reading_is_that_of_the_reader(self, client: TestClient, tiny_model: Path) -> None:
        reading = Reader.open(tiny_model).read(DICOM)
        response = client.post("/predict", files={"image": DICOM})
        assert response.status_code == 200
        assert response.json() == {
            "probability": pytest.approx(reading.probability, abs=1e-6),
            "familiarity": None,
            "call": reading.call,
            "operating_point": {
                "name": "balanced",
                "threshold": 0.5,
                "sensitivity": 0.9,
                "specificity": 0.8,
            },
            "calibration": {"name": "synthetic", "sha256": None, "films": None},
            "model": {"name": "tiny", "version": "1", "sha256": reading.model.sha256},
            "input": {
                "format": "DICOM",
                "rows": 256,
                "columns": 240,
                "photometric": "MONOCHROME2",
                "view": "PA",
                "pixel_spacing_mm": None,
                "transfer_syntax": "1.2.840.10008.1.2.1",
            },
            "warnings": [],
            "intended_use": INTENDED_USE,
        }

    def test_warnings_are_told(self, client: TestClient) -> None:
        answer = client.post("/predict", files={"image": dicom_bytes(view=None)}).json()
        assert answer["warnings"]
        assert answer["input"]["view"] is None

    def test_refusal_names_tag_and_remedy(self, client: TestClient) -> None:
        response = client.post("/predict", files={"image": LATERAL})
        assert problem(response) == (422, "not_frontal")
        assert "(0018,5101)" in response.json()["detail"]

    def test_name_of_the_file_is_not_echoed(
        self, client: TestClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        name = "Doe^Jane.dcm"
        for content in (DICOM, LATERAL, b"text"):
            response = client.post("/predict", files={"image": (name, content)})
            assert "Doe" not in response.text
            assert "Doe" not in str(response.headers)
        assert "Doe" not in caplog.text

    def test_two_images_are_refused(self, client: TestClient) -> None:
        response = client.post("/predict", files=[("image", PNG), ("image", PNG)])
        assert problem(response) == (413, "too_many_images")
        assert "/predict_batch" in response.json()["detail"]


@cache
def large() -> bytes:
    """A film whose picture can be reduced, of odd sides."""
    return png_bytes(chest(1283, 1301, bits=8))


def size_of(picture: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(picture)) as image:
        return image.size


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """A reading without its heatmap."""
    return {name: value for name, value in answer.items() if name != "heatmap"}


class TestHeatmapInPrediction:
    @pytest.mark.parametrize("form", FORMATS)
    def test_one_call_gives_what_two_give(self, client: TestClient, form: str) -> None:
        answer = client.post(f"/predict?heatmap={form}", files={"image": DICOM}).json()
        assert plain(answer) == client.post("/predict", files={"image": DICOM}).json()
        picture = client.post(f"/explain?format={form}", files={"image": DICOM})
        assert b64decode(answer["heatmap"]["picture"], validate=True) == picture.content
        assert answer["heatmap"]["media_type"] == picture.headers["content-type"]

    def test_array_is_the_reader_s_and_draws_the_bare_picture(
        self, client: TestClient, tiny_model: Path
    ) -> None:
        answer = client.post("/predict?heatmap=array", files={"image": DICOM}).json()
        assert plain(answer) == client.post("/predict", files={"image": DICOM}).json()
        told = answer["heatmap"]
        assert (told["picture"], told["media_type"]) == (None, None)
        values = np.array(told["values"], np.float32)
        assert values.shape == (told["rows"], told["columns"])
        assert values.tolist() == told["values"]  # no digit was lost
        reader = Reader.open(tiny_model)
        np.testing.assert_allclose(values, reader.read(DICOM).heatmap, atol=1e-6)
        place = {name: told[name] for name in ("left", "top", "width", "height")}
        frame = Geometry(rows=answer["input"]["rows"], columns=answer["input"]["columns"], **place)
        drawn = draw_heatmap(None, values, frame, full_scale=told["full_scale"])
        assert drawn == client.post("/explain?bare=true", files={"image": DICOM}).content

    def test_memory_of_the_answer_is_given_back(self, client: TestClient) -> None:
        budget = api.state.admission.reader._budget
        for _ in range(2):
            assert client.post("/predict?heatmap=png", files={"image": DICOM}).status_code == 200
            assert budget.held == 0

    def test_reduced_picture_is_drawn_by_the_service(self, client: TestClient) -> None:
        answers = [
            client.post(f"/predict?heatmap=jpeg{size}", files={"image": large()}).json()
            for size in ("", "&size=reduced")
        ]
        pictures = [b64decode(answer["heatmap"].pop("picture")) for answer in answers]
        assert answers[0] == answers[1]  # in pixels of the film
        assert [size_of(picture) for picture in pictures] == [(1301, 1283), (651, 642)]
        explained = [
            client.post(
                f"/explain?format=jpeg&size=reduced&bare={bare}", files={"image": large()}
            ).content
            for bare in ("false", "true")
        ]
        assert explained[0] == pictures[1] != explained[1]
        assert size_of(explained[1]) == (651, 642)

    def test_holds_memory_for_the_picture_that_is_drawn(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept = list[int]()
        keep = Lease.keep

        def note(lease: Lease, size: int) -> None:
            kept.append(size)
            keep(lease, size)

        monkeypatch.setattr(Lease, "keep", note)
        for size, pixels in (("film", 1283 * 1301), ("reduced", 642 * 651)):
            kept.clear()
            client.post(f"/predict?heatmap=jpeg&size={size}", files={"image": large()})
            assert max(kept) == pixels * CHANNELS * COPIES_IN_JSON

    def test_refusal_is_a_problem(self, client: TestClient) -> None:
        response = client.post("/predict?heatmap=png", files={"image": LATERAL})
        assert problem(response) == (422, "not_frontal")


class TestRawBody:
    """curl --data-binary, and programs that hold one film."""

    @pytest.mark.parametrize(
        ("content", "media_type"),
        [
            (DICOM, "application/dicom"),
            (DICOM, "application/octet-stream"),
            (DICOM, "application/x-www-form-urlencoded"),
            (PNG, "image/png"),
            (PNG, "image/jpeg"),  # the content decides
            (LATERAL, "application/dicom"),
            (b"", "application/dicom"),
            (b"text", "image/png"),
            (b"image=/etc/hostname", "application/x-www-form-urlencoded"),
            (DICOM[:-1000], "application/dicom"),
            (PNG[:60] + bytes(200) + PNG[260:], "image/png"),
        ],
    )
    def test_says_what_a_form_says(
        self, client: TestClient, content: bytes, media_type: str
    ) -> None:
        headers = {"Content-Type": media_type}
        for path in ("/predict", "/predict?heatmap=png"):
            alone = client.post(path, content=content, headers=headers)
            form = client.post(path, files={"image": content})
            assert alone.status_code == form.status_code
            answers = alone.json(), form.json()
            for answer in answers:
                answer.pop("request_id", None)
            assert answers[0] == answers[1]
            assert alone.status_code < 500

    def test_is_read_by_every_endpoint(self, client: TestClient) -> None:
        headers = {"Content-Type": "application/dicom"}
        pictures = [
            client.post("/explain", content=DICOM, headers=headers),
            client.post("/explain", files={"image": DICOM}),
        ]
        assert pictures[0].content == pictures[1].content
        assert client.post("/view", content=DICOM, headers=headers).status_code == 200
        (entry,) = client.post("/predict_batch", content=DICOM, headers=headers).json()
        assert entry == client.post("/predict", files={"image": DICOM}).json()

    def test_another_media_type_is_refused_with_a_remedy(self, client: TestClient) -> None:
        for media_type in ("text/plain", "application/json", "multipart/mixed; boundary=x"):
            response = client.post("/predict", content=DICOM, headers={"Content-Type": media_type})
            assert problem(response) == (415, "unsupported_media_type")
            assert "application/dicom" in response.json()["detail"]


class TestStable:
    """Everything also answers under /v1."""

    def test_same_answers(self, client: TestClient) -> None:
        assert (
            client.post("/v1/predict", files={"image": DICOM}).json()
            == client.post("/predict", files={"image": DICOM}).json()
        )
        for path in ("/model", "/openapi.json", "/docs", "/ui/", "/livez", "/readyz"):
            here, there = client.get(path), client.get(f"/v1{path}")
            assert (there.status_code, there.content) == (200, here.content), path

    def test_prefix_counts_once(self, client: TestClient) -> None:
        for path in ("/v1", "/v1/", "/v1/v1/model", "/v2/model", "/v1model"):
            assert client.get(path).status_code == (200 if path == "/v1/" else 404), path


class TestParameters:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/predict?heatmaps=png"),
            ("POST", "/predict?heatmap=gif"),
            ("POST", "/predict?size=reduced"),
            ("POST", "/predict?heatmap=array&size=reduced"),
            ("POST", "/explain?format=png&size=2"),
            ("POST", "/view?bare=true"),
            ("POST", "/predict_batch?heatmap=png"),
            ("GET", "/model?version=2"),
        ],
    )
    def test_unknown_one_is_refused(self, client: TestClient, method: str, path: str) -> None:
        name = "images" if "batch" in path else "image"
        files = {name: PNG} if method == "POST" else None
        response = client.request(method, path, files=files)
        assert problem(response) == (400, "invalid_parameter")


class TestRedirects:
    def test_none_names_a_host(self, client: TestClient) -> None:
        for path in ("/predict/", "/model/", "/docs/", "/static_content", "/livez/", "/v1/model/"):
            answer = client.get(path, headers={"Host": "elsewhere.example"}, follow_redirects=False)
            assert problem(answer) == (404, "not_found"), path
        for path in ("/ui", "/v1/ui"):
            answer = client.get(path, headers={"Host": "elsewhere.example"}, follow_redirects=False)
            assert answer.headers["location"] == "ui/"


class TestCompression:
    def test_long_json_alone_is_compressed(self, client: TestClient) -> None:
        plain = client.get("/docs.json", headers={"Accept-Encoding": "identity"})
        packed = client.get("/docs.json", headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert "Accept-Encoding" in packed.headers["vary"]
        assert packed.json() == plain.json()
        assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2

    @pytest.mark.parametrize("path", ["/predict", "/explain", "/view", "/predict?heatmap=png"])
    def test_short_answers_and_pictures_are_not(self, client: TestClient, path: str) -> None:
        response = client.post(path, files={"image": DICOM}, headers={"Accept-Encoding": "gzip"})
        assert response.status_code == 200
        assert "content-encoding" not in response.headers


class TestFamiliarity:
    def test_familiarity_is_told_and_what_is_unfamiliar_gets_none(self, gated_model: Path) -> None:
        expected = Reader.open(gated_model).read(FAMILIAR).familiarity
        with serving(gated_model) as client:
            read, refused = client.post(
                "/predict_batch", files=[("images", FAMILIAR), ("images", UNFAMILIAR)]
            ).json()
        assert read["familiarity"] == pytest.approx(expected)
        assert refused["code"] == "unfamiliar_image"
        assert "probability" not in refused


class TestExplain:
    @pytest.mark.parametrize(
        ("query", "mode", "form"),
        [("", "RGB", "PNG"), ("?bare=true", "L", "PNG"), ("?format=jpeg", "RGB", "JPEG")],
    )
    def test_picture_on_the_pixel_grid(
        self, client: TestClient, query: str, mode: str, form: str
    ) -> None:
        response = client.post(f"/explain{query}", files={"image": DICOM})
        assert response.headers["content-type"] == f"image/{form.lower()}"
        with Image.open(BytesIO(response.content)) as image:
            assert image.format == form
            assert (image.height, image.width) == chest().shape
            assert image.mode == mode

    def test_headers_repeat_the_reading(self, client: TestClient) -> None:
        headers = client.post("/explain", files={"image": DICOM}).headers
        answer = client.post("/predict", files={"image": DICOM}).json()
        assert float(headers["X-Probability"]) == answer["probability"]
        assert headers["X-Call"] == answer["call"]
        assert headers["X-Model-Sha256"] == answer["model"]["sha256"]
        assert headers["X-Intended-Use"] == INTENDED_USE

    @pytest.mark.parametrize(
        ("accept", "query", "form"),
        [
            ("image/jpeg", "", "jpeg"),
            ("image/jpeg, image/png;q=0.5", "", "jpeg"),
            ("image/avif,image/webp,image/png,image/*;q=0.8,*/*;q=0.5", "", "png"),
            ("text/html", "", "png"),
            ("image/jpeg", "?format=png", "png"),
        ],
    )
    def test_accept_decides_where_no_format_is_asked_for(
        self, client: TestClient, accept: str, query: str, form: str
    ) -> None:
        response = client.post(
            f"/explain{query}", files={"image": DICOM}, headers={"Accept": accept}
        )
        assert response.headers["content-type"] == f"image/{form}"

    @pytest.mark.parametrize("query", ["bare=yes", "format=gif"])
    def test_unknown_value_is_refused(self, client: TestClient, query: str) -> None:
        response = client.post(f"/explain?{query}", files={"image": DICOM})
        assert problem(response) == (400, "invalid_parameter")

    def test_refusal_is_a_problem(self, client: TestClient) -> None:
        assert problem(client.post("/explain", files={"image": LATERAL}))[1] == "not_frontal"


class TestView:
    def test_parts_are_what_the_reader_gives(self, client: TestClient, tiny_model: Path) -> None:
        response = client.post("/view", files={"image": DICOM})
        parts = parts_of(response)
        reader = Reader.open(tiny_model)
        reading, grey = reader.read(DICOM), grey_values(decode(DICOM, Limits()))
        scale = reader.manifest.heatmap_scale
        heat = heat_values(reading.heatmap, reading.geometry, full_scale=scale)
        assert (
            json.loads(parts["reading"]) == client.post("/predict", files={"image": DICOM}).json()
        )
        assert json.loads(parts["reading"])["call"] == reading.call
        shape = (int(response.headers["X-Rows"]), int(response.headers["X-Columns"]))
        assert shape == chest().shape
        assert np.array_equal(np.frombuffer(parts["radiograph"], "<u2").reshape(shape), grey)
        assert np.array_equal(np.frombuffer(parts["heat"], np.uint8).reshape(shape), heat)
        assert parts["colours"] == colour_map().tobytes()

    def test_without_reading_it_is_the_radiograph_also_where_a_reading_is_refused(
        self, client: TestClient
    ) -> None:
        small = png_bytes(chest(64, 48, bits=8))
        assert problem(client.post("/view", files={"image": small})) == (422, "too_small")
        response = client.post("/view?reading=none", files={"image": small})
        assert (response.headers["X-Rows"], response.headers["X-Columns"]) == ("64", "48")
        parts = parts_of(response)
        assert parts.keys() == {"radiograph"}
        assert parts["radiograph"] == grey_values(decode(small, Limits())).astype("<u2").tobytes()
        refusal = client.post("/view?reading=none", files={"image": LATERAL})
        assert problem(refusal) == (422, "not_frontal")

    def test_browser_keeps_no_copy(self, client: TestClient) -> None:
        headers = client.post("/view", files={"image": PNG}).headers
        assert headers["Cache-Control"] == "no-store"

    def test_refusal_is_a_problem(self, client: TestClient) -> None:
        assert problem(client.post("/view", files={"image": LATERAL})) == (422, "not_frontal")

    def test_name_of_the_file_is_not_echoed(self, client: TestClient) -> None:
        response = client.post("/view", files={"image": ("Doe^Jane.dcm", DICOM)})
        assert b"Doe" not in response.content


def parts_of(response: Any) -> dict[str, bytes]:
    """The parts of a form, by a parser that is not ours."""
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=policy.HTTP).parsebytes(head + response.content)
    return {
        str(part.get_filename()): bytes(part.get_payload(decode=True) or b"")
        for part in message.walk()
        if not part.is_multipart()
    }


class TestPredictBatch:
    def test_entries_in_order_and_refusals_apart(self, client: TestClient) -> None:
        files = [("images", content) for content in (LATERAL, DICOM, b"text", PNG)]
        entries = client.post("/predict_batch", files=files).json()
        assert [entry.get("code") for entry in entries] == [
            "not_frontal",
            None,
            "not_an_image",
            None,
        ]
        assert [entry.get("status") for entry in entries] == [422, None, 415, None]
        alone = client.post("/predict", files={"image": DICOM}).json()
        assert entries[1]["probability"] == pytest.approx(alone["probability"], abs=1e-6)
        assert entries[3]["input"]["format"] == "PNG"


class TestModel:
    def test_manifest_and_card(self, client: TestClient, tiny_model: Path) -> None:
        answer = client.get("/model").json()
        assert answer["card"] == CARD
        assert answer["calibration"] == {
            "name": "synthetic", "sha256": None, "films": None, "temperature": 1.5, "bias": 0.0,
            "operating_points": answer["manifest"]["operating_points"],
        }  # fmt: skip
        assert answer["manifest"] == json.loads((tiny_model / "manifest.json").read_text())
        assert answer["provider"] in {"CPUExecutionProvider", "CUDAExecutionProvider"}
        assert answer["intended_use"] == INTENDED_USE

    @pytest.mark.parametrize("encoding", ["identity", "gzip"])
    def test_who_has_it_already_is_told_so(self, client: TestClient, encoding: str) -> None:
        headers = {"Accept-Encoding": encoding}
        first = client.get("/model", headers=headers)
        assert first.headers["cache-control"] == "private, no-cache"
        for known in (first.headers["etag"], f'"x", {first.headers["etag"]}', "*"):
            again = client.get("/model", headers=headers | {"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == first.headers["etag"]
        other = client.get("/model", headers=headers | {"If-None-Match": 'W/"x"'})
        assert (other.status_code, other.json()) == (200, first.json())


class TestWithoutModel:
    @pytest.fixture
    def empty(self, tmp_path: Path) -> Iterator[TestClient]:
        with serving(tmp_path) as client:
            yield client

    def test_alive_but_not_ready(self, empty: TestClient) -> None:
        assert empty.get("/livez").status_code == 200
        assert empty.get("/healthz").status_code == 200
        response = empty.get("/readyz")
        assert problem(response) == (503, "model_unavailable")
        assert "Set CXR_MODEL" in response.json()["detail"]

    @pytest.mark.parametrize("path", ["/predict", "/explain", "/view", "/predict_batch"])
    def test_every_reading_is_answered_with_the_reason(self, empty: TestClient, path: str) -> None:
        response = empty.post(path, files={"image": PNG})
        assert problem(response) == (503, "model_unavailable")
        assert problem(empty.get("/model")) == (503, "model_unavailable")


class TestSystemEndpoints:
    @pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
    def test_healthy(self, client: TestClient, path: str) -> None:
        assert client.get(path).status_code == 200


def asgi_client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


def predicting(client: TestClient) -> Callable[[], object]:
    """Ask for one reading."""
    return partial(client.post, "/predict", files={"image": PNG})


class TestLoad:
    def test_liveness_is_answered_while_a_reading_runs(self, client: TestClient) -> None:
        async def scenario() -> httpx.Response:
            async with asgi_client(client.app) as http:
                with suspended(decoders):
                    reading = asyncio.create_task(http.post("/predict", files={"image": PNG}))
                    for _ in range(3):
                        assert (await http.get("/livez")).status_code == 200
                    assert not reading.done()
                return await reading

        decoders = ready_decoders(predicting(client))
        assert asyncio.run(scenario()).status_code == 200

    def test_many_at_once_get_the_bits_that_each_gets_alone(self, client: TestClient) -> None:
        contents = [png_bytes(chest(seed=seed)) for seed in range(12)]

        async def together() -> list[httpx.Response]:
            async with asgi_client(client.app) as http:
                return await asyncio.gather(
                    *(http.post("/predict", files={"image": content}) for content in contents)
                )

        alone = [client.post("/predict", files={"image": content}) for content in contents]
        answers = [response.json()["probability"] for response in asyncio.run(together())]
        assert answers == [response.json()["probability"] for response in alone]
        assert len(set(answers)) > 1


class TestLimits:
    def test_file_over_the_limit_does_not_touch_the_others(self, tiny_model: Path) -> None:
        with serving(tiny_model, CXR_MAX_BYTES=len(DICOM)) as client:
            files = [("images", bytes(len(DICOM) + 1)), ("images", DICOM)]
            first, second = client.post("/predict_batch", files=files).json()
            headers = {"Content-Type": "application/dicom"}
            alone = client.post("/predict", content=bytes(len(DICOM) + 1), headers=headers)
            assert problem(alone) == (413, "too_many_bytes")
            assert client.post("/predict", content=DICOM, headers=headers).status_code == 200
        assert (first["status"], first["code"]) == (413, "too_many_bytes")
        assert second["input"]["format"] == "DICOM"

    def test_more_files_than_the_limit_are_refused(self, tiny_model: Path) -> None:
        with serving(tiny_model, CXR_MAX_BATCH=2) as client:
            assert client.post("/predict_batch", files=[("images", PNG)] * 2).status_code == 200
            response = client.post("/predict_batch", files=[("images", PNG)] * 3)
            assert problem(response) == (413, "too_many_images")

    def test_request_over_the_limit_is_told_at_once_to_come_again(self, tiny_model: Path) -> None:
        async def scenario(app: Any) -> tuple[httpx.Response, httpx.Response, httpx.Response]:
            async with asgi_client(app) as http:
                with suspended(decoders):
                    reading = asyncio.create_task(http.post("/predict", files={"image": PNG}))
                    await asyncio.sleep(0)
                    refused = await http.post("/predict", files={"image": PNG})
                first = await reading
                return refused, first, await http.post("/predict", files={"image": PNG})

        with serving(tiny_model, CXR_MAX_REQUESTS=1) as client:
            decoders = ready_decoders(predicting(client))
            refused, first, again = asyncio.run(scenario(client.app))
        assert problem(refused) == (503, "service_busy")
        assert refused.headers["Retry-After"] == "1"
        assert (first.status_code, again.status_code) == (200, 200)


class TestDeadDecoders:
    def test_file_that_costs_its_process_is_refused_and_the_service_goes_on(
        self, tiny_model: Path
    ) -> None:
        async def scenario() -> httpx.Response:
            async with asgi_client(client.app) as http:
                reading = asyncio.create_task(http.post("/predict", files={"image": PNG}))
                await asyncio.to_thread(wait_until, lambda: any(map(has_work, decoders)))
                for decoder in decoders:
                    decoder.kill()
                return await reading

        with serving(tiny_model) as client:
            decoders = ready_decoders(predicting(client))
            with suspended(decoders):
                assert problem(asyncio.run(scenario())) == (422, "decoder_crashed")
            assert client.post("/predict", files={"image": PNG}).status_code == 200
            wait_until(lambda: len(own_decoders()) == len(decoders))

    def test_decoding_that_takes_too_long_is_ended(self, tiny_model: Path) -> None:
        with serving(tiny_model, CXR_DECODE_SECONDS=5) as client:
            decoders = ready_decoders(predicting(client))
            for decoder in decoders:
                decoder.suspend()
            assert problem(client.post("/predict", files={"image": PNG})) == (
                422,
                "decode_timeout",
            )


def test_service_has_no_native_endpoint_that_would_follow_paths() -> None:
    assert service.apis == {}

"""A stranger's path: start the service, send files, get readings."""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from clients import ChestXrayClient, ImageRefused
from clients.datasets.open import open_dataset
from clients.scoring.local import LocalEngine
from clients.scoring.rest import RestEngine
from service.imaging.claim import MIB
from service.model.bundle import Bundle
from service.model.reader import Reader
from service.processor import this_processor
from service.settings import Settings
from tests.e2e.conftest import Server, sample
from tests.factories import chest, dicom_bytes, png_bytes
from tests.serving import FORM, part, problem

pytestmark = pytest.mark.e2e


def predict(http: httpx.Client, content: bytes) -> httpx.Response:
    return http.post("/predict", files={"image": content})


class TestRealRadiographs:
    def test_chest_pa_gets_a_reading(self, http: httpx.Client) -> None:
        response = predict(http, sample("RG1_J2KI.dcm"))
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["input"]["view"] == "PA"
        assert answer["input"]["photometric"] == "MONOCHROME1"
        assert (answer["input"]["rows"], answer["input"]["columns"]) == (1955, 1841)
        assert 0 <= answer["probability"] <= 1

    @pytest.mark.parametrize(("bare", "mode"), [("false", "RGB"), ("true", "L")])
    def test_heatmap_has_the_pixel_grid(self, http: httpx.Client, bare: str, mode: str) -> None:
        content = sample("RG1_J2KI.dcm")
        response = http.post("/explain", files={"image": content}, params={"bare": bare})
        with Image.open(BytesIO(response.content)) as image:
            assert image.format == "PNG"
            assert image.size == (1841, 1955)
            assert image.mode == mode
        expected = predict(http, content).json()["probability"]
        assert float(response.headers["X-Probability"]) == pytest.approx(expected, abs=1e-6)

    def test_extremity_is_refused_by_body_part(self, http: httpx.Client) -> None:
        response = predict(http, sample("RG3_J2KI.dcm"))
        assert problem(response) == (422, "not_a_chest")
        assert "Body Part Examined (0018,0015)" in response.json()["detail"]


class TestShippedModel:
    def test_golden_readings_replay_through_the_service(
        self, http: httpx.Client, server: Server
    ) -> None:
        golden = json.loads((server.model / "golden.json").read_text())["readings"]
        assert {entry["label"] for entry in golden} == {0, 1}
        for entry in golden:
            answer = predict(http, base64.b64decode(entry["image"])).json()
            assert answer["probability"] == pytest.approx(entry["probability"], abs=1e-3)


class TestSameImage:
    def test_png_and_both_photometrics_have_equal_probabilities(self, http: httpx.Client) -> None:
        pixels = chest(bits=12)
        files = (
            png_bytes(pixels * 16),
            dicom_bytes(pixels, bits_stored=12),
            dicom_bytes(4095 - pixels, bits_stored=12, photometric="MONOCHROME1"),
        )
        probabilities = [predict(http, content).json()["probability"] for content in files]
        # Without a window the DICOM's extremes are clipped, which shifts the bins of grey values.
        assert np.ptp(probabilities) < 0.015


class TestBatch:
    def test_real_and_refused_files_together(self, http: httpx.Client) -> None:
        contents = (sample("RG3_J2KI.dcm"), sample("RG1_J2KI.dcm"), b"text", png_bytes())
        entries = http.post("/predict_batch", files=[("images", c) for c in contents]).json()
        codes = [entry.get("code") for entry in entries]
        assert codes == ["not_a_chest", None, "not_an_image", None]
        alone = predict(http, contents[1]).json()
        assert entries[1]["probability"] == pytest.approx(alone["probability"], abs=1e-3)


class TestClient:
    def test_sdk_reads_what_the_service_writes(self, server: Server) -> None:
        reader = Reader.open(server.model)
        expected = reader.read(dicom_bytes())
        with ChestXrayClient(server.url) as client:
            prediction = client.predict(dicom_bytes())
            explanation = client.explain(dicom_bytes(), bare=True)
            info = client.model()
            entries = client.predict_batch([png_bytes(), b"text"])
            with pytest.raises(ImageRefused) as caught:
                client.predict(dicom_bytes(view="LL"))
            assert client.ready()
        assert prediction.probability == pytest.approx(expected.probability, abs=1e-6)
        assert prediction.model.sha256 == expected.model.sha256
        assert explanation.probability == pytest.approx(expected.probability, abs=1e-6)
        assert info.manifest == reader.manifest
        assert info.card == reader.card
        assert [type(entry).__name__ for entry in entries] == ["Prediction", "Problem"]
        assert (caught.value.status, caught.value.code) == (422, "not_frontal")


class TestScoring:
    def test_service_and_this_computer_give_the_same_scores(
        self, server: Server, tmp_path: Path
    ) -> None:
        contents = (
            sample("RG1_J2KI.dcm"), sample("RG3_J2KI.dcm"), dicom_bytes(), png_bytes(),
        )  # fmt: skip
        for number, content in enumerate(contents):
            (tmp_path / str(number)).write_bytes(content)
        items = open_dataset(tmp_path).items
        bundle, settings = Bundle.open(server.model), Settings(model=server.model)
        with ChestXrayClient(server.url) as client, LocalEngine(bundle, settings) as local:
            remote = {item.name: found for item, found in RestEngine(client).score(items)}
            here = {item.name: found for item, found in local.score(items)}
        assert remote.keys() == here.keys() == {"0", "1", "2", "3"}
        assert here["1"].error == "not_a_chest"
        for name, found in here.items():
            assert remote[name].probability == pytest.approx(found.probability, abs=1e-5)
            assert remote[name].error == found.error
            assert remote[name].sha256 == found.sha256


class TestRequests:
    @pytest.mark.parametrize("text", ["/etc/hostname", "http://127.0.0.1:1/x.dcm"])
    def test_text_is_not_followed(self, http: httpx.Client, text: str) -> None:
        response = http.post("/predict", files={"image": (None, text)})
        assert problem(response) == (400, "not_a_file")

    def test_endless_body_is_refused(self, http: httpx.Client) -> None:
        def body() -> Iterator[bytes]:
            yield part(b"")[:-2]
            for _ in range(70):
                yield bytes(MIB)

        response = http.post("/predict", content=body(), headers={"Content-Type": FORM})
        assert problem(response) == (413, "too_many_bytes")

    def test_announced_length_is_refused(self, http: httpx.Client) -> None:
        assert problem(predict(http, bytes(70 * MIB))) == (413, "too_many_bytes")

    def test_unknown_path_and_method(self, http: httpx.Client) -> None:
        assert problem(http.get("/nope")) == (404, "not_found")
        assert problem(http.get("/predict")) == (405, "method_not_allowed")

    def test_many_at_once_are_all_read_and_health_is_answered(self, http: httpx.Client) -> None:
        content = sample("RG1_J2KI.dcm")
        with ThreadPoolExecutor(8) as pool:
            readings = [pool.submit(predict, http, content) for _ in range(8)]
            alive = 0
            while not all(reading.done() for reading in readings):
                assert http.get("/livez").status_code == 200
                alive += 1
        assert {reading.result().status_code for reading in readings} == {200}
        assert len({reading.result().json()["probability"] for reading in readings}) == 1
        assert alive >= 2


class TestOperation:
    def test_documents_itself(self, http: httpx.Client) -> None:
        assert "/explain" in http.get("/docs.json").json()["paths"]
        assert "swagger-ui" in http.get("/").text
        assert http.get("/static_content/swagger-ui-bundle.js").status_code == 200

    def test_metrics_count_readings(self, http: httpx.Client) -> None:
        predict(http, png_bytes())
        metrics = http.get("/metrics").text
        assert (
            'bentoml_service_request_total{endpoint="/predict",http_response_code="200"' in metrics
        )

    def test_log_says_at_start_what_reads_and_where(self, server: Server) -> None:
        lines = server.log.read_text().splitlines()
        (start,) = [json.loads(line)["message"] for line in lines if "SHA-256" in line]
        assert f"on CPUExecutionProvider, {this_processor()}." in start

    def test_log_holds_no_name_of_file_or_patient(self, http: httpx.Client, server: Server) -> None:
        window = dicom_bytes(WindowCenter="1111", WindowWidth="2222")
        contents = [
            png_bytes(),
            b"text",
            dicom_bytes(PatientName="Doe^Jane", PatientID="DOE", StudyDescription="of Doe"),
            dicom_bytes(SpecificCharacterSet="DOE", PatientName="Doe^Jane"),
            dicom_bytes(BodyPartExamined="DOE JANE"),
            dicom_bytes(view="DOE"),
            window.replace(b"1111", b"Doe ").replace(b"2222", b"Doe "),
        ]
        for content in contents:
            response = http.post("/predict", files={"image": ("Doe^Jane.dcm", content)})
            assert "doe" not in response.text.lower()
        log = server.log.read_text()
        assert '"route": "/predict"' in log
        assert "doe" not in log.lower()

"""A really running `bentoml serve`, asked by the client over a socket."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from clients.sdk import ChestXrayClient
from tests.factories import dicom_bytes, png_bytes

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def url(tiny_model: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "bentoml", "serve", "service.app:ChestXray"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "CXR_MODEL": str(tiny_model), "BENTOML_DO_NOT_TRACK": "True"},
    )
    try:
        wait_until_ready(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_until_ready(address: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(START_SECONDS * 4):
        assert process.poll() is None, "bentoml serve ended"
        try:
            if httpx.get(f"{address}/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.25)
    pytest.fail("the service did not become ready")


def real_file(name: str) -> bytes:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def post(url: str, path: str, image: bytes) -> httpx.Response:
    return httpx.post(f"{url}{path}", files={"image": ("image", image)}, timeout=60)


def test_real_chest_radiograph_is_read_with_its_view(url: str) -> None:
    with ChestXrayClient(url) as client:
        prediction = client.predict(real_file("RG1_J2KI.dcm"))
    assert 0 <= prediction.probability <= 1
    assert prediction.input.view == "PA"


def test_heatmap_lies_on_the_original_pixel_grid(url: str) -> None:
    with ChestXrayClient(url) as client:
        explanation = client.explain(real_file("RG1_J2KI.dcm"))
    assert Image.open(BytesIO(explanation.png)).size == (1841, 1955)


def test_extremity_is_refused_and_the_tag_named(url: str) -> None:
    answer = post(url, "/predict", real_file("RG3_J2KI.dcm"))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "not_a_chest"
    assert "Body Part Examined (0018,0015)" in answer.json()["detail"]


def test_same_image_in_three_files_has_one_probability(url: str) -> None:
    rows, columns = np.mgrid[0:256, 0:256]
    pixels = ((rows * 3 + columns * columns // 7) % 251).astype(np.uint8)
    pixels[60:200, 30:110] //= 3
    light = dicom_bytes(pixels=pixels, photometric="MONOCHROME2", bits_stored=8)
    dark = dicom_bytes(pixels=255 - pixels, photometric="MONOCHROME1", bits_stored=8)
    found = [
        post(url, "/predict", image).json()["probability"]
        for image in (png_bytes(pixels), light, dark)
    ]
    assert max(found) - min(found) < 1e-3


def test_text_in_place_of_a_file_is_refused(url: str) -> None:
    answer = httpx.post(f"{url}/predict", files={"image": (None, "/etc/hostname")})
    assert (answer.status_code, answer.json()["code"]) == (400, "not_a_file")


def test_one_bad_file_does_not_fail_the_others(url: str) -> None:
    files = [
        ("images", ("image", real_file("RG1_J2KI.dcm"))),
        ("images", ("image", b"not an image")),
    ]
    answer = httpx.post(f"{url}/predict_batch", files=files, timeout=60)
    assert answer.status_code == 200
    assert "not_an_image" in answer.text
    assert '"view":"PA"' in answer.text


def test_unknown_path_is_a_problem_of_our_own(url: str) -> None:
    answer = httpx.get(f"{url}/nowhere")
    assert answer.json()["code"] == "not_found"
    assert answer.headers["content-type"] == "application/problem+json"


def test_serving_imports_no_torch(tiny_model: Path) -> None:
    code = "import sys, service.app; assert not {'torch', 'training', 'clients'} & set(sys.modules)"
    environ = {**os.environ, "CXR_MODEL": str(tiny_model)}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, check=True)

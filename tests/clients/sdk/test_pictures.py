"""Pixels in memory reach the service as they are, and nothing else does."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from clients import ChestXrayClient
from clients.sdk.pictures import content_of
from service.imaging.decode import Limits, decode
from tests.clients.sdk import bodies
from tests.clients.sdk.http_server import Answer, Server
from tests.factories import chest, png_bytes

GREY = chest(40, 36, bits=8).astype(np.uint8)
DEEP = chest(40, 36, bits=12).astype(np.uint16)


def read(image: Any) -> np.ndarray:
    """What the service makes of it."""
    return decode(content_of(image), Limits()).pixels


def test_file_is_sent_byte_by_byte(tmp_path: Path, server: Server) -> None:
    server.on("/predict", Answer.json(bodies.reading()))
    file = tmp_path / "chest.png"
    file.write_bytes(png_bytes())
    with ChestXrayClient(server.url) as client:
        content = file.read_bytes()
        for image in (file, str(file), content, bytearray(content), memoryview(content)):
            client.predict(image)
    assert [asked.parts[0].content for asked in server.asked] == [content] * 5


@pytest.mark.parametrize(
    "array", [GREY, DEEP, DEEP.astype(">u2"), np.asfortranarray(GREY), GREY[::2, ::-1]]
)
def test_array_keeps_every_grey_value(array: np.ndarray) -> None:
    white = 255 if array.dtype == np.uint8 else 4095
    np.testing.assert_allclose(read(array), array / white, atol=1e-6)
    alike = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    np.testing.assert_array_equal(read(Image.fromarray(alike)), read(array))


def test_colour_is_sent_as_colour() -> None:
    stacked = np.stack([GREY] * 3, axis=2)
    np.testing.assert_allclose(read(stacked), read(GREY), atol=2e-3)
    jpeg = Image.fromarray(stacked).convert("CMYK")
    assert Image.open(BytesIO(content_of(jpeg))).mode == "RGB"


def test_pillow_image_is_sent_upright_and_without_what_it_was_stored_with() -> None:
    file, text = BytesIO(), PngInfo()
    text.add_text("Description", "Doe^John")
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    exif[0x013B] = "Doe^John"
    Image.fromarray(GREY).save(file, "PNG", pnginfo=text, exif=exif, icc_profile=b"Doe^John")
    sent = content_of(Image.open(file))
    assert b"Doe" not in sent
    np.testing.assert_array_equal(read(sent), read(file.getvalue()))
    assert read(sent).shape == (36, 40)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (GREY / 255, "scale it to uint8 or uint16"),
        (GREY.astype(np.int64), "scale it to uint8 or uint16"),
        (GREY[None], "of shape"),
        (GREY[:0], "is no picture"),
        (GREY > 3, "is no picture"),
        (Image.fromarray(GREY / np.float32(255)), "mode F has no known white"),
        (Image.fromarray(GREY.astype(np.int32)), "mode I has no known white"),
    ],
)
def test_what_has_no_known_grey_values_is_refused_with_the_remedy(image: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        content_of(image)

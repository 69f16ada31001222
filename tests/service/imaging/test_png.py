"""What is written is what another decoder reads."""

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.imaging.png import png
from tests.factories import chest


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


class TestPng:
    @pytest.mark.parametrize(
        "pixels",
        [noise(1, 1), noise(1, 1, 3), noise(3, 1), noise(7, 5, 3), noise(301, 257), chest(bits=8)],
        ids=lambda pixels: str(pixels.shape),
    )
    def test_gives_the_same_pixels(self, pixels: NDArray[np.uint8]) -> None:
        with Image.open(BytesIO(png(pixels))) as image:
            image.verify()  # every chunk's checksum
        with Image.open(BytesIO(png(pixels))) as image:
            assert image.mode == ("L" if pixels.ndim == 2 else "RGB")
            np.testing.assert_array_equal(np.asarray(image), pixels)

    def test_compresses(self) -> None:
        assert len(png(chest(512, 512, bits=8))) < 512 * 512 * 0.7

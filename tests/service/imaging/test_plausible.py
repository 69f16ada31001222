"""Grey values that are none of the film's, in every kind of file."""

from typing import Any

import numpy as np
import pytest

from service.imaging.decode import Limits, decode
from service.imaging.plausible import BAND_WARNING, FOREIGN_WARNING, film_range
from service.imaging.radiograph import Radiograph
from tests.factories import Pixels, chest, dicom_bytes, png_bytes

FILM = chest(512, 480)
RIGHT = FILM / np.float32(4095)


def read(data: bytes) -> Radiograph:
    return decode(data, Limits())


def with_marker(film: Pixels, value: int) -> Pixels:
    marked = film.copy()
    marked[20:40, 30:90] = value
    return marked


@pytest.mark.parametrize(
    "data",
    [
        dicom_bytes(with_marker(FILM, 65535)),
        dicom_bytes(with_marker(FILM, 65535), photometric="MONOCHROME1"),
        dicom_bytes(with_marker(FILM.astype(np.int16), -32768)),
        dicom_bytes(with_marker(FILM + np.uint16(30_000), 0)),
        png_bytes(with_marker(FILM, 65535)),
    ],
    ids=["white", "white of MONOCHROME1", "black", "black below", "PNG"],
)
def test_a_marker_far_outside_does_not_darken_the_film(data: bytes) -> None:
    radiograph = read(data)
    assert radiograph.warnings == (FOREIGN_WARNING,)
    film = radiograph.pixels[60:]
    assert abs(np.corrcoef(film.ravel(), RIGHT[60:].ravel())[0, 1]) > 0.999
    assert np.ptp(film) > 0.8


@pytest.mark.parametrize(
    "film",
    [
        FILM,
        with_marker(FILM, 4095),
        with_marker(FILM, 0),
        np.where(FILM > 2000, 4095, 0).astype(np.uint16),
        np.full((256, 256), 7, np.uint16),
        np.pad(FILM, 100),
    ],
    ids=["whole", "white marker", "black marker", "black and white", "constant", "black frame"],
)
def test_films_keep_their_range(film: Pixels) -> None:
    pixels = (film / np.float32(65535)).astype(np.float32)
    assert film_range(pixels) == (pixels.min(), pixels.max())


@pytest.mark.parametrize("tags", [{}, {"WindowCenter": 2048, "WindowWidth": 4096}])
def test_a_film_is_not_warned_of(tags: dict[str, Any]) -> None:
    assert read(dicom_bytes(FILM, bits_stored=12, **tags)).warnings == ()
    assert BAND_WARNING not in read(dicom_bytes(np.full((64, 64), 9, np.uint16))).warnings


def test_neighbours_in_float32_have_a_range() -> None:
    pixels = np.ones((64, 64), np.float32)
    pixels[::2] = np.nextafter(np.float32(1), np.float32(0))
    assert film_range(pixels) == (float(pixels.min()), 1.0)

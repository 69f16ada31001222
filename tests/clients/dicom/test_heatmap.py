"""Outlines and masks of a heatmap, on the film's own pixels."""

import numpy as np
import pytest

from clients.dicom import Heatmap
from service.model.reader import Reader
from tests.clients.dicom.films import drawn, film, read_by
from tests.factories import Pixels, png_bytes


def of(levels: Pixels) -> Heatmap:
    return drawn(png_bytes(levels))


def blob(rows: int, columns: int, y: float, x: float, width: float = 40) -> Pixels:
    distance = np.hypot(np.arange(rows)[:, None] - y, np.arange(columns)[None] - x)
    levels: Pixels = np.rint(200 * np.exp(-((distance / width) ** 2))).astype(np.uint8)
    return levels


class TestOutlines:
    def test_of_a_round_blob_is_a_closed_circle_at_half_of_its_peak(self) -> None:
        (outline,) = of(blob(300, 200, 120, 90)).outlines
        np.testing.assert_array_equal(outline[0], outline[-1])
        radius = np.hypot(*(outline - (90.5, 120.5)).T)
        np.testing.assert_allclose(radius, 40 * np.sqrt(np.log(2)), atol=0.5)

    def test_on_a_large_film_is_as_true_with_fewer_points(self) -> None:
        (outline,) = of(blob(2400, 2000, 1200, 900, width=300)).outlines
        radius = np.hypot(*(outline - (900.5, 1200.5)).T)
        np.testing.assert_allclose(radius, 300 * np.sqrt(np.log(2)), atol=3)
        assert len(outline) < 1500

    def test_closes_along_the_edge_and_stays_on_the_film(self) -> None:
        (outline,) = of(blob(300, 200, 0, 199)).outlines
        np.testing.assert_array_equal(outline[0], outline[-1])
        assert outline.min() >= 0
        assert (outline.max(axis=0) <= (200, 300)).all()

    def test_the_one_around_the_peak_comes_first(self) -> None:
        two = np.maximum(blob(300, 200, 60, 60) // 10 * 8, blob(300, 200, 220, 120))
        first, second = of(two).outlines
        assert np.hypot(*(first.mean(axis=0) - (120, 220))) < 10
        assert np.hypot(*(second.mean(axis=0) - (60, 60))) < 10

    def test_of_no_heat_is_none(self) -> None:
        nothing = of(np.zeros((90, 80), np.uint8))
        assert nothing.outlines == ()
        assert not nothing.mask.any()


class TestMask:
    def test_is_where_half_of_the_peak_is(self) -> None:
        heatmap = of(blob(300, 200, 120, 90))
        np.testing.assert_array_equal(heatmap.mask, heatmap.grid >= heatmap.grid.max() / 2)

    @pytest.mark.parametrize("peak", [1, 2, 255])
    def test_of_a_single_pixel_is_that_pixel(self, peak: int) -> None:
        levels = np.zeros((90, 80), np.uint8)
        levels[7, 5] = peak
        assert np.argwhere(of(levels).mask).tolist() == [[7, 5]]


def test_heatmap_of_the_service_has_the_size_of_the_film(reader: Reader) -> None:
    _, heatmap = read_by(reader, film())
    assert heatmap.grid.shape == (256, 240)

import numpy as np
import pytest

from service.imaging.display import MAX_SIDE, grey_values, heat_values
from service.imaging.overlay import heat_levels
from service.imaging.radiograph import Radiograph
from service.imaging.standardise import Geometry

HEAT = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)


def radiograph(rows: int, columns: int, *, seed: int = 0) -> Radiograph:
    pixels = np.random.default_rng(seed).random((rows, columns), dtype=np.float32)
    return Radiograph(pixels=pixels, format="PNG", photometric="L")


def geometry(rows: int, columns: int) -> Geometry:
    return Geometry(
        rows=rows, columns=columns, left=columns // 10, top=0, width=columns // 2, height=rows
    )


class TestGreyValues:
    def test_small_film_keeps_every_pixel_to_16_bits(self) -> None:
        film = radiograph(60, 50)
        values = grey_values(film)
        assert values.dtype == np.uint16
        assert np.array_equal(values, np.rint(film.pixels * 65535))

    def test_black_and_white_are_the_ends(self) -> None:
        pixels = np.array([[0, 1]], np.float32).repeat(2, 0)
        values = grey_values(Radiograph(pixels=pixels, format="PNG", photometric="L"))
        assert values.tolist() == [[0, 65535]] * 2

    @pytest.mark.parametrize(
        ("rows", "columns", "shape"),
        [(4096, 1000, (MAX_SIDE, 500)), (1000, 4096, (500, MAX_SIDE)), (MAX_SIDE, 10, None)],
    )
    def test_large_film_is_reduced_in_proportion(
        self, rows: int, columns: int, shape: tuple[int, int] | None
    ) -> None:
        assert grey_values(radiograph(rows, columns)).shape == (shape or (rows, columns))

    def test_reduction_averages_and_keeps_the_place(self) -> None:
        pixels = np.zeros((4096, 64), np.float32)
        pixels[:2048] = np.tile([0.2, 0.4], 32)
        values = grey_values(Radiograph(pixels=pixels, format="PNG", photometric="L"))
        assert np.abs(values[10:1000, 2:-2] / 65535 - 0.3).max() < 0.02
        assert not values[1040:].any()

    def test_film_is_not_changed(self) -> None:
        film = radiograph(3000, 40)
        before = film.pixels.copy()
        grey_values(film)
        assert np.array_equal(film.pixels, before)


class TestHeatValues:
    @pytest.mark.parametrize(("rows", "columns"), [(60, 50), (3000, 2000), (2049, 2049)])
    def test_shape_is_that_of_the_grey_values(self, rows: int, columns: int) -> None:
        heat = heat_values(HEAT, geometry(rows, columns), full_scale=10)
        assert heat.dtype == np.uint8
        assert heat.shape == grey_values(radiograph(rows, columns)).shape

    def test_values_are_those_of_the_overlay(self) -> None:
        heat = heat_values(HEAT, geometry(60, 50), full_scale=20)
        assert heat.max() > 100
        assert np.array_equal(heat, np.asarray(heat_levels(HEAT, geometry(60, 50), 20)))
        assert not heat[:, :5].any()
        assert not heat[:, 30:].any()

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidManifest, TooSmall
from service.imaging.radiograph import FloatImage, Radiograph
from service.imaging.standardise import Geometry, InputSpec, equalise, standardise
from tests.factories import chest


def radiograph(pixels: FloatImage) -> Radiograph:
    return Radiograph(pixels=pixels.astype(np.float32), format="PNG", photometric="L")


def spec(size: int = 64, crop: float = 0.9, *, rank: bool = True) -> InputSpec:
    return InputSpec(size=size, crop=crop, equalise=rank, least_side=32, mean=0.5, std=0.25)


CHEST = (chest(300, 260) / 4095).astype(np.float32)


class TestGeometry:
    @given(
        rows=st.integers(8, 4000),
        start=st.floats(0, 1),
        share=st.floats(0, 1),
        side=st.sampled_from([1, 2, 4, 8]),
    )
    @settings(max_examples=200, deadline=None)
    def test_edges_move_by_half_of_a_larger_pixel_at_most(
        self, rows: int, start: float, share: float, side: int
    ) -> None:
        top = int(start * (rows - side))
        height = max(side, int(share * (rows - top)))
        whole = Geometry(rows=rows, columns=rows, left=top, top=top, width=height, height=height)
        reduced = whole.reduced(side)
        assert reduced.rows == reduced.columns == -(-rows // side)
        for edge, larger in zip(whole.box, reduced.box, strict=True):
            assert abs(larger * side - edge) <= side / 2
            assert 0 <= larger <= reduced.rows


class TestEqualise:
    @given(gamma=st.floats(0.2, 5), gain=st.floats(0.1, 1), offset=st.floats(0, 0.5))
    @settings(max_examples=30, deadline=None)
    def test_monotone_grey_changes_leave_no_trace(
        self, gamma: float, gain: float, offset: float
    ) -> None:
        levels = np.linspace(0, 1, 200)
        image = np.random.default_rng(0).choice(200, (40, 30))
        changed = (gain * levels**gamma + offset).astype(np.float32)
        if np.unique(changed).size == levels.size:  # float32 kept every level apart
            expected = equalise(levels.astype(np.float32)[image])
            np.testing.assert_array_equal(equalise(changed[image]), expected)

    @given(seed=st.integers(0, 99), levels=st.integers(1, 500))
    @settings(max_examples=30, deadline=None)
    def test_inverse_image_gives_the_complement(self, seed: int, levels: int) -> None:
        image = np.random.default_rng(seed).integers(0, levels, (20, 30)).astype(np.float32)
        np.testing.assert_allclose(equalise(-image), 1 - equalise(image), atol=1e-6)

    def test_value_is_the_share_of_darker_pixels(self) -> None:
        image = np.array([[0, 0, 0, 0], [3, 5, 5, 9]], np.float32)
        expected = [[0.25, 0.25, 0.25, 0.25], [4.5 / 8, 6 / 8, 6 / 8, 7.5 / 8]]
        np.testing.assert_allclose(equalise(image), expected)

    def test_constant_image_is_half(self) -> None:
        assert (equalise(np.full((5, 5), 0.3, np.float32)) == 0.5).all()

    def test_input_is_not_changed(self) -> None:
        image = CHEST.copy()
        equalise(image)
        np.testing.assert_array_equal(image, CHEST)


class TestStandardise:
    def test_window_and_exposure_leave_no_trace(self) -> None:
        expected, _ = standardise(radiograph(CHEST), spec())
        actual, _ = standardise(radiograph(CHEST * 0.3 + 0.2), spec())
        np.testing.assert_allclose(actual, expected, atol=1e-3)

    def test_gamma_leaves_little_trace(self) -> None:
        # Resizing averages before ranking, so that a curve is not exactly without effect.
        expected, _ = standardise(radiograph(CHEST), spec())
        actual, _ = standardise(radiograph(CHEST**1.5), spec())
        assert np.abs(actual - expected).mean() < 0.005

    @given(
        rows=st.integers(32, 400),
        columns=st.integers(32, 400),
        crop=st.floats(0.1, 1),
        rank=st.booleans(),
    )
    @settings(max_examples=40, deadline=None)
    def test_shape_range_and_geometry(
        self, rows: int, columns: int, crop: float, *, rank: bool
    ) -> None:
        pixels = np.random.default_rng(rows).random((rows, columns), dtype=np.float32)
        tensor, geometry = standardise(radiograph(pixels), spec(32, crop, rank=rank))
        assert tensor.shape == (1, 32, 32)
        assert tensor.dtype == np.float32
        assert 0 <= tensor.min() <= tensor.max() <= 1
        assert (geometry.rows, geometry.columns) == (rows, columns)
        assert geometry.height == pytest.approx(rows * crop, abs=0.51)
        assert geometry.width == pytest.approx(columns * crop, abs=0.51)
        assert abs(2 * geometry.left + geometry.width - columns) <= 1
        assert abs(2 * geometry.top + geometry.height - rows) <= 1

    def test_geometry_points_at_what_the_network_sees(self) -> None:
        pixels = np.zeros((400, 300), np.float32)
        pixels[100:120, 200:220] = 1
        tensor, geometry = standardise(radiograph(pixels), spec(64, 0.8, rank=False))
        row, column = np.argwhere(tensor[0] > 0.5).mean(axis=0)
        assert geometry == Geometry(rows=400, columns=300, left=30, top=40, width=240, height=320)
        assert geometry.top + (row + 0.5) / 64 * geometry.height == pytest.approx(110, abs=2)
        assert geometry.left + (column + 0.5) / 64 * geometry.width == pytest.approx(210, abs=2)

    def test_input_is_not_changed(self) -> None:
        pixels = CHEST.copy()
        standardise(radiograph(pixels), spec())
        np.testing.assert_array_equal(pixels, CHEST)

    def test_no_parameter_has_a_default(self) -> None:
        for function in (standardise, InputSpec):
            for name, parameter in inspect.signature(function).parameters.items():
                if name != "least_side":  # whose 0 stands for another field
                    assert parameter.default is inspect.Parameter.empty, parameter

    @pytest.mark.parametrize("rank", [True, False])
    @pytest.mark.parametrize(("slope", "offset"), [(1 / 16, 0), (1 / 257, 0.2), (0.5, 0.5)])
    def test_positive_affine_change_of_grey_does_not_matter(
        self, slope: float, offset: float, *, rank: bool
    ) -> None:
        expected, _ = standardise(radiograph(CHEST), spec(rank=rank))
        changed, _ = standardise(radiograph(CHEST * slope + offset), spec(rank=rank))
        np.testing.assert_allclose(changed, expected, atol=1e-3 if rank else 1e-4)
        assert changed.min() == (expected.min() if rank else 0)

    def test_constant_image_is_black(self) -> None:
        grey = np.full((64, 64), 0.4, np.float32)
        assert (standardise(radiograph(grey), spec(rank=False))[0] == 0).all()

    @pytest.mark.parametrize("shape", [(31, 400), (400, 31)])
    def test_too_few_pixels_are_refused(self, shape: tuple[int, int]) -> None:
        with pytest.raises(TooSmall, match="at least 32 a side"):
            standardise(radiograph(np.zeros(shape, np.float32)), spec())


class TestInputSpec:
    def test_without_a_least_side_it_is_that_of_the_input(self) -> None:
        unnamed = InputSpec(size=64, crop=0.9, equalise=True, mean=0.5, std=0.25)
        with pytest.raises(TooSmall, match="at least 64 a side"):
            standardise(radiograph(np.zeros((63, 80), np.float32)), unnamed)
        standardise(radiograph(np.zeros((64, 80), np.float32)), unnamed)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"size": 0},
            {"size": 100},
            {"crop": 0.0},
            {"crop": 1.1},
            {"std": 0.0},
            {"least_side": -1},
        ],
    )
    def test_impossible_values_are_refused(self, wrong: dict[str, float]) -> None:
        fields = {
            "size": 64, "crop": 0.9, "equalise": True, "least_side": 1, "mean": 0.5, "std": 0.25,
        }  # fmt: skip
        with pytest.raises(InvalidManifest):
            InputSpec(**(fields | wrong))

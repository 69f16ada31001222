from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.errors import InvalidParameter
from service.imaging.decode import Limits, decode
from service.imaging.overlay import (
    MAX_OPACITY,
    colour_map,
    draw_heatmap,
    grey_picture,
    picture_grid,
)
from service.imaging.picture import FORMATS, PictureFormat, PictureSize
from service.imaging.radiograph import FloatImage, Radiograph
from service.imaging.standardise import Geometry, InputSpec, standardise
from tests.factories import chest, dicom_bytes

RADIOGRAPH = decode(dicom_bytes(chest(201, 167)), Limits())
SPEC = InputSpec(size=64, crop=0.8, equalise=True, least_side=1, mean=0.5, std=0.25)
GEOMETRY = standardise(RADIOGRAPH, SPEC)[1]


def local_logits(value: float) -> FloatImage:
    return np.full((4, 4), value / 16, np.float32)


def opened(picture: bytes, form: PictureFormat = "png") -> Image.Image:
    with Image.open(BytesIO(picture)) as image:
        assert image.format == form.upper()
        image.load()
        return image


def drawn(
    heatmap: FloatImage, *, bare: bool, full_scale: float = 10.0, form: PictureFormat = "png"
) -> NDArray[np.uint8]:
    grey = None if bare else grey_picture(RADIOGRAPH, "film")
    picture = draw_heatmap(grey, heatmap, GEOMETRY, full_scale=full_scale, form=form)
    return np.asarray(opened(picture, form))


class TestBareHeatmap:
    def test_has_the_original_grid_and_nothing_outside_the_crop(self) -> None:
        bare = drawn(local_logits(10), bare=True)
        assert bare.shape == (201, 167)
        inside = bare[GEOMETRY.top :, GEOMETRY.left :][: GEOMETRY.height, : GEOMETRY.width]
        assert (inside == 255).all()
        assert bare.sum(dtype=int) == inside.sum(dtype=int)

    def test_scale_is_absolute(self) -> None:
        assert drawn(local_logits(0.05), bare=True).max() == 1
        assert drawn(local_logits(5), bare=True).max() == 128
        assert drawn(local_logits(5), bare=True, full_scale=5.0).max() == 255

    def test_scale_does_not_depend_on_the_size_of_the_map(self) -> None:
        fine = np.full((8, 8), 6 / 64, np.float32)
        np.testing.assert_array_equal(drawn(fine, bare=True), drawn(local_logits(6), bare=True))

    def test_is_bilinear_but_for_rounding(self) -> None:
        heatmap = np.random.default_rng(2).random((8, 8), dtype=np.float32) / 64
        inside = Image.fromarray(heatmap * 64 * np.float32(255) / 2).resize(
            (GEOMETRY.width, GEOMETRY.height), Image.Resampling.BILINEAR
        )
        bare = drawn(heatmap, bare=True, full_scale=2.0)
        found = bare[GEOMETRY.top :, GEOMETRY.left :][: GEOMETRY.height, : GEOMETRY.width]
        assert np.abs(found - np.asarray(inside)).max() <= 1.5

    def test_peak_lies_where_the_cell_lies(self) -> None:
        heatmap = np.zeros((4, 4), np.float32)
        heatmap[3, 1] = 1
        bare = drawn(heatmap, bare=True)
        rows, columns = np.nonzero(bare == bare.max())
        assert rows.mean() > GEOMETRY.top + 0.8 * GEOMETRY.height
        centre = GEOMETRY.left + 1.5 / 4 * GEOMETRY.width
        assert columns.mean() == pytest.approx(centre, abs=2)


class TestOverlay:
    def test_no_heat_shows_the_radiograph_alone(self) -> None:
        overlay = drawn(np.zeros((4, 4), np.float32), bare=False)
        assert overlay.shape == (201, 167, 3)
        grey = np.rint(RADIOGRAPH.pixels * 255)
        np.testing.assert_allclose(overlay, np.stack([grey] * 3, axis=-1), atol=1)

    def test_nearly_no_heat_stays_nearly_invisible(self) -> None:
        none = drawn(np.zeros((4, 4), np.float32), bare=False).astype(int)
        little = drawn(local_logits(0.1), bare=False).astype(int)
        much = drawn(local_logits(8), bare=False).astype(int)
        assert np.abs(little - none).max() <= 3
        assert np.abs(much - none).max() > 60

    def test_anatomy_shows_through_the_strongest_colour(self) -> None:
        overlay = drawn(local_logits(99), bare=False)[60:140, 40:120].astype(float)
        grey = RADIOGRAPH.pixels[60:140, 40:120]
        assert np.corrcoef(overlay.mean(axis=-1).ravel(), grey.ravel())[0, 1] > 0.99

    def test_colour_is_mixed_by_opacity(self) -> None:
        heatmap = np.random.default_rng(3).random((4, 4), dtype=np.float32)
        share = drawn(heatmap, bare=True)[..., np.newaxis] / 255
        colour = colour_map()[drawn(heatmap, bare=True)]
        grey = grey_picture(RADIOGRAPH, "film")[..., np.newaxis]
        expected = grey + share * MAX_OPACITY * (colour - grey.astype(float))
        assert np.abs(drawn(heatmap, bare=False) - expected).max() <= 1.5


class TestJpeg:
    @pytest.mark.parametrize("bare", [False, True])
    def test_is_nearly_the_same_picture(self, bare: bool) -> None:
        heatmap = np.random.default_rng(3).random((4, 4), dtype=np.float32)
        png, jpeg = (drawn(heatmap, bare=bare, form=form).astype(float) for form in FORMATS)
        assert png.shape == jpeg.shape
        assert np.sqrt(np.mean((png - jpeg) ** 2)) < 4

    def test_beyond_what_a_jpeg_can_hold_is_refused(self) -> None:
        long = Geometry(rows=1, columns=65_501, left=0, top=0, width=65_501, height=1)
        with pytest.raises(InvalidParameter, match="png"):
            draw_heatmap(None, local_logits(1), long, full_scale=1.0, form="jpeg")


def frame(rows: int, columns: int, crop: float = 0.9) -> Geometry:
    height, width = round(crop * rows), round(crop * columns)
    left, top = (columns - width) // 2, (rows - height) // 2
    return Geometry(rows=rows, columns=columns, left=left, top=top, width=width, height=height)


class TestReduced:
    @pytest.mark.parametrize(
        ("rows", "columns", "square"),
        [
            (1279, 4000, 1),
            (1280, 1280, 2),
            (2559, 9000, 2),
            (4000, 2561, 4),
            (5119, 5119, 4),
            (5121, 5120, 8),
            (6320, 6320, 8),
        ],
    )
    def test_short_side_keeps_640_pixels(self, rows: int, columns: int, square: int) -> None:
        grid = picture_grid(frame(rows, columns), "reduced")
        assert (grid.rows, grid.columns) == (-(-rows // square), -(-columns // square))
        assert min(grid.rows, grid.columns) >= 640
        assert picture_grid(frame(rows, columns), "film") == frame(rows, columns)

    @pytest.mark.parametrize("bare", [False, True])
    @pytest.mark.parametrize(
        ("rows", "columns", "square"), [(1280, 1300, 2), (1283, 1301, 2), (2563, 2565, 4)]
    )
    def test_is_the_picture_of_the_film_but_smaller(
        self, rows: int, columns: int, square: int, bare: bool
    ) -> None:
        pixels = chest(rows, columns, bits=8) / np.float32(255)
        film = Radiograph(pixels=pixels, format="PNG", photometric="L")
        heatmap = np.random.default_rng(3).random((8, 8), dtype=np.float32) / 4

        def picture(size: PictureSize) -> Image.Image:
            grey = None if bare else grey_picture(film, size)
            place = picture_grid(frame(rows, columns), size)
            return opened(draw_heatmap(grey, heatmap, place, full_scale=10.0))

        expected, found = picture("film").reduce(square), picture("reduced")
        assert (found.mode, found.size) == (expected.mode, expected.size)
        away = np.abs(np.asarray(expected, int) - np.asarray(found, int))
        assert away.mean() < 1
        # But for the edge of the heat, which can lie within a pixel.
        assert np.percentile(away, 99) <= 3

    def test_small_film_stays_as_it_is(self) -> None:
        film = grey_picture(RADIOGRAPH, "film")
        np.testing.assert_array_equal(grey_picture(RADIOGRAPH, "reduced"), film)
        assert picture_grid(GEOMETRY, "reduced") == GEOMETRY

    def test_film_is_not_changed(self) -> None:
        pixels = np.random.default_rng(4).random((1300, 1290), dtype=np.float32)
        before = pixels.copy()
        grey_picture(Radiograph(pixels=pixels, format="PNG", photometric="L"), "reduced")
        np.testing.assert_array_equal(pixels, before)


class TestColourMap:
    def test_steps_are_perceptually_equal_and_lightness_rises(self) -> None:
        lab = _cielab(colour_map())
        lightness = lab[:, 0]
        assert (np.diff(lightness[::8]) > 0).all()
        steps = np.linalg.norm(np.diff(lab[::16], axis=0), axis=1)
        assert steps.max() < 1.8 * steps.min()


def _cielab(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Convert sRGB by another road than OKLab: CIE 1976 L*a*b*, white point D65."""
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    relative = linear @ to_xyz.T / to_xyz.sum(axis=1)
    root = np.where(relative > 0.008856, np.cbrt(relative), 7.787 * relative + 16 / 116)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)

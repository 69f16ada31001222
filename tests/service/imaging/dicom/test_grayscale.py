import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_windowing

from service.imaging.dicom.acceptance import Layout
from service.imaging.dicom.bits import extracted
from service.imaging.dicom.grayscale import luma_of, robust_window, window

VALUES = np.linspace(-50, 300, 71)


class TestWindow:
    @pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
    @pytest.mark.parametrize(("centre", "width"), [(127.5, 255), (100, 20), (40, 2)])
    def test_agrees_with_pydicom(self, function: str, centre: float, width: float) -> None:
        dataset = Dataset()
        dataset.WindowCenter, dataset.WindowWidth = centre, width
        dataset.VOILUTFunction = function
        dataset.BitsStored, dataset.PixelRepresentation = 8, 0
        dataset.PhotometricInterpretation = "MONOCHROME2"
        expected = apply_windowing(VALUES, dataset) / 255
        np.testing.assert_allclose(window(VALUES, centre, width, function), expected, atol=1e-9)

    def test_width_one_is_a_step(self) -> None:
        np.testing.assert_array_equal(
            window(np.array([9.0, 9.5, 9.6, 10.0]), 10, 1, "LINEAR"), [0, 0, 1, 1]
        )

    def test_far_sigmoid_does_not_overflow(self) -> None:
        with np.errstate(all="raise", under="ignore"):
            far = window(np.array([-1e9, 1e9]), 0, 1, "SIGMOID")
        np.testing.assert_allclose(far, [0, 1], atol=1e-12)


class TestStoredValues:
    @pytest.mark.parametrize(
        ("pattern", "stored", "signed", "value"),
        [
            (0xF123, 12, False, 0x123),
            (0x0FFF, 12, True, -1),
            (0xA800, 12, True, -2048),
            (0x07FF, 12, True, 2047),
            (0x8000, 16, True, -32768),
            (0x8000, 16, False, 32768),
        ],
    )
    def test_bits_above_bits_stored_do_not_count(
        self, pattern: int, stored: int, *, signed: bool, value: int
    ) -> None:
        layout = Layout(
            rows=1, columns=1, samples=1, photometric="MONOCHROME2", planar=0,
            bits_allocated=16, bits_stored=stored, high_bit=stored - 1, signed=signed,
        )  # fmt: skip
        assert extracted(np.array([pattern]), layout)[0] == value


class TestRobustWindow:
    def counts(self, **occurrences: int) -> NDArray[np.int64]:
        counts = np.zeros(1000, np.int64)
        counts[100:900] = 1000
        for place, count in occurrences.items():
            counts[int(place[1:])] = count
        return counts

    def test_few_outliers_do_not_stretch_it(self) -> None:
        values = np.arange(1000, dtype=np.float64)
        clean = robust_window(values, self.counts())
        np.testing.assert_allclose(robust_window(values, self.counts(_999=5)), clean, atol=2e-3)

    def test_almost_constant_image_keeps_its_contrast(self) -> None:
        counts = np.array([1, 10**6, 0, 1], np.int64)
        mapped = robust_window(np.arange(4, dtype=np.float64), counts)
        np.testing.assert_allclose(mapped, [0, 1 / 3, 2 / 3, 1])

    def test_order_of_values_does_not_matter(self) -> None:
        values = np.arange(1000, dtype=np.float64)
        falling = robust_window(values[::-1].copy(), self.counts()[::-1].copy())
        np.testing.assert_array_equal(falling[::-1], robust_window(values, self.counts()))


@pytest.mark.parametrize("columns", [61, 333])
def test_the_same_colour_has_the_same_luma_everywhere(columns: int) -> None:
    colours = np.full((130, columns, 3), (201, 17, 93), np.uint8)
    assert np.unique(luma_of(colours, 255.0)).size == 1

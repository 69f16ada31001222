from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
)

from service.errors import (
    CorruptImage,
    UnsupportedPixels,
)
from service.imaging.decode import Limits, decode
from service.imaging.radiograph import Radiograph
from service.imaging.standardise import InputSpec, standardise
from tests.bombs import element
from tests.factories import (
    Pixels,
    chest,
    dicom_bytes,
    jpeg_bytes,
    png_bytes,
)

LIMITS = Limits()
RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)
FULL_WINDOW: dict[str, Any] = {
    "WindowCenter": 127.5,
    "WindowWidth": 255,
    "VOILUTFunction": "LINEAR_EXACT",
}


def read(data: bytes) -> Radiograph:
    return decode(data, LIMITS)


class TestPresentation:
    def test_monochrome1_is_inverted(self) -> None:
        light = read(dicom_bytes(RAMP, **FULL_WINDOW))
        dark = read(dicom_bytes(RAMP, photometric="MONOCHROME1", **FULL_WINDOW))
        np.testing.assert_allclose(dark.pixels, 1 - light.pixels, atol=1e-6)

    def test_inverse_shape_and_monochrome1_invert_once(self) -> None:
        expected = read(dicom_bytes(RAMP, photometric="MONOCHROME1")).pixels
        for photometric in ("MONOCHROME1", "MONOCHROME2"):
            data = dicom_bytes(RAMP, photometric=photometric, PresentationLUTShape="INVERSE")
            np.testing.assert_array_equal(read(data).pixels, expected)

    def test_negative_slope_inverts(self) -> None:
        plain = read(dicom_bytes(RAMP)).pixels
        data = dicom_bytes(RAMP, RescaleSlope=-1, RescaleIntercept=255)
        np.testing.assert_allclose(read(data).pixels, 1 - plain, atol=0.01)

    @pytest.mark.parametrize("slope", ["1e308", "-1e305", "inf", "nan", "half", "\\-1"])
    def test_a_slope_that_nothing_can_be_multiplied_by_is_refused(self, slope: str) -> None:
        with pytest.raises(CorruptImage, match=r"RescaleSlope \(0028,1053\)"):
            read(self.scaled(slope))

    @pytest.mark.parametrize(("slope", "same"), [("0,5", "0.5"), ("0", "1"), ("", "1")])
    def test_a_decimal_comma_is_read_and_no_slope_is_1(self, slope: str, same: str) -> None:
        expected = read(self.scaled(same)).pixels
        np.testing.assert_array_equal(read(self.scaled(slope)).pixels, expected)

    def scaled(self, slope: str) -> bytes:
        data = dicom_bytes(RAMP, WindowCenter=64, WindowWidth=128)
        place = data.index(b"\xe0\x7f\x10\0")
        value = slope.encode() + b" " * (len(slope) % 2)
        return data[:place] + element(0x0028, 0x1053, b"DS", value) + data[place:]

    def test_only_the_first_window_counts(self) -> None:
        one = read(dicom_bytes(RAMP, WindowCenter=100, WindowWidth=50))
        two = read(dicom_bytes(RAMP, WindowCenter=[100, 9], WindowWidth=[50, 9]))
        np.testing.assert_array_equal(one.pixels, two.pixels)

    @pytest.mark.parametrize(
        "window",
        [
            (127.5, 0),
            (127.5, -20),
            (90000, 10),
            (-5000, 10),
            (float("nan"), 10),
            (None, 10),
            (9, None),
        ],
    )
    def test_unusable_window_falls_back_with_a_warning(
        self, window: tuple[float | None, float | None]
    ) -> None:
        dataset = dicom_bytes(RAMP, WindowCenter=_text(window[0]), WindowWidth=_text(window[1]))
        radiograph = read(dataset)
        assert "(0028,1050)" in radiograph.warnings[0]
        np.testing.assert_array_equal(radiograph.pixels, read(dicom_bytes(RAMP)).pixels)

    def test_bits_above_bits_stored_are_ignored(self) -> None:
        clean = chest(bits=12)
        overlay = clean | np.uint16(0x5000)
        expected = read(dicom_bytes(clean, bits_stored=12)).pixels
        np.testing.assert_array_equal(read(dicom_bytes(overlay, bits_stored=12)).pixels, expected)

    @pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
    def test_padding_is_black_and_does_not_move_the_window(self, photometric: str) -> None:
        inner = chest(bits=12)
        padded = np.pad(inner, 64, constant_values=65000)
        data = dicom_bytes(
            padded, photometric=photometric, PixelPaddingValue=64990, PixelPaddingRangeLimit=65010
        )
        pixels = read(data).pixels
        assert (pixels[:64] == 0).all()
        expected = read(dicom_bytes(inner, photometric=photometric)).pixels
        np.testing.assert_allclose(pixels[64:-64, 64:-64], expected, atol=1e-6)

    def test_negative_padding_of_signed_pixels_is_recognised(self) -> None:
        pixels = np.pad(chest().astype(np.int16), 32, constant_values=-2000)
        data = dicom_bytes(pixels, PixelPaddingValue=-2000)
        assert (read(data).pixels[:32] == 0).all()
        assert read(data).pixels[40:-40].mean() > 0.3

    def test_modality_lut_is_applied(self) -> None:
        data = dicom_bytes(RAMP, ModalityLUTSequence=[_lut(RAMP.ravel()[::-1])], **FULL_WINDOW)
        expected = 1 - read(dicom_bytes(RAMP, **FULL_WINDOW)).pixels
        np.testing.assert_allclose(read(data).pixels, expected, atol=1e-6)

    @pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
    def test_voi_lut_is_applied_before_a_window(self, syntax: str) -> None:
        squares = (np.arange(256) ** 2).astype(np.uint16)
        data = dicom_bytes(
            RAMP, transfer_syntax=syntax, VOILUTSequence=[_lut(squares)], **FULL_WINDOW
        )
        np.testing.assert_allclose(read(data).pixels, RAMP.astype(float) ** 2 / 65535, atol=1e-5)

    def test_voi_lut_without_data_is_replaced_by_the_window(self) -> None:
        radiograph = read(dicom_bytes(RAMP, VOILUTSequence=[Dataset()], **FULL_WINDOW))
        np.testing.assert_allclose(radiograph.pixels, RAMP / 255.0, atol=1e-5)
        assert any("(0028,3010)" in warning for warning in radiograph.warnings)

    def test_modality_lut_without_data_is_corrupt(self) -> None:
        with pytest.raises(CorruptImage, match=r"\(0028,3000\)"):
            read(dicom_bytes(ModalityLUTSequence=[Dataset()]))

    def test_constant_image_is_black(self) -> None:
        assert (read(dicom_bytes(np.full((8, 8), 700, np.uint16))).pixels == 0).all()

    def test_spacing_at_the_detector_comes_first(self) -> None:
        data = dicom_bytes(ImagerPixelSpacing=[0.143, 0.144], PixelSpacing=[0.2, 0.2])
        assert read(data).pixel_spacing_mm == (0.143, 0.144)
        assert read(dicom_bytes(PixelSpacing=[0, 0])).pixel_spacing_mm is None


class TestColour:
    @pytest.mark.parametrize("allocated", [np.uint8, np.uint16])
    def test_grey_rgb_equals_its_grey(self, allocated: type[np.generic]) -> None:
        grey = chest(bits=8).astype(allocated)
        data = dicom_bytes(np.stack([grey] * 3, axis=-1), photometric="RGB")
        radiograph = read(data)
        white = np.iinfo(grey.dtype).max
        np.testing.assert_allclose(radiograph.pixels, grey / white, atol=1e-5)
        assert radiograph.warnings == ()

    def test_colour_is_a_warning(self) -> None:
        red = np.zeros((16, 16, 3), np.uint8)
        red[..., 0] = 200
        assert "coloured" in read(dicom_bytes(red, photometric="RGB")).warnings[0]

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless])
    def test_negative_values_of_colours_are_refused(self, syntax: str) -> None:
        film = np.stack([chest().astype(np.int16)] * 3, axis=-1)

        def signed(pixels: Pixels) -> bytes:
            stream = bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True))
            return dicom_bytes(
                pixels,
                photometric="RGB",
                transfer_syntax=syntax,
                codestream=stream if syntax == JPEG2000Lossless else None,
            )

        np.testing.assert_allclose(read(signed(film)).pixels, film[..., 0] / 65535, atol=1e-5)
        with pytest.raises(UnsupportedPixels, match="negative"):
            read(signed(film - 1))

    def test_luma_is_the_first_channel_of_ybr(self) -> None:
        grey = chest(bits=8)
        ybr = np.stack([grey, np.full_like(grey, 128), np.full_like(grey, 128)], axis=-1)
        radiograph = read(dicom_bytes(ybr, photometric="YBR_FULL"))
        np.testing.assert_allclose(radiograph.pixels, grey / 255.0, atol=1e-6)
        assert radiograph.warnings == ()

    @pytest.mark.parametrize("says", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT"])
    @pytest.mark.parametrize("options", [{}, {"keep_rgb": True}])
    def test_colours_of_jpeg_are_what_its_markers_say(
        self, says: str, options: dict[str, Any]
    ) -> None:
        """Pillow writes YCbCr with JFIF's marker, and RGB with Adobe's."""
        grey = np.stack([chest(bits=8)] * 3, axis=-1)
        stream = jpeg_bytes(grey, **options)
        data = dicom_bytes(
            grey, photometric=says, transfer_syntax=JPEGBaseline8Bit, codestream=stream
        )
        radiograph = read(data)
        np.testing.assert_allclose(radiograph.pixels, grey[..., 0] / 255, atol=0.03)
        assert radiograph.warnings == ()

    def test_palette_is_looked_up(self) -> None:
        grey = chest(bits=8)
        entries = (np.arange(256)[::-1] * 257).astype("<u2").tobytes()
        tags: dict[str, Any] = {
            f"{colour}PaletteColorLookupTable{part}": value
            for colour in ("Red", "Green", "Blue")
            for part, value in (("Descriptor", [256, 0, 16]), ("Data", entries))
        }
        radiograph = read(dicom_bytes(grey, photometric="PALETTE COLOR", **tags))
        np.testing.assert_allclose(radiograph.pixels, 1 - grey / 255.0, atol=1e-5)

    def test_absent_palette_is_refused(self) -> None:
        with pytest.raises(UnsupportedPixels, match=r"\(0028,1201\)"):
            read(dicom_bytes(chest(bits=8), photometric="PALETTE COLOR"))


class TestSameImage:
    @pytest.mark.parametrize("bits", [8, 12, 16])
    def test_png_and_both_polarities_give_one_tensor(self, bits: int) -> None:
        spec = InputSpec(size=224, crop=0.9, equalise=True, least_side=1, mean=0.5, std=0.25)
        pixels = chest(700, 640, bits=bits)
        inverted = (2**bits - 1 - pixels).astype(pixels.dtype)
        files = [
            png_bytes(pixels),
            dicom_bytes(pixels, bits_stored=bits),
            dicom_bytes(inverted, bits_stored=bits, photometric="MONOCHROME1"),
            dicom_bytes(pixels, RescaleSlope=0.25, RescaleIntercept=-100),
        ]
        tensors = [standardise(read(data), spec)[0] for data in files]
        for tensor in tensors[1:]:
            np.testing.assert_allclose(tensor, tensors[0], atol=1e-3)


def _text(number: float | None) -> str | None:
    return None if number is None else str(number)


def _lut(entries: Pixels) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), 0, 16]
    item.LUTData = [int(entry) for entry in entries]
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return item

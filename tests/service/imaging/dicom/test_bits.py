"""Which bits of a pixel are its value, and what is done where the header is wrong about it."""

import tracemalloc
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
)

from service.errors import UnsupportedPixels
from service.imaging.decode import Limits, decode
from service.imaging.radiograph import FloatImage
from tests.bombs import element
from tests.encoders import jpeg_lossless_bytes
from tests.factories import Pixels, chest, dicom_bytes

FILM = chest()  # 12 bits in 16
WINDOW: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}
RIGHT = (FILM / np.float32(4095)).astype(np.float32)


def jpeg2000_bytes(pixels: Pixels) -> bytes:
    """A lossless codestream of all 16 bits."""
    return bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="J2K", level=0, reversible=True))


def read(data: bytes) -> tuple[FloatImage, tuple[str, ...]]:
    radiograph = decode(data, Limits())
    return radiograph.pixels, radiograph.warnings


def assert_linear(pixels: FloatImage, film: FloatImage = RIGHT) -> None:
    """The same film, whatever its scale."""
    assert np.corrcoef(pixels.ravel(), film.ravel())[0, 1] > 0.99999


class TestHighBit:
    @pytest.mark.parametrize("high", [11, 12, 15])
    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    def test_the_value_ends_at_high_bit(self, high: int, syntax: str) -> None:
        data = dicom_bytes(
            FILM << (high - 11), bits_stored=12, HighBit=high, transfer_syntax=syntax, **WINDOW
        )
        pixels, warnings = read(data)
        np.testing.assert_allclose(pixels, RIGHT, atol=1e-6)
        assert warnings == ()

    def test_of_a_compressed_film_too(self) -> None:
        data = dicom_bytes(
            FILM, bits_stored=12, HighBit=15, transfer_syntax=JPEG2000Lossless,
            codestream=jpeg2000_bytes(FILM << 4), **WINDOW,
        )  # fmt: skip
        np.testing.assert_allclose(read(data)[0], RIGHT, atol=1e-6)

    @pytest.mark.parametrize("high", [10, 16, 255])
    def test_impossible_ones_are_refused_by_the_tag(self, high: int) -> None:
        with pytest.raises(UnsupportedPixels, match=r"High Bit \(0028,0102\)"):
            read(dicom_bytes(FILM, bits_stored=12, HighBit=high))

    def test_a_wrong_one_does_not_cost_the_low_bits(self) -> None:
        pixels, warnings = read(dicom_bytes(FILM, bits_stored=12, HighBit=15))
        assert_linear(pixels)
        assert any("(0028,0102)" in warning for warning in warnings)


class TestBitsAbove:
    def test_deeper_pixels_than_bits_stored_are_not_masked(self) -> None:
        deep = chest(bits=16)
        for syntax, stream in (
            (ExplicitVRLittleEndian, None),
            (JPEG2000Lossless, jpeg2000_bytes(deep)),
            (JPEGLosslessSV1, jpeg_lossless_bytes(deep)),
        ):
            data = dicom_bytes(deep, bits_stored=12, transfer_syntax=syntax, codestream=stream)
            pixels, warnings = read(data)
            assert_linear(pixels, deep.astype(np.float32))
            assert any("all were read" in warning for warning in warnings)

    def test_an_overlay_does_not_count(self) -> None:
        drawn = FILM.copy()
        drawn[20:60, 20:24] |= 1 << 13
        pixels, warnings = read(dicom_bytes(drawn, bits_stored=12, **WINDOW))
        np.testing.assert_allclose(pixels, RIGHT, atol=1e-6)
        assert any("ignored" in warning for warning in warnings)

    @pytest.mark.parametrize(
        ("vr", "position"),
        [(b"US", b"\xff\xff"), (b"SS", b"\xff\xff"), (b"UL", b"\0\0\0\x10"), (b"IS", b"99999999")],
    )
    def test_an_overlay_beyond_the_pixel_is_none(self, vr: bytes, position: bytes) -> None:
        data = dicom_bytes(FILM, bits_stored=12, **WINDOW)
        place = data.index(b"\xe0\x7f\x10\0")
        overlay = element(0x6000, 0x0100, b"US", b"\x10\0") + element(0x6000, 0x0102, vr, position)
        tracemalloc.start()
        try:
            pixels, warnings = read(data[:place] + overlay + data[place:])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        np.testing.assert_allclose(pixels, RIGHT, atol=1e-6)
        assert warnings == ()
        assert peak < 8 << 20

    @pytest.mark.parametrize("ones", [0, 0xF000])
    def test_negative_values_with_and_without_their_sign_above(self, ones: int) -> None:
        signed = FILM.astype(np.int32) - 2048
        patterns = np.where(signed < 0, (signed & 0x0FFF) | ones, signed).astype(np.uint16)
        data = dicom_bytes(patterns.view(np.int16), bits_stored=12, RescaleIntercept=2048, **WINDOW)
        pixels, warnings = read(data)
        np.testing.assert_allclose(pixels, RIGHT, atol=1e-6)
        assert warnings == ()


class TestPadding:
    @pytest.mark.parametrize("written", [-2000, 63536, 2096])
    def test_the_sign_of_the_element_does_not_matter(self, written: int) -> None:
        film = np.pad(FILM.astype(np.int16) - 1000, 20, constant_values=-2000)
        data = dicom_bytes(film, bits_stored=12 if written == 2096 else 16)
        vr = b"SS" if written < 0 else b"US"
        value = (written & 0xFFFF).to_bytes(2, "little")
        place = data.index(b"\xe0\x7f\x10\0")
        padding = b"\x28\0\x20\x01" + vr + b"\x02\0" + value
        pixels, _ = read(data[:place] + padding + data[place:])
        assert (pixels[:20] == 0).all()
        assert pixels[20:-20].min() < 0.01
        assert pixels[20:-20].max() > 0.99

    def test_the_smallest_number_is_recognised(self) -> None:
        film = np.pad(FILM.astype(np.int16) - 2048, 20, constant_values=-32768)
        pixels, _ = read(dicom_bytes(film, bits_stored=12, PixelPaddingValue=-32768))
        assert (pixels[:20] == 0).all()
        assert np.corrcoef(pixels[20:-20, 20:-20].ravel(), RIGHT.ravel())[0, 1] > 0.999

    def test_one_that_no_value_can_have_hides_nothing(self) -> None:
        plain, _ = read(dicom_bytes(FILM, bits_stored=12, **WINDOW))
        padded, _ = read(dicom_bytes(FILM, bits_stored=12, PixelPaddingValue=0xFFFF, **WINDOW))
        np.testing.assert_array_equal(padded, plain)

    def test_above_bits_stored_it_is_recognised(self) -> None:
        film = np.pad(FILM, 20, constant_values=0xFFFF)
        pixels, warnings = read(
            dicom_bytes(film, bits_stored=12, PixelPaddingValue=0xFFFF, **WINDOW)
        )
        assert (pixels[:20] == 0).all()
        np.testing.assert_allclose(pixels[20:-20, 20:-20], RIGHT, atol=1e-6)
        assert not any("(0028,0101)" in warning for warning in warnings)


class TestSignOfTheStream:
    def test_negative_values_under_an_unsigned_header_are_refused(self) -> None:
        signed = dicom_bytes(
            FILM.astype(np.int16) - 1000, transfer_syntax=JPEG2000Lossless, PixelRepresentation=1
        )
        place = signed.index(b"\x28\0\x03\x01US\x02\0\x01")
        unsigned = signed[: place + 8] + b"\0" + signed[place + 9 :]
        with pytest.raises(UnsupportedPixels, match=r"\(0028,0103\)"):
            read(unsigned)

    def test_a_jpeg_has_the_sign_of_its_header(self) -> None:
        patterns = (FILM.astype(np.int32) - 2048) & 0x0FFF
        stream = jpeg_lossless_bytes(patterns.astype(np.uint16), precision=12)
        data = dicom_bytes(
            FILM.astype(np.int16), bits_stored=12, transfer_syntax=JPEGLosslessSV1,
            codestream=stream, RescaleIntercept=2048, **WINDOW,
        )  # fmt: skip
        np.testing.assert_allclose(read(data)[0], RIGHT, atol=1e-6)

"""Compressed frames are decoded whole, exactly, or not at all."""

import struct
import tracemalloc
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import get_frame
from pydicom.filereader import dcmread
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from service.errors import (
    CorruptImage,
    ReadingError,
    TruncatedImage,
    UndecodableImage,
    UnsupportedPixels,
)
from service.imaging.codestreams import BEYOND, ZEROED
from service.imaging.decode import Limits, decode
from service.imaging.radiograph import Radiograph
from tests.encoders import jpeg_extended_bytes, jpeg_lossless_bytes, segment
from tests.factories import Pixels, chest, dicom_bytes, jpeg_bytes

FILM = chest()
SMALL = chest(bits=8)
WINDOW: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}
END = b"\xff\xd9"


def stream_of(data: bytes) -> bytes:
    frame = get_frame(dcmread(BytesIO(data)).PixelData, 0, number_of_frames=1)
    return bytes(frame[: frame.rindex(END) + 2])


STREAMS: dict[str, tuple[str, bytes]] = {
    "JPEG Baseline": (JPEGBaseline8Bit, jpeg_bytes(SMALL)),
    "JPEG Extended": (JPEGExtended12Bit, jpeg_extended_bytes(FILM)),
    "JPEG Lossless": (JPEGLosslessSV1, jpeg_lossless_bytes(FILM, precision=12)),
    "JPEG-LS": (
        JPEGLSLossless,
        stream_of(dicom_bytes(FILM, bits_stored=12, transfer_syntax=JPEGLSLossless)),
    ),
    "JPEG 2000": (
        JPEG2000Lossless,
        stream_of(dicom_bytes(FILM, bits_stored=12, transfer_syntax=JPEG2000Lossless)),
    ),
}


def read(syntax: str, stream: bytes) -> Radiograph:
    film = SMALL if syntax == JPEGBaseline8Bit else FILM
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    data = dicom_bytes(film, bits_stored=bits, transfer_syntax=syntax, codestream=stream)
    return decode(data, Limits())


@pytest.mark.parametrize("name", STREAMS)
class TestDamage:
    def test_whole_it_is_read_without_a_warning(self, name: str) -> None:
        assert read(*STREAMS[name]).warnings == ()

    @pytest.mark.parametrize("share", [0.995, 0.98, 0.9, 0.7, 0.3])
    def test_cut_short_with_an_end_marker_it_is_truncated(self, name: str, share: float) -> None:
        syntax, stream = STREAMS[name]
        with pytest.raises(TruncatedImage):
            read(syntax, stream[: int(len(stream) * share)] + END)

    def test_that_lost_its_middle_is_refused(self, name: str) -> None:
        syntax, stream = STREAMS[name]
        half = len(stream) // 2
        with pytest.raises(UndecodableImage):
            read(syntax, stream[:half] + stream[half + 512 :])

    def test_that_repeats_its_middle_is_refused_or_warned_of(self, name: str) -> None:
        syntax, stream = STREAMS[name]
        half = len(stream) // 2
        try:
            warnings = read(syntax, stream[: half + 512] + stream[half:]).warnings
        except ReadingError as refusal:
            assert isinstance(refusal, UndecodableImage)
        else:
            assert warnings

    @pytest.mark.parametrize("padding", [b"\0" * 64, b"\xff\xff", b"\0", b"  ", b"\r\n"])
    def test_padding_behind_the_end_does_not_matter(self, name: str, padding: bytes) -> None:
        syntax, stream = STREAMS[name]
        np.testing.assert_array_equal(
            read(syntax, stream + padding).pixels, read(syntax, stream).pixels
        )


@pytest.mark.parametrize("name", ["JPEG Baseline", "JPEG Extended", "JPEG Lossless"])
def test_fill_bytes_before_the_end_marker_do_not_matter(name: str) -> None:
    syntax, stream = STREAMS[name]
    filled = stream[:-2] + b"\xff" + END  # as dcmtk evens the length
    np.testing.assert_array_equal(read(syntax, filled).pixels, read(syntax, stream).pixels)


class TestJpegFile:
    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 2}])
    @pytest.mark.parametrize("share", [0.98, 0.9, 0.7])
    def test_cut_short_with_an_end_marker_it_is_truncated(
        self, options: dict[str, Any], share: float
    ) -> None:
        data = jpeg_bytes(SMALL, **options)
        with pytest.raises(TruncatedImage):
            decode(data[: int(len(data) * share)] + END, Limits())

    def test_without_its_last_scans_it_is_truncated(self) -> None:
        data = jpeg_bytes(SMALL, progressive=True)
        last = data.rindex(b"\xff\xda")
        with pytest.raises(TruncatedImage, match="lacks scans"):
            decode(data[: data.rindex(b"\xff\xc4", 0, last)] + END, Limits())

    def test_in_four_colours_it_is_read_and_truncated_alike(self) -> None:
        data = jpeg_bytes(SMALL, mode="CMYK")
        assert decode(data, Limits()).photometric == "CMYK"
        with pytest.raises(TruncatedImage):
            decode(data[: len(data) * 9 // 10] + END, Limits())

    def test_restart_markers_are_counted_and_not_collected(self) -> None:
        data = jpeg_bytes(SMALL)
        markers = b"\xff\xd0" * 500_000
        tracemalloc.start()
        try:
            decode(data[:-2] + markers + END, Limits())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 10 * len(markers)

    def test_pixels_are_those_of_another_decoder(self) -> None:
        for data in (jpeg_bytes(SMALL), jpeg_bytes(np.stack([SMALL] * 3, axis=-1))):
            expected = np.asarray(Image.open(BytesIO(data)).convert("L")) / np.float32(255)
            np.testing.assert_allclose(decode(data, Limits()).pixels, expected, atol=1e-6)


class TestLossless:
    @pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
    @pytest.mark.parametrize("predictor", range(1, 8))
    @pytest.mark.parametrize("transform", [0, 1, 2, 4])
    def test_is_exact_for_all_predictors_and_point_transforms(
        self, bits: int, predictor: int, transform: int
    ) -> None:
        film = chest(40, 36, bits=bits)
        stream = jpeg_lossless_bytes(
            film, precision=bits, predictor=predictor, point_transform=transform
        )
        white = (1 << bits) - 1
        data = dicom_bytes(
            film, bits_stored=bits, transfer_syntax=JPEGLosslessSV1, codestream=stream,
            WindowCenter=(white + 1) / 2, WindowWidth=white + 1,
        )  # fmt: skip
        expected = (film >> transform << transform) / np.float32(white)
        np.testing.assert_allclose(decode(data, Limits()).pixels, expected, atol=1e-6)

    @pytest.mark.parametrize("bits", [12, 14])
    def test_differences_modulo_its_precision_are_exact_and_warned_of(self, bits: int) -> None:
        film = chest(bits=bits)
        film[20:60, 20:60] = (1 << bits) - 1
        film[:10] = film[30:40, 30:40] = 0
        stream = jpeg_lossless_bytes(film, precision=bits, modulo=bits)
        radiograph = decode(
            dicom_bytes(
                film, bits_stored=bits, transfer_syntax=JPEGLosslessSV1, codestream=stream,
                WindowCenter=1 << (bits - 1), WindowWidth=1 << bits,
            ),
            Limits(),
        )  # fmt: skip
        expected = film / np.float32((1 << bits) - 1)
        np.testing.assert_allclose(radiograph.pixels, expected, atol=1e-6)
        assert radiograph.warnings == (BEYOND,)

    def test_lost_restart_intervals_are_missed(self) -> None:
        stream = jpeg_lossless_bytes(FILM, precision=12)
        interval = segment(0xDD, struct.pack(">H", FILM.shape[1]))  # announced, never written
        place = stream.index(b"\xff\xda")
        with pytest.raises(TruncatedImage, match="restart intervals"):
            read(JPEGLosslessSV1, stream[:place] + interval + stream[place:])


class TestJpeg2000:
    def test_a_run_of_zeros_is_warned_of(self) -> None:
        syntax, stream = STREAMS["JPEG 2000"]
        half = len(stream) // 2
        damaged = stream[:half] + bytes(64) + stream[half + 64 :]
        assert ZEROED in read(syntax, damaged).warnings

    @pytest.mark.parametrize("bits", [17, 24, 32])
    def test_more_bits_than_a_film_has_are_refused(self, bits: int) -> None:
        syntax, stream = STREAMS["JPEG 2000"]
        deep = bytearray(stream)
        deep[stream.index(b"\xff\x51") + 40] = bits - 1  # Ssiz
        with pytest.raises(UnsupportedPixels, match=f"{bits} bits a sample"):
            read(syntax, bytes(deep))

    def test_a_lost_tile_is_missed(self) -> None:
        buffer = BytesIO()
        Image.fromarray(SMALL).save(buffer, "JPEG2000", no_jp2=True, tile_size=(128, 128))
        stream = buffer.getvalue()
        last = stream.rindex(b"\xff\x90\0\x0a")
        data = dicom_bytes(SMALL, transfer_syntax=JPEG2000Lossless, codestream=stream[:last] + END)
        with pytest.raises(TruncatedImage, match="lacks tiles"):
            decode(data, Limits())


SIGNS = (False, True)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("signed", SIGNS)
@pytest.mark.parametrize("name", ["JPEG Lossless", "JPEG-LS", "JPEG 2000", "RLE", "native"])
def test_every_lossless_encoding_keeps_every_depth_and_sign(
    name: str, bits: int, *, signed: bool
) -> None:
    film = chest(48, 40, bits=bits).astype(np.int32)
    stored = film - (1 << (bits - 1)) if signed else film
    container = np.uint8 if bits == 8 else np.uint16
    patterns = (stored & ((1 << bits) - 1)).astype(container)
    white = (1 << bits) - 1
    centre = (white + 1) / 2 - (1 << (bits - 1) if signed else 0)
    syntax, stream = encoded(name, patterns, bits)
    data = dicom_bytes(
        patterns.view(np.int8 if bits == 8 else np.int16) if signed else patterns,
        bits_stored=bits, transfer_syntax=syntax, codestream=stream,
        WindowCenter=centre, WindowWidth=white + 1,
    )  # fmt: skip
    expected = film / np.float32(white)
    np.testing.assert_allclose(decode(data, Limits()).pixels, expected, atol=1e-6)


def encoded(name: str, patterns: Pixels, bits: int) -> tuple[str, bytes | None]:
    """Transfer syntax, and a codestream of unsigned ``patterns`` where pydicom writes none."""
    match name:
        case "JPEG Lossless":
            return JPEGLosslessSV1, jpeg_lossless_bytes(patterns, precision=bits)
        case "JPEG-LS":
            return JPEGLSLossless, bytes(imagecodecs.jpegls_encode(patterns))
        case "JPEG 2000":
            stream = imagecodecs.jpeg2k_encode(
                patterns, codecformat="J2K", level=0, reversible=True, bitspersample=bits
            )
            return JPEG2000Lossless, bytes(stream)
    return {"RLE": "1.2.840.10008.1.2.5", "native": "1.2.840.10008.1.2.1"}[name], None


def test_a_codestream_of_another_size_is_refused() -> None:
    syntax, stream = STREAMS["JPEG Lossless"]
    data = dicom_bytes(chest(200, 240), transfer_syntax=syntax, codestream=stream)
    with pytest.raises(CorruptImage, match="Rows"):
        decode(data, Limits())

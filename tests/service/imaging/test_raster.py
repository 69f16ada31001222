import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from service.errors import (
    CorruptImage,
    MultipleFrames,
    ReadingError,
    TooManyPixels,
    TruncatedImage,
    UnsupportedPixels,
)
from service.imaging.decode import Limits, decode
from service.imaging.radiograph import Radiograph
from tests.encoders import png_file, segment
from tests.factories import Pixels, chest, jpeg_bytes, png_bytes

GREY8 = chest(bits=8)


def read(data: bytes) -> Radiograph:
    return decode(data, Limits())


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">L", len(content))
        + kind
        + content
        + struct.pack(">L", zlib.crc32(kind + content))
    )


def grey_png(pixels: Pixels, depth: int, chunks: bytes) -> bytes:
    """Write uint16 (H, W) samples of 1, 2, 4, 8 or 16 bits."""
    if depth == 16:
        return png_file(pixels, chunks=chunks)
    each = 8 // depth  # samples a byte, the first in the highest bits
    parts = [pixels[:, place::each] << (8 - depth * (place + 1)) for place in range(each)]
    data = png_file(np.sum(parts, axis=0).astype(np.uint8), chunks=chunks)
    header = struct.pack(">LLBBBBB", *pixels.shape[::-1], depth, 0, 0, 0, 0)
    return data[:8] + chunk(b"IHDR", header) + data[33:]


class TestPng:
    def test_16_bit_grey_is_exact(self) -> None:
        pixels = chest(bits=16)
        radiograph = read(png_bytes(pixels))
        np.testing.assert_array_equal(np.rint(radiograph.pixels * 65535), pixels)
        assert radiograph.view is None
        assert radiograph.warnings == ()

    @pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
    def test_8_bit_modes_of_grey_agree(self, mode: str) -> None:
        radiograph = read(png_bytes(GREY8, mode=mode))
        np.testing.assert_allclose(radiograph.pixels, GREY8 / 255, atol=1e-6)
        assert (radiograph.photometric, radiograph.warnings) == (mode, ())

    def test_1_bit_is_black_and_white(self) -> None:
        assert set(np.unique(read(png_bytes(GREY8, mode="1")).pixels)) == {0.0, 1.0}

    def test_white_is_exactly_one(self) -> None:
        assert read(png_bytes(np.full((4, 4), 255, np.uint8))).pixels.max() == 1.0

    @pytest.mark.parametrize("channels", [2, 4])
    def test_alpha_lies_on_black(self, channels: int) -> None:
        pixels = np.full((8, 8, channels), 200, np.uint8)
        pixels[..., -1] = 255
        pixels[:4, :, -1] = 0
        pixels[4:6, :, -1] = 128
        expected = np.repeat([0.0, 200 / 255 * 128 / 255, 200 / 255], [4, 2, 2])
        actual = read(png_bytes(pixels)).pixels
        np.testing.assert_allclose(actual, np.tile(expected[:, None], 8), atol=0.003)

    def test_transparent_palette_entry_is_black(self) -> None:
        image = png_bytes(np.full((4, 4), 200, np.uint8), mode="P", transparency=200)
        assert read(image).pixels.max() == 0.0

    @pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
    def test_transparent_grey_is_black(self, depth: int) -> None:
        white = min((1 << depth) - 1, 255)  # of the depth that is used
        lines = np.tile(np.arange(256, dtype=np.uint16), (256, 1)) & white
        data = grey_png(lines, depth, chunk(b"tRNS", struct.pack(">H", white)))
        np.testing.assert_array_equal(
            np.rint(read(data).pixels * white), np.where(lines == white, 0, lines)
        )

    def test_colour_is_luma_with_a_warning(self) -> None:
        green = np.zeros((32, 32, 3), np.uint8)
        green[..., 1] = 255
        radiograph = read(png_bytes(green))
        np.testing.assert_allclose(radiograph.pixels, 0.587, atol=0.002)
        assert "coloured" in radiograph.warnings[0]

    def test_animation_is_refused(self) -> None:
        frames = [Image.fromarray(GREY8), Image.fromarray(255 - GREY8)]
        data = png_bytes(GREY8, save_all=True, append_images=frames)
        with pytest.raises(MultipleFrames):
            read(data)

    def test_cut_file_is_truncated(self) -> None:
        data = png_bytes()
        for share in (0.1, 0.5, 0.95):
            with pytest.raises(TruncatedImage, match="complete file"):
                read(data[: int(len(data) * share)])

    def test_broken_pixels_are_corrupt(self) -> None:
        data = bytearray(png_bytes())
        data[data.index(b"IDAT") + 8 : data.index(b"IDAT") + 40] = b"\x55" * 32
        with pytest.raises(CorruptImage):
            read(bytes(data))

    def test_claimed_size_is_checked_before_decoding(self) -> None:
        data = bytearray(png_bytes())
        header = b"IHDR" + struct.pack(">LL", 60000, 60000) + bytes(data[24:29])
        data[12:33] = header + struct.pack(">L", zlib.crc32(header))
        with pytest.raises(TooManyPixels):
            read(bytes(data))

    @pytest.mark.parametrize(
        ("rows", "columns", "error"),
        [
            (1, 40_000_000, TooManyPixels),
            (16_385, 2_300, TooManyPixels),
            (1_000, 8_001, UnsupportedPixels),
            (8_001, 1_000, UnsupportedPixels),
        ],
    )
    def test_shape_that_no_film_has_is_refused_before_decoding(
        self, rows: int, columns: int, error: type[ReadingError]
    ) -> None:
        data = bytearray(png_bytes())
        header = b"IHDR" + struct.pack(">LL", columns, rows) + bytes(data[24:29])
        data[12:33] = header + struct.pack(">L", zlib.crc32(header))
        with pytest.raises(error, match=f"{rows} x {columns}"):  # decoded, it would be truncated
            read(bytes(data))

    def test_long_jpeg_is_refused_before_decoding(self) -> None:
        data = bytearray(jpeg_bytes())
        frame = data.index(b"\xff\xc0") + 5  # height and width, ITU-T T.81, B.2.2
        data[frame : frame + 4] = struct.pack(">HH", 600, 60_000)
        with pytest.raises(TooManyPixels, match=r"600 x 60000.*16,384"):
            read(bytes(data))

    @pytest.mark.parametrize(
        "others",
        [
            chunk(b"iTXt", b"key\0\0\0\0\0" + bytes(1_100_000)),
            chunk(b"prVt", bytes(600_000)) * 2,
            chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(600_000))) * 2,
        ],
        ids=["text", "private", "compressed text"],
    )
    def test_what_is_not_pixels_is_bounded(self, others: bytes) -> None:
        with pytest.raises(CorruptImage):
            read(png_file(GREY8, chunks=others))

    @pytest.mark.parametrize("rest", [b"\x50" * 2_000_000, chunk(b"prVt", bytes(2_000_000))])
    def test_what_follows_the_end_does_not_matter(self, rest: bytes) -> None:
        film = chest(1100, 1000, bits=8)
        np.testing.assert_array_equal(read(png_bytes(film) + rest).pixels * 255, film)

    @pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
    def test_compressed_chunk_does_not_inflate_without_bound(self, kind: bytes) -> None:
        bomb = chunk(kind, b"name\0\0" + zlib.compress(bytes(100_000_000), 9))
        data = png_bytes()
        bombed = data[:33] + bomb + data[33:]
        try:
            pixels = read(bombed).pixels
        except CorruptImage:
            return
        np.testing.assert_array_equal(pixels, read(data).pixels)


class TestJpeg:
    @pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
    def test_modes_of_grey_agree(self, mode: str) -> None:
        radiograph = read(jpeg_bytes(mode=mode))
        assert np.abs(radiograph.pixels - GREY8 / 255).mean() < 0.01
        assert (radiograph.photometric, radiograph.warnings) == (mode, ())

    def test_progressive_is_read(self) -> None:
        assert np.abs(read(jpeg_bytes(progressive=True)).pixels - GREY8 / 255).mean() < 0.01

    def test_cut_file_is_truncated(self) -> None:
        data = jpeg_bytes()
        for share in (0.02, 0.5, 0.95):
            with pytest.raises(TruncatedImage):
                read(data[: int(len(data) * share)])

    def test_broken_tables_are_corrupt(self) -> None:
        data = bytearray(jpeg_bytes())
        place = data.index(b"\xff\xc0")
        data[place : place + 2] = b"\xff\xc9"  # arithmetic coding of a Huffman stream
        data[place + 4] = 99
        with pytest.raises(CorruptImage):
            read(bytes(data))


class TestOrientation:
    @pytest.mark.parametrize(
        ("orientation", "turned"),
        [
            (1, GREY8),
            (2, np.fliplr(GREY8)),
            (3, np.rot90(GREY8, 2)),
            (4, np.flipud(GREY8)),
            (5, GREY8.T),
            (6, np.rot90(GREY8, -1)),
            (7, np.rot90(GREY8.T, 2)),
            (8, np.rot90(GREY8)),
        ],
    )
    def test_exif_orientation_is_applied(
        self, orientation: int, turned: "np.typing.NDArray[np.uint8]"
    ) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        for data in (png_bytes(GREY8, exif=exif), jpeg_bytes(exif=exif)):
            radiograph = read(data)
            assert radiograph.pixels.shape == turned.shape
            assert np.abs(radiograph.pixels - turned / 255).mean() < 0.01

    def test_exif_orientation_of_16_bit_grey_is_applied(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        pixels = chest(bits=16)
        actual = np.rint(read(png_bytes(pixels, exif=exif)).pixels * 65535)
        np.testing.assert_array_equal(actual, np.rot90(pixels, -1))

    @pytest.mark.parametrize(
        "entry", [b"\x01\x00\0\2\0\0\0\4\x31\x32\x33\0", b"\x01\x1a\0\x09\0\0\0\1\xff\xff\xff\xff"]
    )
    def test_entry_of_an_odd_type_does_not_matter(self, entry: bytes) -> None:
        """Image Width as text, X Resolution as a negative integer (TIFF 6.0, section 2)."""
        orientation = struct.pack(">HHLHH", 0x0112, 3, 1, 6, 0)
        exif = b"Exif\0\0MM\0*\0\0\0\x08\0\2" + b"".join(sorted([orientation, entry])) + bytes(4)
        for data in (png_bytes(GREY8, exif=exif), jpeg_bytes(exif=exif)):
            assert read(data).pixels.shape == GREY8.T.shape

    def test_it_is_found_among_comments(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        data = jpeg_bytes(exif=exif)
        comments = segment(0xFE, bytes(60_000)) * 100
        np.testing.assert_array_equal(
            read(data[:2] + comments + data[2:]).pixels, read(data).pixels
        )

    def test_malformed_exif_leaves_the_image_as_it_is(self) -> None:
        data = jpeg_bytes(exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
        assert read(data).pixels.shape == GREY8.shape

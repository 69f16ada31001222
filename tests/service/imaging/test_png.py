"""What is written or inflated is what another decoder reads."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from service.errors import CorruptImage, TruncatedImage
from service.imaging import png as codec
from service.imaging.png import inflated
from service.imaging.raster import read_png
from tests.factories import chest, png_bytes


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encoded in blocks of three rows; colours get the fourth byte that is left out."""
    if pixels.ndim == 3:
        pixels = np.concatenate([pixels, noise(*pixels.shape[:2], 1)], axis=2)
    blocks = (pixels[row : row + 3] for row in range(0, len(pixels), 3))
    return codec.png(blocks, len(pixels))


class TestPng:
    @pytest.mark.parametrize(
        "pixels",
        [noise(1, 1), noise(1, 1, 3), noise(3, 1), noise(7, 5, 3), noise(301, 257), chest(bits=8)],
        ids=lambda pixels: str(pixels.shape),
    )
    def test_gives_the_same_pixels(self, pixels: NDArray[np.uint8]) -> None:
        with Image.open(BytesIO(png(pixels))) as image:
            image.verify()  # every chunk's checksum
        with Image.open(BytesIO(png(pixels))) as image:
            assert image.mode == ("L" if pixels.ndim == 2 else "RGB")
            np.testing.assert_array_equal(np.asarray(image), pixels)

    def test_compresses(self) -> None:
        assert len(png(chest(512, 512, bits=8))) < 512 * 512 * 0.7


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Type and content of each, with its checksum checked."""
    found, position = [], 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        content = data[position + 8 : position + 8 + length]
        (check,) = struct.unpack_from(">I", data, position + 8 + length)
        assert check == zlib.crc32(kind + content)
        found.append((kind, content))
        position += 12 + length
    return found


def written(parts: list[tuple[bytes, bytes]]) -> bytes:
    return png(noise(1, 1))[:8] + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


class TestInflated:
    @pytest.mark.parametrize(
        ("shape", "options"),
        [
            ((301, 257), {"mode": "1"}),
            ((301, 257), {"mode": "P", "bits": 2}),
            ((301, 257), {"mode": "P", "bits": 4}),
            ((301, 257), {"mode": "P", "transparency": 3}),
            ((1, 1), {"mode": "L"}),
            ((301, 257), {"mode": "LA"}),
            ((301, 257), {"mode": "RGB"}),
            ((301, 257), {"mode": "RGBA"}),
        ],
        ids=str,
    )
    def test_decodes_to_the_same(self, shape: tuple[int, int], options: dict[str, Any]) -> None:
        levels = 2 ** options.get("bits", 8)
        data = png_bytes(noise(*shape) & (levels - 1), **options)
        self.check(data, inflated(data))

    def test_16_bits_and_all_other_chunks_are_kept(self) -> None:
        text = PngInfo()
        text.add_text("before", "the pixels")
        text.add(b"tEXt", b"after\0them", after_idat=True)
        data = png_bytes(chest(700, 600, bits=16), pnginfo=text, dpi=(300, 300))
        stored = inflated(data)
        self.check(data, stored)
        kept = [[part for part in chunks(one) if part[0] != b"IDAT"] for one in (data, stored)]
        assert kept[0] == kept[1]
        assert sum(kind == b"IDAT" for kind, _ in chunks(stored)) == 1

    @staticmethod
    def check(data: bytes, stored: bytes) -> None:
        assert stored != data
        with Image.open(BytesIO(data)) as before, Image.open(BytesIO(stored)) as after:
            assert after.mode == before.mode
            assert after.info == before.info
            np.testing.assert_array_equal(np.asarray(after), np.asarray(before))

    @pytest.mark.parametrize(
        "pixels",
        [
            zlib.compress(bytes(9 * 8))[:-1] + b"x",
            b"no deflate stream",
        ],
        ids=["wrong checksum", "nonsense"],
    )
    def test_pixels_with_a_defect_are_left_to_the_decoder(self, pixels: bytes) -> None:
        header, _, end = chunks(png(noise(8, 8)))
        data = written([header, (b"IDAT", pixels), end])
        assert inflated(data) == data

    @pytest.mark.parametrize(
        "pixels",
        [zlib.compress(bytes(9 * 8))[:-5], zlib.compress(bytes(71)), zlib.compress(b""), b""],
        ids=["cut", "too short", "none", "empty"],
    )
    def test_missing_scanlines_are_told(self, pixels: bytes) -> None:
        header, _, end = chunks(png(noise(8, 8)))
        with pytest.raises(TruncatedImage, match="fewer scanlines"):
            inflated(written([header, (b"IDAT", pixels), end]))

    @pytest.mark.parametrize("length", [9 * 8 + 1, 10**8])
    def test_more_scanlines_than_there_are_rows_are_told(self, length: int) -> None:
        header, _, end = chunks(png(noise(8, 8)))
        with pytest.raises(CorruptImage, match="more scanlines"):
            inflated(written([header, (b"IDAT", zlib.compress(bytes(length))), end]))

    @pytest.mark.parametrize(("side", "length"), [(8, 79), (1, 2), (3, 15), (17, 323)])
    def test_scanlines_of_all_passes_are_counted(self, side: int, length: int) -> None:
        header, _, end = chunks(png(noise(side, side)))
        head = (b"IHDR", header[1][:-1] + b"\1")
        whole = written([head, (b"IDAT", zlib.compress(bytes(length))), end])
        assert not read_png(whole, 1000).pixels.any()
        with pytest.raises(TruncatedImage):
            inflated(written([head, (b"IDAT", zlib.compress(bytes(length - 1))), end]))

    def test_damaged_and_scattered_pixels_are_told(self) -> None:
        data = png(noise(8, 8))
        place = data.index(b"IDAT") + 20
        with pytest.raises(CorruptImage, match="CRC"):
            inflated(data[:place] + b"\x55" + data[place + 1 :])
        header, (_, pixels), end = chunks(data)
        halves = [(b"IDAT", pixels[:40]), (b"tEXt", b"a\0b"), (b"IDAT", pixels[40:])]
        with pytest.raises(CorruptImage, match="several places"):
            inflated(written([header, *halves, end]))

    def test_a_file_that_ends_anywhere_is_left_as_it_is(self) -> None:
        data = png(noise(8, 8))
        whole = data.index(b"IEND") - 4
        assert all(inflated(data[:length]) == data[:length] for length in range(whole))

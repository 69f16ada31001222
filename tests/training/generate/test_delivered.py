"""What is taken of a service's images before the next one is paid for."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.training.generate.nanobanana.films import CONVERTED, SIDE, film, picture, rude
from training.generate.alike import alike
from training.generate.delivered import UnfitImage, take
from training.generate.request import GreyImage

REASONS = {
    "1 x 1": "smaller than 128 pixels",
    "wide": "another shape than asked for",
    "strip": "another shape than asked for",
    "coloured": "coloured",
    "blank": "blank",
}


def saved(pixels: GreyImage, kind: str, **options: int) -> GreyImage:
    """Pixels as a file with losses holds them."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return np.asarray(Image.open(buffer).convert("L"))


def claims(side: int) -> bytes:
    """A PNG of ``side`` x ``side`` by its header, without pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IEND\xae\x42\x60\x82"


class TestTake:
    def test_leaves_what_serving_reads_as_it_is(self) -> None:
        taken = take(film(3), aspect=1.0)
        assert taken.content == film(3)
        np.testing.assert_array_equal(taken.pixels, np.asarray(picture(3).convert("L")))

    @pytest.mark.parametrize("kind", CONVERTED[:2])
    def test_converts_without_loss(self, kind: str) -> None:
        taken = take(rude(kind, 3), aspect=1.0)
        assert taken.content.startswith(b"\x89PNG")
        np.testing.assert_array_equal(taken.pixels, np.asarray(picture(3).convert("L")))

    @pytest.mark.parametrize("kind", REASONS)
    def test_refuses_what_curation_would_reject(self, kind: str) -> None:
        with pytest.raises(UnfitImage, match=REASONS[kind]):
            take(rude(kind, 3), aspect=1.0)

    def test_the_shape_is_the_one_asked_for(self) -> None:
        assert take(rude("wide", 3), aspect=6.0).pixels.shape == (SIDE, 6 * SIDE)
        with pytest.raises(UnfitImage, match="shape"):
            take(film(3), aspect=6.0)

    @pytest.mark.parametrize("content", [b"", b"GIF", b"<html>", claims(9000), claims(100)])
    def test_refuses_what_cannot_be_read(self, content: bytes) -> None:
        with pytest.raises(UnfitImage, match="undecodable image"):
            take(content, aspect=1.0)

    def test_refuses_what_was_cut(self) -> None:
        for content in (rude("webp", 3), film(3)):
            with pytest.raises(UnfitImage, match="undecodable image"):
                take(content[:900], aspect=1.0)


class TestAlike:
    def test_one_picture_saved_anew_is(self) -> None:
        one = np.asarray(picture(2).convert("L"))
        brighter = np.asarray(0.9 * one + 20, np.uint8)
        larger = np.asarray(Image.fromarray(one).resize((300, 300)))
        for other in (one, brighter, larger, saved(one, "JPEG", quality=90), 255 - one):
            assert alike(one, other)
            assert alike(other, one)

    def test_the_halves_of_a_pair_are_not(self) -> None:
        halves = [np.asarray(picture(serial).convert("L")) for serial in range(8)]
        for healthy, pneumonia in zip(halves[::2], halves[1::2], strict=True):
            assert not alike(healthy, pneumonia)
            assert not alike(healthy, saved(pneumonia, "JPEG", quality=90))

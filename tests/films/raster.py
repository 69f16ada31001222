"""One film as PNG and JPEG files, in every layout that they have."""

from collections.abc import Iterator
from io import BytesIO
from itertools import product
from typing import Any

import numpy as np
from PIL import Image

from tests.encoders import chunk, jpeg_extended_bytes, png_file
from tests.factories import jpeg_bytes, png_bytes
from tests.films.film import Film, Version
from tests.films.storage import SOF0, SOF1

UPRIGHT = 1


def raster(film: Film) -> Iterator[Version]:
    """PNG and JPEG files."""
    yield from _pngs(film)
    yield from _jpegs(film)


def _pngs(film: Film) -> Iterator[Version]:
    for bits, factor in ((8, 1), (16, 1), (16, 4), (16, 16), (16, 64), (16, 257)):
        grey = film.astype(f"u{bits // 8}") * np.array(factor, f"u{bits // 8}")
        opaque = np.full_like(grey, np.iinfo(grey.dtype).max)
        layouts = {
            "grey": grey,
            "grey and alpha": np.stack([grey, opaque], axis=-1),
            "RGB": np.stack([grey] * 3, axis=-1),
            "RGBA": np.stack([grey] * 3 + [opaque], axis=-1),
        }
        for (layout, pixels), interlaced in product(layouts.items(), (False, True)):
            name = f"raster/PNG/{layout} of {bits} bits, levels x {factor}"
            name += ", interlaced" if interlaced else ""
            yield Version(name, png_file(pixels, interlaced=interlaced), film)
            data = png_file(pixels, interlaced=interlaced, idat=8192)
            yield Version(f"{name}/IDAT of 8 KiB", data, film)
    for inverted, interlaced in product((False, True), (False, True)):
        levels = np.arange(256)[:: -1 if inverted else 1]
        palette = np.stack([levels] * 3, axis=-1)
        data = png_file(255 - film if inverted else film, palette=palette, interlaced=interlaced)
        name = f"raster/PNG/palette{', inverted' if inverted else ''}"
        yield Version(f"{name}{', interlaced' if interlaced else ''}", data, film)
    exif = Image.Exif()
    exif[0x0112] = UPRIGHT
    yield Version("raster/PNG/Pillow/Exif orientation 1", png_bytes(film, exif=exif), film)
    for name, kind, content in (
        ("text", b"tEXt", b"Comment\0chest"),
        ("pixel size", b"pHYs", bytes(3) + b"\x18" + bytes(3) + b"\x18\x01"),
        ("time", b"tIME", b"\x07\xe0\x01\x01\0\0\0"),
        ("significant bits", b"sBIT", b"\x08"),
    ):
        yield Version(f"raster/PNG/with {name}", png_file(film, chunks=chunk(kind, content)), film)


def _jpegs(film: Film) -> Iterator[Version]:
    rgb = np.stack([film] * 3, axis=-1)
    exif = Image.Exif()
    exif[0x0112] = UPRIGHT
    options: list[dict[str, Any]] = [
        {},
        {"progressive": True},
        {"optimize": True},
        {"restart_marker_rows": 4},
        {"exif": exif},
        {"comment": b"chest"},
    ]
    for quality, option in product((100, 95, 75), options):
        stream = jpeg_bytes(film, quality=quality, **option)
        name = f"quality {quality}, {', '.join(option) or 'plain'}"
        yield Version(f"raster/JPEG/grey, {name}", stream, luma(stream))
        for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
            stream = jpeg_bytes(rgb, quality=quality, subsampling=subsampling, **option)
            yield Version(f"raster/JPEG/YCbCr {subsampling}, {name}", stream, luma(stream))
    stream = jpeg_bytes(rgb, quality=100, keep_rgb=True)
    yield Version("raster/JPEG/RGB without transform", stream, luma(stream))
    stream = jpeg_bytes(film, mode="CMYK", quality=100)
    yield Version("raster/JPEG/CMYK", stream, luma(stream))
    stream = jpeg_extended_bytes(film, precision=8)
    baseline = stream.replace(SOF1, SOF0, 1)
    yield Version("raster/JPEG/steps of 1", baseline, luma(baseline))
    yield Version("raster/JPEG/steps of 1, extended sequential", stream, luma(baseline))


def luma(stream: bytes) -> Film:
    """Grey values of a JPEG by Pillow."""
    return np.asarray(Image.open(BytesIO(stream)).convert("RGB").convert("L"))

"""One film as colour: RGB, YBR and palettes, all of them grey.

[colour] -> structure
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.factories import Pixels, dicom_bytes, jpeg_bytes
from tests.films.film import Film, Version
from tests.films.grey import NATIVE
from tests.films.raster import luma

SYNTAXES = NATIVE | {"deflated": DeflatedExplicitVRLittleEndian}
LOSSLESS = (RLELossless, JPEGLSLossless, JPEG2000Lossless)
DEPTHS = ((8, 8, 1), (16, 8, 1), (16, 12, 16), (16, 16, 257))  # allocated, stored, factor
CODECS_TAKE = {(8, 8), (16, 12), (16, 16)}
PALETTE_KEYS = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]


def colour(film: Film) -> Iterator[Version]:
    """Three samples a pixel, or one and a palette."""
    yield from _rgb(film)
    yield from _ybr(film)
    yield from _jpeg(film)
    yield from _palettes(film)


def _rgb(film: Film) -> Iterator[Version]:
    for allocated, stored, factor in DEPTHS:
        grey = _typed(film, allocated) * np.array(factor, f"u{allocated // 8}")
        rgb = np.stack([grey] * 3, axis=-1)
        name = f"RGB/{stored} of {allocated} bits"
        for (syntax_name, syntax), planar in product(SYNTAXES.items(), (0, 1)):
            data = _three(rgb, "RGB", stored, syntax, planar)
            yield Version(f"colour/{name}/{syntax_name}/planar {planar}", data, film)
        for codec in LOSSLESS:
            if (allocated, stored) not in CODECS_TAKE:
                continue
            for transform in (False, True) if codec == JPEG2000Lossless else (False,):
                stream = _encoded(rgb, codec, stored, transform=transform)
                says = "YBR_RCT" if transform else "RGB"
                data = dicom_bytes(
                    rgb,
                    photometric=says,
                    bits_stored=stored,
                    transfer_syntax=codec,
                    codestream=stream,
                )
                yield Version(f"colour/{name}/{codec.name}/{says}", data, film)


def _ybr(film: Film) -> Iterator[Version]:
    for allocated, stored, factor in DEPTHS:
        grey = _typed(film, allocated) * np.array(factor, f"u{allocated // 8}")
        chroma = np.full_like(grey, 1 << (stored - 1))
        ybr = np.stack([grey, chroma, chroma], axis=-1)
        name = f"{stored} of {allocated} bits"
        for (syntax_name, syntax), planar in product(SYNTAXES.items(), (0, 1)):
            data = _three(ybr, "YBR_FULL", stored, syntax, planar)
            yield Version(f"colour/YBR_FULL/{name}/{syntax_name}/planar {planar}", data, film)
        if (allocated, stored) in CODECS_TAKE:
            for codec in LOSSLESS[:2]:
                data = dicom_bytes(
                    ybr,
                    photometric="YBR_FULL",
                    bits_stored=stored,
                    transfer_syntax=codec,
                    codestream=_encoded(ybr, codec, stored),
                )
                yield Version(f"colour/YBR_FULL/{name}/{codec.name}", data, film)
        shared = np.stack([grey[:, ::2], grey[:, 1::2], chroma[:, ::2], chroma[:, ::2]], axis=-1)
        for syntax_name, syntax in SYNTAXES.items():
            data = dicom_bytes(
                ybr,
                photometric="YBR_FULL_422",
                bits_stored=stored,
                transfer_syntax=syntax,
                raw=shared.astype(shared.dtype.newbyteorder("<")).tobytes(),
            )
            yield Version(f"colour/YBR_FULL_422/{name}/{syntax_name}", data, film)
            data = _three(ybr, "YBR_FULL_422", stored, syntax, 0)
            yield Version(
                f"colour/YBR_FULL_422 with a chroma sample a pixel/{name}/{syntax_name}", data, film
            )


def _jpeg(film: Film) -> Iterator[Version]:
    rgb = np.stack([film] * 3, axis=-1)
    for says, options in (
        ("YBR_FULL_422", {"subsampling": "4:2:2"}),
        ("YBR_FULL_422", {"subsampling": "4:2:0"}),
        ("YBR_FULL", {"subsampling": "4:4:4"}),
        ("RGB", {"subsampling": "4:4:4"}),
        ("RGB", {"keep_rgb": True}),
    ):
        stream = jpeg_bytes(rgb, quality=100, **options)
        data = dicom_bytes(
            rgb, photometric=says, transfer_syntax=JPEGBaseline8Bit, codestream=stream
        )
        yield Version(f"colour/JPEG Baseline/{says}/{options}", data, luma(stream))


def _palettes(film: Film) -> Iterator[Version]:
    for allocated, first, inverted, depth in product((8, 16), (0, 100), (False, True), (8, 16)):
        if allocated == 8 and first:
            continue
        levels = np.arange(256)[:: -1 if inverted else 1]
        entries = (levels * (257 if depth == 16 else 1)).astype(f"<u{depth // 8}")
        indices = _typed(255 - film if inverted else film, allocated)
        indices += np.array(first, indices.dtype)
        tags: dict[str, Any] = {f"{key}Descriptor": [256, first, depth] for key in PALETTE_KEYS}
        name = f"{allocated} bits from {first}/entries of {depth} bits"
        name += ", inverted" if inverted else ""
        for syntax_name, syntax in SYNTAXES.items():
            swapped = syntax_name == "explicit big endian"
            raw = entries.view("<u2").byteswap() if swapped else entries
            tags |= {f"{key}Data": raw.tobytes() for key in PALETTE_KEYS}
            data = dicom_bytes(indices, photometric="PALETTE COLOR", transfer_syntax=syntax, **tags)
            yield Version(f"colour/PALETTE COLOR/{name}/{syntax_name}", data, film)
        tags |= {f"{key}Data": entries.tobytes() for key in PALETTE_KEYS}
        for codec in LOSSLESS:
            stream = _encoded(indices, codec, allocated, photometric="PALETTE COLOR")
            data = dicom_bytes(
                indices,
                photometric="PALETTE COLOR",
                transfer_syntax=codec,
                codestream=stream,
                **tags,
            )
            yield Version(f"colour/PALETTE COLOR/{name}/{codec.name}", data, film)


def _typed(values: Pixels, allocated: int) -> Pixels:
    pixels: Pixels = values.astype(f"u{allocated // 8}")
    return pixels


def _three(pixels: Pixels, photometric: str, stored: int, syntax: str, planar: int) -> bytes:
    laid = np.moveaxis(pixels, -1, 0).reshape(pixels.shape) if planar else pixels
    return dicom_bytes(
        laid,
        photometric=photometric,
        bits_stored=stored,
        transfer_syntax=syntax,
        PlanarConfiguration=planar,
    )


def _encoded(
    pixels: Pixels,
    syntax: UID,
    stored: int,
    *,
    transform: bool = False,
    photometric: str = "RGB",
) -> bytes:
    options: dict[str, Any] = {"use_mct": transform} if syntax == JPEG2000Lossless else {}
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    stream: bytes = get_encoder(syntax).encode(
        np.ascontiguousarray(pixels),
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        samples_per_pixel=samples,
        planar_configuration=0,
        bits_allocated=pixels.dtype.itemsize * 8,
        bits_stored=stored,
        pixel_representation=0,
        photometric_interpretation="YBR_RCT" if transform else photometric,
        number_of_frames=1,
        **options,
    )
    return stream

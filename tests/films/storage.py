"""One film in every transfer syntax, bit depth, sign and polarity.

grey -> [storage] -> structure
"""

from collections.abc import Iterator
from io import BytesIO
from itertools import product
from typing import Any

import imagecodecs
import jpeg_ls  # type: ignore[import-untyped]
import numpy as np
from PIL import Image
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.bombs import element
from tests.encoders import jpeg_extended_bytes, jpeg_lossless_bytes
from tests.factories import Pixels, dicom_bytes, jpeg_bytes
from tests.films.film import Film, Version
from tests.films.grey import DEPTHS, FORMS, NATIVE, Form, photometric

LOSSY = 0.12  # logits between a film and itself with up to 1 of 4,095 lost in each pixel
SOF0, SOF1 = b"\xff\xc0", b"\xff\xc1"
PIXEL_DATA = b"\xe0\x7f\x10\0OW"
OVERLAY = element(0x6000, 0x0100, b"US", b"\x10\0") + element(0x6000, 0x0102, b"US", b"\x0f\0")


def in_syntax(
    film: Film, form: Form, syntax: str, stream: bytes | None = None, **tags: Any
) -> bytes:
    """Write the film; ``stream`` is its codestream where there is one."""
    return dicom_bytes(
        form.values(film),
        photometric=photometric(form),
        bits_stored=form.stored,
        transfer_syntax=syntax,
        codestream=stream,
        **tags,
    )


def encoded(film: Film, form: Form, syntax: UID, **options: Any) -> bytes:
    """Encode a frame by one of pydicom's encoders."""
    pixels = form.values(film)
    stream: bytes = get_encoder(syntax).encode(
        pixels,
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        samples_per_pixel=1,
        bits_allocated=form.allocated,
        # pydicom packs fewer than 9 bits into bytes before it encodes them as words by RLE.
        bits_stored=form.allocated if syntax == RLELossless else form.stored,
        pixel_representation=int(form.signed),
        photometric_interpretation=photometric(form),
        number_of_frames=1,
        **options,
    )
    return stream


def patterns(film: Film, form: Form) -> Pixels:
    """Stored values as unsigned integers of Bits Stored, which is what JPEG Lossless holds."""
    values = form.values(film).astype(np.int64) & ((1 << form.stored) - 1)
    pixels: Pixels = values.astype(f"u{form.allocated // 8}")
    return pixels


def storage(film: Film) -> Iterator[Version]:
    """Every way to store the values; no table but the polarity."""
    yield from _natives(film)
    yield from _lossless(film)
    yield from _jpeg_lossless(film)
    yield from _lossy(film)


def _natives(film: Film) -> Iterator[Version]:
    syntaxes = NATIVE | {"deflated": DeflatedExplicitVRLittleEndian}
    for (name, syntax), form in product(syntaxes.items(), FORMS):
        yield Version(f"native/{name}/{form}", in_syntax(film, form, syntax), film)
        spare = form.allocated - form.stored
        if not spare:
            continue
        fills = {"zeros": 0} if form.signed else {"zeros": 0, "ones": 0xFFFF}
        for fill, bits in fills.items():
            above = np.uint16(bits >> form.stored << form.stored)
            data = _with_bits_above(film, form, syntax, np.full(film.shape, above))
            yield Version(f"native/{name}/{form}/{fill} above Bits Stored", data, film)
        if syntax == ExplicitVRLittleEndian:
            plane = np.zeros(film.shape, np.uint16)
            plane[40:60, 40:80] = 0x8000
            data = _with_bits_above(film, form, syntax, plane)
            place = data.index(PIXEL_DATA)
            data = data[:place] + OVERLAY + data[place:]
            yield Version(f"native/{name}/{form}/an overlay above Bits Stored", data, film)
        data = dicom_bytes(
            patterns(film, form) << np.uint16(spare),
            photometric=photometric(form),
            bits_stored=form.stored,
            transfer_syntax=syntax,
            PixelRepresentation=int(form.signed),
            HighBit=15,
        )
        yield Version(f"native/{name}/{form}/High Bit 15", data, film)


def _with_bits_above(film: Film, form: Form, syntax: str, above: Pixels) -> bytes:
    return dicom_bytes(
        patterns(film, form) | above,
        photometric=photometric(form),
        bits_stored=form.stored,
        transfer_syntax=syntax,
        PixelRepresentation=int(form.signed),
    )


def _lossless(film: Film) -> Iterator[Version]:
    for syntax, form in product((RLELossless, JPEGLSLossless, JPEG2000Lossless), FORMS):
        data = in_syntax(film, form, syntax, encoded(film, form, syntax))
        yield Version(f"lossless/{syntax.name}/{form}", data, film)
    for syntax, form in product((HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), FORMS):
        if form.stored == form.allocated:  # the encoder takes the depth from the type
            stream = bytes(imagecodecs.htj2k_encode(form.values(film), reversible=True))
            data = in_syntax(film, form, syntax, stream)
            yield Version(f"lossless/{syntax.name}/{form}", data, film)


def _jpeg_lossless(film: Film) -> Iterator[Version]:
    signs = [Form(16, 12, 16, signed=s, inverted=i) for s in (False, True) for i in (False, True)]
    for form in (*(Form(*depth) for depth in DEPTHS), *signs[1:]):
        stream = jpeg_lossless_bytes(patterns(film, form), precision=form.stored)
        data = in_syntax(film, form, JPEGLosslessSV1, stream)
        yield Version(f"JPEG Lossless/SV1/{form}", data, film)
    for depth, predictor in product(((8, 8, 1), (16, 12, 16)), range(1, 8)):
        form = Form(*depth)
        for transform, modulo in ((0, 16), (0, form.stored), (1, 16), (2, 16), (4, 16)):
            if form.factor % (1 << transform):
                continue  # would lose bits of the film
            stream = jpeg_lossless_bytes(
                patterns(film, form),
                precision=form.stored,
                predictor=predictor,
                point_transform=transform,
                modulo=modulo,
            )
            how = f"predictor {predictor}, point transform {transform}, modulo 2^{modulo}"
            yield Version(
                f"JPEG Lossless/process 14/{how}/{form}",
                in_syntax(film, form, JPEGLossless, stream),
                film,
            )


def _lossy(film: Film) -> Iterator[Version]:
    """Judged by another decoder's pixels of the same stream: the film's fine detail is not kept.

    For 12 bits there is no other decoder; that one is judged by the film itself.
    """
    for depth, inverted in product(((16, 12, 16), (16, 14, 64), (16, 16, 257)), (False, True)):
        form = Form(*depth, inverted=inverted)
        stream = encoded(film, form, JPEGLSNearLossless, jls_error=3)
        data = in_syntax(film, form, JPEGLSNearLossless, stream)
        shown = _upright(np.asarray(jpeg_ls.decode(np.frombuffer(stream, np.uint8))), form)
        yield Version(f"lossy/JPEG-LS Near-Lossless/{form}", data, shown)
        stream = encoded(film, form, JPEG2000, j2k_psnr=[60])
        data = in_syntax(film, form, JPEG2000, stream)
        shown = _upright(np.asarray(Image.open(BytesIO(stream))), form)
        yield Version(f"lossy/JPEG 2000/{form}", data, shown)
    for inverted in (False, True):
        form = Form(16, 12, 16, inverted=inverted)  # kept within 1 of 4,095
        stream = jpeg_extended_bytes(form.values(film))
        data = in_syntax(film, form, JPEGExtended12Bit, stream)
        yield Version(f"lossy/JPEG Extended of 12 bits/{form}", data, film, apart=LOSSY)
        form = Form(8, 8, 1, inverted=inverted)
        stream = jpeg_extended_bytes(form.values(film), precision=8)
        data = in_syntax(film, form, JPEGExtended12Bit, stream)
        baseline = stream.replace(SOF1, SOF0, 1)  # what Pillow reads; at 8 bits, the same syntax
        shown = _upright(np.asarray(Image.open(BytesIO(baseline))), form)
        yield Version(f"lossy/JPEG Extended of 8 bits/{form}", data, shown)
        for quality in (100, 95, 80):
            stream = jpeg_bytes(form.values(film), quality=quality)
            data = in_syntax(film, form, JPEGBaseline8Bit, stream)
            shown = _upright(np.asarray(Image.open(BytesIO(stream))), form)
            yield Version(f"lossy/JPEG Baseline/quality {quality}/{form}", data, shown)


def _upright(values: Pixels, form: Form) -> Pixels:
    """Decoded values with bone bright."""
    pixels: Pixels = values.max() - values if form.inverted else values
    return pixels

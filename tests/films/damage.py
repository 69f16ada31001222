"""Files that lost or repeat some of their bytes, and what may be said of them.

film -> structure, raster -> [damage] -> readings
Damage must not pass silently: what is read all the same says so in a warning, or is the same.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.encoders import jpeg_extended_bytes, jpeg_lossless_bytes, png_file
from tests.factories import dicom_bytes, jpeg_bytes, png_bytes
from tests.films.film import Answer, Film
from tests.films.grey import NATIVE, Form, lut
from tests.films.storage import encoded, in_syntax, patterns
from tests.films.structure import FORM, even, streams, wrapped

HEADER = 2048  # bytes
END = {"JPEG": b"\xff\xd9", "PNG": b"\0\0\0\0IEND\xae\x42\x60\x82"}
SAME = 0.02  # logits that differ by less are one reading
NOTABLE = 0.05  # of probability

Wrap = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Whole:
    """An undamaged file: ``data``, or a codestream in ``data`` and how to wrap it as a file.

    ``end`` is what marks its end, empty where nothing does.
    """

    name: str
    data: bytes
    wrap: Wrap = bytes
    end: bytes = b""

    @property
    def file(self) -> bytes:
        """The file itself."""
        return self.wrap(self.data)


@dataclass(frozen=True, slots=True)
class Damaged:
    """A file that was damaged; ``kind`` names where and how, ``detail`` the bytes concerned."""

    whole: Whole
    kind: str
    detail: str
    data: bytes


def wholes(film: Film) -> list[Whole]:
    """A file of each encoding, and each codestream by itself."""
    return [*_native(film), *_encapsulated(film), *_rasters(film)]


def _native(film: Film) -> Iterator[Whole]:
    tags = {"WindowCenter": "2040.5", "WindowWidth": "4081", "RescaleSlope": "1"}
    for name, syntax in (NATIVE | {"deflated": DeflatedExplicitVRLittleEndian}).items():
        yield Whole(f"native, {name}", in_syntax(film, FORM, syntax, **tags))
    signed = Form(16, 12, 16, signed=True, inverted=True)
    yield Whole(
        "native, signed, with rescaling",
        in_syntax(
            film, signed, ExplicitVRLittleEndian, RescaleSlope="1", RescaleIntercept="1024",
            WindowCenter="1039.5", WindowWidth="4081",
        ),
    )  # fmt: skip
    ramp = np.rint(np.arange(4096) * 65535 / 4095)
    yield Whole(
        "native, with a VOI LUT",
        in_syntax(film, FORM, ExplicitVRLittleEndian, VOILUTSequence=[lut(ramp, 0, 16)]),
    )
    yield Whole("native, 8 bits", in_syntax(film, Form(8, 8, 1), ExplicitVRLittleEndian))
    rgb = np.stack([film] * 3, axis=-1)
    yield Whole("native, RGB", dicom_bytes(rgb, photometric="RGB"))


def _encapsulated(film: Film) -> Iterator[Whole]:
    def both(
        name: str, syntax: UID, form: Form, stream: bytes, end: bytes = END["JPEG"]
    ) -> Iterator[Whole]:
        def wrap(codestream: bytes) -> bytes:
            return wrapped(film, syntax, form, [b"", even(codestream)])

        yield Whole(name, wrap(stream), end=end + b"\xfe\xff\xdd\xe0\0\0\0\0")
        yield Whole(f"{name}, codestream", stream, wrap, end)

    for name, syntax, form, stream in streams(film):
        yield from both(name, syntax, form, stream, b"" if syntax == RLELossless else END["JPEG"])
    twelve = FORM
    yield from both(
        "JPEG Extended of 12 bits",
        JPEGExtended12Bit,
        twelve,
        jpeg_extended_bytes(twelve.values(film)),
    )
    lossless = jpeg_lossless_bytes(patterns(film, twelve), precision=12, predictor=7)
    yield from both("JPEG Lossless, predictor 7", JPEGLossless, twelve, lossless)
    near = bytes(encoded(film, twelve, JPEGLSNearLossless, jls_error=3))
    yield from both("JPEG-LS Near-Lossless", JPEGLSNearLossless, twelve, near)
    lossy = bytes(encoded(film, twelve, JPEG2000, j2k_psnr=[60]))
    yield from both("JPEG 2000, lossy", JPEG2000, twelve, lossy)
    stream = jpeg_bytes(film, quality=95, restart_marker_rows=4)
    eight = Form(8, 8, 1)
    yield from both("JPEG Baseline with restarts", UID("1.2.840.10008.1.2.4.50"), eight, stream)


def _rasters(film: Film) -> Iterator[Whole]:
    yield Whole("PNG", png_bytes(film), end=END["PNG"])
    yield Whole("PNG of 16 bits", png_bytes(film * np.uint16(257)), end=END["PNG"])
    yield Whole("PNG, interlaced", png_file(film, interlaced=True), end=END["PNG"])
    yield Whole("PNG in chunks", png_file(film, idat=4096), end=END["PNG"])
    grey = np.arange(256).repeat(3).reshape(256, 3)
    yield Whole("PNG with a palette", png_file(film, palette=grey), end=END["PNG"])
    rgb = np.stack([film] * 3, axis=-1)
    for name, data in (
        ("JPEG", jpeg_bytes(film)),
        ("JPEG, progressive", jpeg_bytes(film, progressive=True)),
        ("JPEG in colour", jpeg_bytes(rgb)),
        ("JPEG with restarts", jpeg_bytes(film, restart_marker_rows=4)),
    ):
        yield Whole(name, data, end=END["JPEG"])


def damages(whole: Whole, count: int, seed: int) -> Iterator[Damaged]:
    """Damage a file in one place: ``count`` times each kind."""
    rng = random.Random(f"{whole.name} {seed}")
    for kind, damage in DAMAGES.items():
        for _ in range(count):
            for region, last in (("header", HEADER), ("anywhere", len(whole.data))):
                start = rng.randrange(min(last, len(whole.data)))
                length = int(2 ** rng.uniform(0, np.log2(max(2, len(whole.data) - start))))
                data = damage(whole, start, length)
                if data is None or data == whole.data:
                    continue
                detail = f"{length} bytes at {start} of {len(whole.data)}"
                yield Damaged(whole, f"{kind}, {region}", detail, whole.wrap(data))


def _zeroed(whole: Whole, start: int, length: int) -> bytes:
    data = whole.data
    return data[:start] + bytes(min(length, len(data) - start)) + data[start + length :]


def _cut_out(whole: Whole, start: int, length: int) -> bytes:
    return whole.data[:start] + whole.data[start + length :]


def _repeated(whole: Whole, start: int, length: int) -> bytes:
    return whole.data[: start + length] + whole.data[start:]


def _cut_short(whole: Whole, start: int, _: int) -> bytes:
    return whole.data[:start]


def _cut_short_with_end(whole: Whole, start: int, _: int) -> bytes | None:
    return whole.data[:start] + whole.end if whole.end else None


DAMAGES: dict[str, Callable[[Whole, int, int], bytes | None]] = {
    "zeroed": _zeroed,
    "cut out": _cut_out,
    "repeated": _repeated,
    "cut short": _cut_short,
    "cut short, end marker": _cut_short_with_end,
}


def outcome(before: Answer, after: Answer) -> str:
    """``refused``, ``same``, ``warned``; or silent: ``other call``, ``other probability``, ``other``."""
    if after.refusal:
        return "refused"
    if before.logit is None or after.logit is None:
        raise ValueError("a film that is read was expected")
    if abs(before.logit - after.logit) < SAME:
        return "same"
    if set(after.warnings) - set(before.warnings):
        return "warned"
    if before.call != after.call:
        return "other call"
    moved = abs((before.probability or 0) - (after.probability or 0))
    return "other probability" if moved > NOTABLE else "other"

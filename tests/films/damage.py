"""Files that lost or repeat some of their bytes, and what may be said of them.

film -> structure, raster -> [damage] -> readings
Damage must not pass silently: what is read all the same says so in a warning, or is the same.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from service.model.reader import Reader
from tests.encoders import jpeg_extended_bytes, jpeg_lossless_bytes, png_file
from tests.factories import dicom_bytes, jpeg_bytes, png_bytes
from tests.films.film import SAME, Answer, Answers, Film
from tests.films.grey import NATIVE, Form, Tags, lut
from tests.films.storage import encoded, in_syntax, patterns
from tests.films.structure import FORM, SEQUENCE_END, encapsulation, even, in_items, streams

HEADER = 2048  # bytes
END = {"JPEG": b"\xff\xd9", "PNG": b"\0\0\0\0IEND\xae\x42\x60\x82"}
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
    tags: Tags = {"WindowCenter": "2040.5", "WindowWidth": "4081", "RescaleSlope": "1"}
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
        head = encapsulation(film, syntax, form)

        def wrap(codestream: bytes) -> bytes:
            return head + in_items([b"", even(codestream)])

        yield Whole(name, wrap(stream), end=end + SEQUENCE_END)
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


@dataclass(frozen=True, slots=True)
class Finding:
    """What the product said of a damaged file.

    ``outcome`` is ``refused``, ``same`` or ``warned``; or, where the damage passed silently,
    ``other call``, ``other probability`` (by more than :data:`NOTABLE`) or ``other logit``.
    """

    name: str
    kind: str
    outcome: str
    example: str


def examined(reader: Reader, films: Sequence[Film], count: int, seed: int) -> Iterator[Finding]:
    """Damage each encoding of each film, and read what is left."""
    answers = Answers(reader)
    subjects = [(number, whole) for number, film in enumerate(films) for whole in wholes(film)]
    before = list(answers.of_files(whole.file for _, whole in subjects))
    under_way = deque[tuple[int, Answer, Damaged]]()

    def files() -> Iterator[bytes]:
        for (film, whole), answer in zip(subjects, before, strict=True):
            for damaged in damages(whole, count, seed):
                under_way.append((film, answer, replace(damaged, data=b"")))
                yield damaged.data

    for after in answers.of_files(files()):
        film, answer, damaged = under_way.popleft()
        moved = (after.logit or 0.0) - (answer.logit or 0.0)
        yield Finding(
            damaged.whole.name,
            damaged.kind,
            outcome(answer, after),
            f"film {film}, {damaged.detail}, seed {seed}: logit {moved:+.2f}",
        )


def outcome(before: Answer, after: Answer) -> str:
    """Compare the answers to a whole and a damaged file; words as in :class:`Finding`."""
    if before.logit is None:
        raise ValueError("the undamaged file is refused")
    if after.logit is None:
        return "refused"
    if abs(before.logit - after.logit) < SAME:
        return "same"
    if set(after.warnings) - set(before.warnings):
        return "warned"
    if before.call != after.call:
        return "other call"
    moved = abs((before.probability or 0) - (after.probability or 0))
    return "other probability" if moved > NOTABLE else "other logit"


# Encodings and damages that no reader can always tell, and why.
CODES = "Huffman codes have no checksum: other codes can end at the same bit."
ZEROS = "Uncompressed values have no checksum, and black is a value."
UNTOLD = {("native", "zeroed"): ZEROS} | {
    ("JPEG", damage): CODES for damage in ("zeroed", "cut out", "repeated")
}


def untold(finding: Finding) -> str:
    """Why this damage cannot always be told; empty where it can."""
    for (name, kind), reason in UNTOLD.items():
        if finding.name.startswith(name) and finding.kind.startswith(kind):
            return reason
    return ""

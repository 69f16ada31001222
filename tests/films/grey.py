"""One film as stored values and the tables that turn them back into grey.

[stored values -> modality -> VOI -> presentation] -> storage
Each stage states its tables for the values that the one before yields.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, cycle, product
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.factories import Pixels, dicom_bytes
from tests.films.film import MARGIN, Film, Version, with_margin

Tags = dict[str, Any]
NATIVE = {
    "implicit little endian": ImplicitVRLittleEndian,
    "explicit little endian": ExplicitVRLittleEndian,
    "explicit big endian": ExplicitVRBigEndian,
}


@dataclass(frozen=True, slots=True)
class Form:
    """How a film is stored: bits, the factor of its levels, sign and polarity."""

    allocated: int
    stored: int
    factor: int
    signed: bool = False
    inverted: bool = False

    @property
    def lowest(self) -> int:
        """Least value that the stored bits can hold."""
        return -(1 << (self.stored - 1)) if self.signed else 0

    def values(self, film: Film) -> Pixels:
        """Stored values."""
        values = film.astype(np.int64) * self.factor
        if self.inverted:
            values = (1 << self.stored) - 1 - values
        kind = f"{'i' if self.signed else 'u'}{self.allocated // 8}"
        pixels: Pixels = (values + self.lowest).astype(kind)
        return pixels

    @property
    def range(self) -> tuple[int, int]:
        """Least and largest stored value of a film."""
        ends = self.values(np.array([0, 255], np.uint8))
        return int(ends.min()), int(ends.max())

    def __str__(self) -> str:
        return (
            f"{self.stored} of {self.allocated} bits, levels x {self.factor}"
            f"{', signed' if self.signed else ''}{', inverted' if self.inverted else ''}"
        )


DEPTHS = (
    (8, 8, 1), (16, 8, 1), (16, 10, 4), (16, 12, 1), (16, 12, 16), (16, 14, 64), (16, 15, 128),
    (16, 16, 257),
)  # fmt: skip
FORMS = tuple(
    Form(*depth, signed=signed, inverted=inverted)
    for depth, signed, inverted in product(DEPTHS, (False, True), (False, True))
)


def photometric(form: Form) -> str:
    """MONOCHROME1 where the values are inverted."""
    return "MONOCHROME1" if form.inverted else "MONOCHROME2"


@dataclass(frozen=True, slots=True)
class Stage:
    """Tables of one stage, and the values that they yield for the least and largest stored one."""

    name: str
    tags: Tags
    low: float = 0.0
    high: float = 0.0


def modality_stages(form: Form) -> Iterator[tuple[Stage, Form]]:
    """No table; rescaling of many kinds; a Modality LUT. Each with the form that it is for."""
    low, high = form.range
    yield Stage("no modality", {}, low, high), form
    scales = [("1", "-1024"), ("16", "-100"), ("2", "0"), ("0.5", "10.25")]
    if form.stored > 8:  # at 8 bits, whether a window counts its last step is worth a level
        scales.append((f"{1 / ((1 << form.stored) - 1):.12f}", "0"))
    for slope, intercept in scales:
        ends = [value * float(slope) + float(intercept) for value in (low, high)]
        tags = {"RescaleSlope": slope, "RescaleIntercept": intercept}
        yield Stage(f"slope {slope}, intercept {intercept}", tags, *ends), form
    falling = replace(form, inverted=not form.inverted)  # turned back by the slope
    low, high = falling.range
    tags = {"RescaleSlope": "-1", "RescaleIntercept": str(low + high)}
    yield Stage("slope -1", tags, low, high), falling
    low, high = form.range
    for depth in (form.stored, 16):
        entries = np.arange(1 << form.stored)
        item = lut(entries, form.lowest, depth, signed=form.signed)
        item.ModalityLUTType = "US"
        stage = Stage(
            f"Modality LUT of {depth} bits",
            {"ModalityLUTSequence": [item]},
            low - form.lowest,
            high - form.lowest,
        )
        yield stage, form


def voi_stages(low: float, high: float) -> Iterator[Stage]:
    """No table, windows, and VOI LUTs that map ``low`` and ``high`` to black and white."""
    width, middle = high - low, (low + high) / 2
    yield Stage("no window", {})
    if width >= 2:
        yield Stage("window", _window(middle + 0.5, width + 1))
        yield Stage("LINEAR window", _window(middle + 0.5, width + 1, "LINEAR"))
        yield Stage("wide window", _window(middle + 0.5 + width / 8, 2 * width))
        yield Stage("two windows", _window([middle + 0.5, low], [width + 1, 2]))
    else:
        yield Stage("window of width 1", _window(middle, 1))  # of fractions, not of integers
    yield Stage("exact window", _window(middle, width, "LINEAR_EXACT"))
    if low == int(low) and high == int(high) and low >= -32768 and high <= 65535:
        yield from _voi_luts(int(low), int(high))


def _voi_luts(low: int, high: int) -> Iterator[Stage]:
    steps = np.arange(high - low + 1)
    for depth in (8, 9, 10, 12, 14, 15, 16):
        entries = np.rint(steps * ((1 << depth) - 1) / steps[-1]).astype(int)
        for packing in ("words", "OW") if depth != 8 else ("words", "OW", "bytes"):
            item = lut(entries, low, depth, signed=low < 0, packing=packing)
            yield Stage(f"VOI LUT of {depth} bits in {packing}", {"VOILUTSequence": [item]})
    ramp = np.rint(steps * 4095 / steps[-1]).astype(int)
    beside = {"VOILUTSequence": [lut(ramp, low, 12, signed=low < 0)]}
    yield Stage("VOI LUT and window", beside | _window((low + high + 1) / 2, high - low + 1))
    before = 10 if low >= 10 or -32758 <= low < 0 else 0
    longer = np.concatenate([np.zeros(before, int), ramp, np.full(10, 4095)])
    item = lut(longer, low - before, 12, signed=low < 0)
    yield Stage("VOI LUT beyond the values", {"VOILUTSequence": [item]})
    if low < 0:
        item = lut(ramp, low & 0xFFFF, 12, signed=False)
        yield Stage("VOI LUT from a negative value as US", {"VOILUTSequence": [item]})


def _window(centre: Any, width: Any, function: str | None = None) -> Tags:
    texts = [
        [f"{v:.14g}"[:16] for v in value] if isinstance(value, list) else f"{value:.14g}"[:16]
        for value in (centre, width)
    ]
    return {"WindowCenter": texts[0], "WindowWidth": texts[1], "VOILUTFunction": function}


def lut(
    entries: Pixels, first: int, depth: int, *, signed: bool = False, packing: str = "words"
) -> Dataset:
    """One item of a Modality or VOI LUT Sequence (PS3.3 C.11.1.1 and C.11.2.1.1).

    Parameters
    ----------
    entries
        At most 65,536 of ``depth`` bits.
    first
        The value that the first entry stands for.
    signed
        Whether the descriptor is SS.
    packing
        ``"words"`` of VR US, ``"OW"``, or ``"bytes"`` of 8 bits in OW.
    """
    item = Dataset()
    count = len(entries) % 65536  # pydicom writes it unsigned, whatever the VR
    item.add_new("LUTDescriptor", "SS" if signed else "US", [count, first, depth])
    if packing == "words":
        item.add_new("LUTData", "US", [int(entry) for entry in entries])
    else:
        raw = np.asarray(entries).astype("<u2" if packing == "OW" else "u1").tobytes()
        item.add_new("LUTData", "OW", raw + b"\0" * (len(raw) % 2))
    return item


def presentations(form: Form) -> Iterator[Stage]:
    """Every way to say which end is white."""
    if form.inverted:
        yield Stage("MONOCHROME1", {"photometric": "MONOCHROME1"})
        yield Stage(
            "MONOCHROME1, INVERSE",
            {"photometric": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        )
        yield Stage(
            "MONOCHROME2, INVERSE",
            {"photometric": "MONOCHROME2", "PresentationLUTShape": "INVERSE"},
        )
    else:
        yield Stage("MONOCHROME2", {"photometric": "MONOCHROME2"})
        yield Stage(
            "MONOCHROME2, IDENTITY",
            {"photometric": "MONOCHROME2", "PresentationLUTShape": "IDENTITY"},
        )


def grey_stages(film: Film) -> Iterator[Version]:
    """Every modality and VOI table together; presentations and transfer syntaxes in turn."""
    syntaxes = cycle(NATIVE.items())
    turn = count()
    for depth, signed, inverted in product(((16, 12, 16), (8, 8, 1)), (False, True), (False, True)):
        form = Form(*depth, signed=signed, inverted=inverted)
        for modality, stored in modality_stages(form):
            for voi in voi_stages(modality.low, modality.high):
                shapes = list(presentations(form))
                shape = shapes[next(turn) % len(shapes)]
                name, syntax = next(syntaxes)
                if name == "explicit big endian" and voi.name.endswith(("OW", "bytes")):
                    name, syntax = next(syntaxes)  # their bytes are little-endian
                yield Version(
                    f"tables/{modality.name}/{voi.name}/{shape.name}/{stored}/{name}",
                    dicom_bytes(
                        stored.values(film),
                        bits_stored=form.stored,
                        transfer_syntax=syntax,
                        **modality.tags | voi.tags | shape.tags,
                    ),
                    film,
                )


def padded(film: Film) -> Iterator[Version]:
    """A margin that Pixel Padding Value marks, as one value and as a range."""
    shown = with_margin(film)
    margin = np.ones(film.shape, bool)
    margin[MARGIN:-MARGIN, MARGIN:-MARGIN] = False
    for signed, inverted in product((False, True), (False, True)):
        form = Form(16, 12, 14, signed=signed, inverted=inverted)  # leaves values free above
        low, high = form.range
        free = form.lowest + 4095 if not inverted else form.lowest
        for limit, value in product((None, -80, 80), (free, free + (-3 if not inverted else 3))):
            pixels = form.values(film)
            pixels[margin] = value
            tags: Tags = {"PixelPaddingValue": value}
            if limit is not None:
                tags["PixelPaddingRangeLimit"] = value + limit
            beyond = limit is not None and not (form.lowest <= value + limit <= form.lowest + 4095)
            if beyond:
                continue
            for voi in (
                Stage("no window", {}),
                Stage("window", _window((low + high + 1) / 2, high - low + 1)),
            ):
                for name, syntax in NATIVE.items():
                    data = dicom_bytes(
                        pixels,
                        photometric=photometric(form),
                        bits_stored=12,
                        transfer_syntax=syntax,
                        **tags | voi.tags,
                    )
                    yield Version(
                        f"padding/{value}, limit {limit}/{voi.name}/{form}/{name}", data, shown
                    )

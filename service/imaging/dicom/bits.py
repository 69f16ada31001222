"""Which bits of a pixel are its value: Bits Stored, High Bit, Pixel Representation, padding.

pixels -> [bits] -> grey
Bits outside of these are nothing, the sign once more, or overlays of old files; then they do not
count. But headers are wrong more often than pixels, and half a value is none: where something else
is there, of the two pictures the smoother one is the film.

References
----------
DICOM PS3.5 8.1.1 and 8.2, PS3.3 C.7.6.3.1 and C.7.5.1.1.2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from service.imaging.codestreams import Samples
from service.imaging.dicom.acceptance import Layout
from service.imaging.dicom.elements import OVERLAY_GROUPS
from service.imaging.dicom.header import integer

OUTSIDE = "Pixels have bits outside of Bits Stored (0028,0101) and High Bit (0028,0102)"
ROWS_APART = 4  # a quarter of the rows tells which picture is smoother


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """What each of the 2**allocated bit patterns of a pixel stands for.

    Attributes
    ----------
    stored
        Stored value, int32 of shape (2**allocated,).
    padding
        Whether it is padding, which is no part of the picture; same shape.
    warnings
        Where the header does not describe the pixels.
    """

    stored: NDArray[np.int32]
    padding: NDArray[np.bool_]
    warnings: tuple[str, ...] = ()


def understand(pixels: Samples, header: Dataset, layout: Layout) -> Patterns:
    """Find out what the bit patterns of (H, W) pixels stand for.

    ``layout`` is that of the pixels, ``header`` gives padding and overlays.
    """
    patterns = np.arange(1 << 8 * pixels.dtype.itemsize, dtype=np.int32)
    value_bits = (1 << (layout.high_bit + 1)) - (1 << (layout.high_bit + 1 - layout.bits_stored))
    outside = ~value_bits & ~_overlay_bits(header, layout) & (len(patterns) - 1)
    stored = extracted(patterns, layout)
    padding = padded(patterns, stored, header, layout)
    if _fits(pixels, patterns, stored, padding, outside, layout):
        return Patterns(stored=stored, padding=padding)
    whole = _with_sign(patterns, layout)
    unit = 1 << (layout.high_bit + 1 - layout.bits_stored)
    rows = pixels[::ROWS_APART]
    if _roughness(stored[rows] * unit) <= _roughness(whole[rows]):
        return Patterns(stored=stored, padding=padding, warnings=(f"{OUTSIDE}; ignored.",))
    padding = padded(patterns, whole, header, layout)
    return Patterns(stored=whole, padding=padding, warnings=(f"{OUTSIDE}; all were read.",))


def extracted(patterns: NDArray[np.int32], layout: Layout) -> NDArray[np.int32]:
    """The value of each pattern, from High Bit down, with its sign if it has one."""
    values = (patterns >> (layout.high_bit + 1 - layout.bits_stored)) & (
        (1 << layout.bits_stored) - 1
    )
    if layout.signed:
        values = values - (values >> (layout.bits_stored - 1) << layout.bits_stored)
    return values


def padded(
    patterns: NDArray[np.int32], stored: NDArray[np.int32], header: Dataset, layout: Layout
) -> NDArray[np.bool_]:
    """Which patterns are Pixel Padding (0028,0120), up to (0028,0121) where that is given.

    Writers mistake the sign, and the VR, US or SS, of these elements. As 16 bits they are the same.
    """
    first = integer(header, "PixelPaddingValue")
    if first is None:
        return np.zeros(patterns.shape, dtype=bool)
    last = integer(header, "PixelPaddingRangeLimit")
    ends = [_as_pixel(end, layout) for end in (first, first if last is None else last)]
    inside = max(map(abs, ends)) < 1 << layout.bits_stored
    values = stored if inside else _with_sign(patterns, layout)
    return (values >= min(ends)) & (values <= max(ends))


def _with_sign(patterns: NDArray[np.int32], layout: Layout) -> NDArray[np.int32]:
    """All bits of each pattern as one number, which has a sign if the pixels have."""
    half = len(patterns) // 2
    return np.where(patterns >= half, patterns - 2 * half, patterns) if layout.signed else patterns


def _as_pixel(value: int, layout: Layout) -> int:
    """Give 16 bits the sign that Pixel Representation (0028,0103) says; a small one stays as is."""
    bits = value & 0xFFFF
    if not layout.signed:
        return bits
    if bits >= 1 << 15:
        return bits - (1 << 16)
    half = 1 << (layout.bits_stored - 1)
    return bits - 2 * half if half <= bits < 2 * half else bits


def _fits(
    pixels: Samples,
    patterns: NDArray[np.int32],
    stored: NDArray[np.int32],
    padding: NDArray[np.bool_],
    outside: int,
    layout: Layout,
) -> bool:
    """Whether pixels have nothing outside of their value but more of their sign."""
    if not outside & int(np.bitwise_or.reduce(pixels, axis=None)):
        return True
    present = (np.bincount(pixels.ravel(), minlength=len(patterns)) > 0) & ~padding
    above = outside & -(1 << layout.high_bit)
    extension = np.where(layout.signed & (stored < 0), above, 0)
    found = patterns & outside
    return bool(((found == 0) | (found == extension))[present].all())


def _roughness(values: NDArray[np.int32]) -> int:
    """Sum of the steps between neighbours in a row: least for a film."""
    return int(np.abs(np.diff(values, axis=1)).sum(dtype=np.int64))


def _overlay_bits(header: Dataset, layout: Layout) -> int:
    """Bits that hold overlay planes of old files (PS3.5 8.1.2, PS3.3 C.9.2, retired)."""
    bits = 0
    for group in OVERLAY_GROUPS:
        position = integer(header, (group, 0x0102)) or 0
        allocated = integer(header, (group, 0x0100))
        if 0 < position < layout.bits_allocated == allocated:
            bits |= 1 << position
    return bits

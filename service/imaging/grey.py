"""From stored values to grey: one lookup table for the whole chain of DICOM's stages.

stored values -> modality -> VOI -> presentation -> [0, 1], bone bright
Every stage works on the at most 65,536 values a pixel can have, never on the pixels: exact, in
float64, and one pass over the image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi

from service.errors import CorruptImage, UnsupportedPixels
from service.imaging.acceptance import YBR, Layout, code
from service.imaging.bounded import MAX_VALUE_BYTES, byte_length, first_item
from service.imaging.dicom_file import MALFORMED
from service.imaging.pixels import StoredPixels
from service.imaging.radiograph import FloatImage

Values = NDArray[np.float64]  # one entry for every code a pixel can have

# Leaves markers and dead pixels out and clips no more than 1 in 10,000 pixels on either side.
ROBUST_WINDOW = (0.0001, 0.9999)
HISTOGRAM_STRIDE = 2  # every 4th pixel decides the percentiles
ROWS_AT_ONCE = 64  # a block and its indices stay in the cache: twice as fast as all rows at once
MAX_LUT_BYTES = 2 * 65536  # PS3.3 C.11.1.1: at most 65,536 entries of 16 bits
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as JPEG's YCbCr
NOTABLE_COLOUR = 0.02  # mean difference of channels, of full scale; JPEG noise stays below 0.01
COLOUR_WARNING = "The image is coloured; only its luma is read. A radiograph has no colour."


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """What every possible bit pattern of a pixel stands for, and how often it occurs.

    Attributes
    ----------
    stored
        Stored value of each pattern, without the bits above Bits Stored; int32 (2**allocated,).
    counts
        Occurrences in a regular sample of the image; padding counts 0.
    padding
        Which patterns are padding.
    """

    stored: NDArray[np.int32]
    counts: NDArray[np.int64]
    padding: NDArray[np.bool_]


def grey_pixels(
    pixels: StoredPixels, header: Dataset, layout: Layout
) -> tuple[FloatImage, list[str]]:
    """Run MONOCHROME pixels through modality, VOI and presentation.

    Parameters
    ----------
    pixels
        Shape (H, W), 8 or 16 bits.
    header, layout
        Of the same image.

    Returns
    -------
    pixels
        float32 of shape (H, W) in [0, 1], bone bright.
    warnings
        What was missing or unusable.

    References
    ----------
    DICOM PS3.4 N.2 (order of the grayscale transformations).
    """
    patterns = pixels.view(f"u{pixels.dtype.itemsize}")
    codes = _codes(patterns, header, layout, signed=layout.signed)
    try:
        values = modality_values(codes.stored, header)
        curve, warnings = voi_curve(values, codes.counts, header)
    except MALFORMED:
        raise CorruptImage(
            "the lookup tables in the header cannot be read. Send it again."
        ) from None
    if is_inverted(header, layout.photometric):
        np.subtract(1.0, curve, out=curve)
    curve[codes.padding] = 0.0  # PS3.3 C.7.5.1.1.2: background, black whatever the polarity
    return looked_up(patterns, curve), warnings


def palette_pixels(pixels: StoredPixels, header: Dataset) -> tuple[FloatImage, list[str]]:
    """Turn PALETTE COLOR pixels into luma (PS3.3 C.7.6.3.1.5); arguments as :func:`grey_pixels`."""
    patterns = pixels.view(f"u{pixels.dtype.itemsize}")
    keys = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
    if any(f"{key}Data" not in header for key in keys):
        raise UnsupportedPixels(
            "Palette Color Lookup Table Data (0028,1201) is absent or segmented. Send a grey image."
        )
    try:
        if any(byte_length(header, f"{key}Data") > MAX_LUT_BYTES for key in keys):
            raise ValueError("palette too long")
        palette = apply_color_lut(np.arange(np.iinfo(patterns.dtype).max + 1), header)
    except MALFORMED:
        raise CorruptImage("the palette (0028,1201) cannot be read. Send it again.") from None
    white = np.iinfo(palette.dtype).max
    used = np.bincount(patterns[::4, ::4].ravel(), minlength=len(palette)) > 0
    curve = np.asarray(palette @ LUMA / white, dtype=np.float64)
    return looked_up(patterns, curve), colour_warnings(palette[used], float(white))


def colour_pixels(
    pixels: StoredPixels, photometric: str, layout: Layout
) -> tuple[FloatImage, list[str]]:
    """Turn (H, W, 3) RGB or YBR pixels into luma (PS3.3 C.7.6.3.1.2)."""
    white = float(2**layout.bits_stored - 1)
    if photometric in YBR:  # where a plugin already gave RGB, it says so
        centre = (white + 1) / 2
        chroma = np.abs(pixels[::8, ::8, 1:].astype(np.float32) - centre)
        coloured = float(chroma.mean()) > NOTABLE_COLOUR * white
        luma = pixels[..., 0] / np.float32(white)
        return np.clip(luma, 0, 1), [COLOUR_WARNING] if coloured else []
    luma = np.asarray((pixels.astype(np.float32) @ LUMA) / np.float32(white))
    return np.clip(luma, 0, 1), colour_warnings(pixels[::8, ::8], white)


def colour_warnings(rgb: NDArray[np.generic], white: float) -> list[str]:
    """Warn where the channels of (..., 3) values differ notably on average."""
    samples = np.asarray(rgb, dtype=np.float32).reshape(-1, 3)
    return [COLOUR_WARNING] if np.ptp(samples, axis=1).mean() > NOTABLE_COLOUR * white else []


def _codes(patterns: StoredPixels, header: Dataset, layout: Layout, *, signed: bool) -> Codes:
    stored = stored_values(patterns.dtype.itemsize * 8, layout.bits_stored, signed=signed)
    padding = padding_values(stored, header)
    sample = patterns[::HISTOGRAM_STRIDE, ::HISTOGRAM_STRIDE].ravel()
    counts = np.bincount(sample, minlength=stored.size)
    if counts[~padding].any():
        counts[padding] = 0
    return Codes(stored=stored, counts=counts, padding=padding)


def stored_values(allocated: int, bits_stored: int, *, signed: bool) -> NDArray[np.int32]:
    """Return what each of the 2**allocated bit patterns stands for (PS3.5 8.1.1).

    Bits above Bits Stored are no part of the value: old files keep overlays there.
    """
    values: NDArray[np.int32] = np.arange(2**allocated, dtype=np.int32) & (2**bits_stored - 1)
    if signed:
        values -= (values >> (bits_stored - 1)) << bits_stored
    return values


def padding_values(stored: NDArray[np.int32], header: Dataset) -> NDArray[np.bool_]:
    """Return which stored values are Pixel Padding (0028,0120), up to (0028,0121) where given.

    References
    ----------
    DICOM PS3.3 C.7.5.1.1.2.
    """
    first = _float(header, "PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, dtype=bool)
    last = _float(header, "PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    return (stored >= low) & (stored <= high)


def modality_values(stored: NDArray[np.int32], header: Dataset) -> Values:
    """Apply the Modality LUT, else Rescale Slope and Intercept (PS3.3 C.11.1); slope 0 is none."""
    item = first_item(header, "ModalityLUTSequence")
    if item is not None:
        _check_lut(item)
        return np.asarray(apply_modality_lut(stored, header), dtype=np.float64)
    slope = _float(header, "RescaleSlope") or 1.0
    intercept = _float(header, "RescaleIntercept") or 0.0
    return stored.astype(np.float64) * slope + intercept


def voi_curve(
    values: Values, counts: NDArray[np.int64], header: Dataset
) -> tuple[Values, list[str]]:
    """Map modality values onto [0, 1] by the first VOI LUT, else window, else robust percentiles.

    References
    ----------
    DICOM PS3.3 C.11.2.
    """
    item = first_item(header, "VOILUTSequence")
    if item is not None:
        _check_lut(item)
        mapped = np.asarray(apply_voi(np.rint(values).astype(np.int64), header), np.float64)
        return mapped / max(1.0, float(mapped.max())), []
    present = values[counts > 0]
    centre, width = _float(header, "WindowCenter"), _float(header, "WindowWidth")
    function = code(header, "VOILUTFunction").upper() or "LINEAR"
    if centre is None and width is None and "WindowCenter" not in header:
        return robust_window(values, counts), []
    if (
        centre is None
        or width is None
        or width < (1 if function == "LINEAR" else 1e-9)
        or centre + width / 2 <= present.min() < present.max()
        or centre - width / 2 >= present.max() > present.min()
    ):
        warning = "Window Center (0028,1050) and Width (0028,1051) are unusable and were replaced."
        return robust_window(values, counts), [warning]
    return window(values, centre, width, function), []


def window(values: Values, centre: float, width: float, function: str) -> Values:
    """Apply a VOI window.

    Parameters
    ----------
    values
        Modality values.
    centre, width
        In the same units; ``width`` at least 1 for LINEAR, above 0 otherwise.
    function
        ``"LINEAR_EXACT"`` or ``"SIGMOID"``; everything else is LINEAR, the default of the standard.

    Returns
    -------
    Values
        New array in [0, 1].

    References
    ----------
    DICOM PS3.3 C.11.2.1.2 (linear) and C.11.2.1.3 (sigmoid, linear exact).
    """
    if function == "SIGMOID":
        exponent = np.clip(-4 * (values - centre) / width, -700, 700)
        return np.asarray(1 / (1 + np.exp(exponent)))
    if function == "LINEAR_EXACT":
        return _clipped((values - centre) / width + 0.5)
    if width <= 1:
        return (values > centre - 0.5).astype(np.float64)
    return _clipped((values - (centre - 0.5)) / (width - 1) + 0.5)


def _clipped(values: Values) -> Values:
    return np.clip(values, 0.0, 1.0)


def robust_window(values: Values, counts: NDArray[np.int64]) -> Values:
    """Map the 0.01 to 99.99 % percentiles of the image linearly onto [0, 1]; 0 where constant."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(counts[order])
    ranks = np.array(ROBUST_WINDOW) * cumulative[-1]
    low, high = values[order][np.searchsorted(cumulative, ranks, side="left")]
    if high <= low:
        present = values[counts > 0]
        low, high = present.min(), present.max()
    if high <= low:
        return np.zeros_like(values)
    return _clipped((values - low) / (high - low))


def is_inverted(header: Dataset, photometric: str) -> bool:
    """Whether the smallest value is white.

    MONOCHROME1 and Presentation LUT Shape INVERSE state the same fact: DX objects carry both
    (PS3.3 table C.8-71), and both together invert once.
    """
    return photometric == "MONOCHROME1" or code(header, "PresentationLUTShape") == "INVERSE"


def looked_up(patterns: StoredPixels, curve: Values) -> FloatImage:
    """Replace every pattern by its entry in ``curve``; float32, shape of ``patterns``."""
    table = curve.astype(np.float32)
    pixels = np.empty(patterns.shape, dtype=np.float32)
    for row in range(0, len(patterns), ROWS_AT_ONCE):
        block = slice(row, row + ROWS_AT_ONCE)
        np.take(table, patterns[block], out=pixels[block], mode="clip")
    return pixels


def _float(header: Dataset, keyword: str) -> float | None:
    """Return the first value as a finite number; None where there is none."""
    try:
        number = float(code(header, keyword))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _check_lut(item: Dataset) -> None:
    if (
        "LUTData" not in item
        or byte_length(item, "LUTData") > MAX_LUT_BYTES
        or byte_length(item, "LUTDescriptor") > MAX_VALUE_BYTES
    ):
        raise ValueError("no LUT Data (0028,3006), or more than 65,536 entries")

"""From stored values to grey: one lookup table for the whole chain of DICOM's stages.

stored values -> modality -> VOI -> presentation -> [0, 1], bone bright
Every stage works on the at most 65,536 values a pixel can have, never on the pixels: exact, in
float64, and one pass over the image.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from service.errors import CorruptImage, UnsupportedPixels
from service.imaging.codestreams import Samples
from service.imaging.dicom.acceptance import YBR, Layout
from service.imaging.dicom.bits import OUTSIDE, Patterns, understand
from service.imaging.dicom.header import MALFORMED, code, first_item, is_stated
from service.imaging.dicom.lut import UnusableLut, read_lut
from service.imaging.radiograph import FloatImage

Values = NDArray[np.float64]  # one entry for every code a pixel can have

# Leaves markers and dead pixels out and clips no more than 1 in 10,000 pixels on either side.
ROBUST_WINDOW = (0.0001, 0.9999)
HISTOGRAM_STRIDE = 2  # every 4th pixel decides the percentiles
ROWS_AT_ONCE = 64  # a block and its indices stay in the cache: twice as fast as all rows at once
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as JPEG's YCbCr
NOTABLE_COLOUR = 0.02  # mean difference of channels, of full scale; JPEG noise stays below 0.01
COLOUR_WARNING = "The image is coloured; only its luma is read. A radiograph has no colour."
# A window that shows fewer grey values, or less of the picture, leaves black and white of it.
LEAST_LEVELS = 16
LEAST_SHOWN = 0.05
ENDS = 0.01  # of the range: black and white
LARGEST = 1e100  # of a slope, an intercept or a window: products of larger ones overflow
WINDOW_WARNING = "Window Center (0028,1050) and Width (0028,1051) are unusable and were replaced."
LUT_WARNING = "The VOI LUT (0028,3010) is unusable and was replaced."


def grey_pixels(pixels: Samples, header: Dataset, layout: Layout) -> tuple[FloatImage, list[str]]:
    """Run MONOCHROME pixels through modality, VOI and presentation.

    Parameters
    ----------
    pixels
        Bit patterns of shape (H, W), 8 or 16 bits.
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
    patterns = understand(pixels, header, layout)
    counts = _counts(pixels, patterns)
    try:
        values = modality_values(patterns.stored, counts, header)
        curve, warnings = voi_curve(values, counts, header)
    except MALFORMED:
        raise CorruptImage(
            "the Modality LUT (0028,3000) in the header cannot be read. Send it again."
        ) from None
    if is_inverted(header, layout.photometric):
        np.subtract(1.0, curve, out=curve)
    curve[patterns.padding] = 0.0  # PS3.3 C.7.5.1.1.2: background, black whatever the polarity
    return looked_up(pixels, curve), [*patterns.warnings, *warnings]


def palette_pixels(
    pixels: Samples, header: Dataset, layout: Layout
) -> tuple[FloatImage, list[str]]:
    """Turn PALETTE COLOR pixels into luma (PS3.3 C.7.6.3.1.5); arguments as :func:`grey_pixels`."""
    keys = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
    if any(f"{key}Data" not in header for key in keys):
        raise UnsupportedPixels(
            "Palette Color Lookup Table Data (0028,1201) is absent or segmented. Send a grey image."
        )
    patterns = understand(pixels, header, layout)
    used = np.bincount(pixels[::4, ::4].ravel(), minlength=len(patterns.stored)) > 0
    try:
        luts = [read_lut(header, f"{key}Descriptor", f"{key}Data") for key in keys]
        stored = patterns.stored.astype(np.float64)
        palette = np.stack([lut.map(stored, used) for lut in luts], axis=1)
    except MALFORMED:
        raise CorruptImage("the palette (0028,1201) cannot be read. Send it again.") from None
    white = max(lut.white for lut in luts)
    curve = np.asarray(palette @ LUMA / white, dtype=np.float64)
    warnings = [*patterns.warnings, *colour_warnings(palette[used], float(white))]
    return looked_up(pixels, curve), warnings


def colour_pixels(pixels: Samples, layout: Layout) -> tuple[FloatImage, list[str]]:
    """Turn (H, W, 3) RGB or YBR pixels into luma (PS3.3 C.7.6.3.1.2)."""
    white = float(2**layout.bits_stored - 1)
    if pixels.max() > white or layout.high_bit != layout.bits_stored - 1:
        raise UnsupportedPixels(f"{OUTSIDE}. Send a grey image.")
    if layout.signed and pixels.max() > white // 2:  # no colour is less than black
        raise UnsupportedPixels(
            "Pixel Representation (0028,0103) is 1, and colours have negative values. Send a grey "
            "image."
        )
    if layout.photometric in YBR:
        centre = (white + 1) / 2
        chroma = np.abs(pixels[::8, ::8, 1:].astype(np.float32) - centre)
        coloured = float(chroma.mean()) > NOTABLE_COLOUR * white
        return luma_of(pixels[..., :1], white), [COLOUR_WARNING] if coloured else []
    return luma_of(pixels, white), colour_warnings(pixels[::8, ::8], white)


def luma_of(colours: NDArray[Any], white: float) -> FloatImage:
    """Luma of (H, W, 3) samples, as they are of (H, W, 1) ones; float32 (H, W) in [0, 1].

    A block of rows at a time: all pixels as floats would take 12 bytes each. And channel by
    channel: a product of matrices rounds the same colour differently in different places.
    """
    weights = LUMA if colours.shape[2] == 3 else np.ones(1, np.float32)
    luma = np.zeros(colours.shape[:2], np.float32)
    for row in range(0, len(colours), ROWS_AT_ONCE):
        block = slice(row, row + ROWS_AT_ONCE)
        for channel, weight in enumerate(weights):
            luma[block] += colours[block, :, channel] * weight
    luma /= np.float32(white)
    return np.clip(luma, 0, 1, out=luma)


def colour_warnings(rgb: NDArray[np.generic], white: float) -> list[str]:
    """Warn where the channels of (..., 3) values differ notably on average."""
    samples = np.asarray(rgb, dtype=np.float32).reshape(-1, 3)
    return [COLOUR_WARNING] if np.ptp(samples, axis=1).mean() > NOTABLE_COLOUR * white else []


def _counts(pixels: Samples, patterns: Patterns) -> NDArray[np.int64]:
    """How often each pattern occurs in a regular sample; padding does not, but where all is."""
    sample = pixels[::HISTOGRAM_STRIDE, ::HISTOGRAM_STRIDE].ravel()
    counts = np.bincount(sample, minlength=len(patterns.stored))
    if counts[~patterns.padding].any():
        counts[patterns.padding] = 0
    return counts


def modality_values(
    stored: NDArray[np.int32], counts: NDArray[np.int64], header: Dataset
) -> Values:
    """Apply the Modality LUT, else Rescale Slope and Intercept (PS3.3 C.11.1); slope 0 is none."""
    item = first_item(header, "ModalityLUTSequence")
    if item is not None:
        values = read_lut(item, "LUTDescriptor", "LUTData").map(stored.astype(float), counts > 0)
        if not _shows_a_film(values, counts):
            raise UnusableLut("it leaves next to nothing")
        return values
    return stored.astype(np.float64) * _slope(header) + _rescaled_by(header, "RescaleIntercept", 0)


def voi_curve(
    values: Values, counts: NDArray[np.int64], header: Dataset
) -> tuple[Values, list[str]]:
    """Map modality values onto [0, 1] by the first VOI LUT, else window, else robust percentiles.

    What cannot be used is replaced by the next of these, with a warning.

    References
    ----------
    DICOM PS3.3 C.11.2.
    """
    warnings = []
    try:
        item = first_item(header, "VOILUTSequence")
        if item is not None:
            lut = read_lut(item, "LUTDescriptor", "LUTData")
            curve = lut.map(values, counts > 0) / lut.white
            if _shows_a_film(curve, counts):
                return curve, []
            warnings.append(LUT_WARNING)
    except MALFORMED:
        warnings.append(LUT_WARNING)
    if "WindowCenter" not in header and "WindowWidth" not in header:
        return robust_window(values, counts), warnings
    windowed = _windowed(values, header)
    if windowed is None or not _shows_a_film(windowed, counts):
        return robust_window(values, counts), [*warnings, WINDOW_WARNING]
    return windowed, warnings


def _windowed(values: Values, header: Dataset) -> Values | None:
    """Apply the header's window; None where there is none that can be."""
    centre, width = _float(header, "WindowCenter"), _float(header, "WindowWidth")
    if centre is None or width is None or width <= 0:
        return None
    function = code(header, "VOILUTFunction").upper() or "LINEAR"
    step = 1.0 if "ModalityLUTSequence" in header else min(1.0, abs(_slope(header)))
    return window(values, centre, width, function, step=step)


def _shows_a_film(curve: Values, counts: NDArray[np.int64]) -> bool:
    """Whether a table or window leaves greys between the darkest and the brightest pixel."""
    present = counts > 0
    found, often = curve[present], counts[present]
    low, high = found.min(), found.max()
    inner = (found > low + ENDS * (high - low)) & (found < high - ENDS * (high - low))
    levels = min(LEAST_LEVELS, int(present.sum()) // 2 - 1)
    enough = inner.sum() >= levels and np.unique(found[inner]).size >= levels
    return bool(enough and often[inner].sum() >= LEAST_SHOWN * often.sum())


def _slope(header: Dataset) -> float:
    """Rescale Slope (0028,1053); 1 where there is none, or it is 0."""
    return _rescaled_by(header, "RescaleSlope", 1) or 1.0


def _rescaled_by(header: Dataset, keyword: str, default: float) -> float:
    """One of the numbers of rescaling; raises CorruptImage where it is none to calculate with."""
    number = _float(header, keyword)
    if number is None and is_stated(header, keyword):
        raise CorruptImage(f"{keyword} {Tag(keyword)} is not a number. Send it again.")
    return default if number is None else number


def window(
    values: Values, centre: float, width: float, function: str, *, step: float = 1.0
) -> Values:
    """Apply a VOI window.

    Parameters
    ----------
    values
        Modality values.
    centre, width
        In the same units; ``width`` above 0.
    function
        ``"LINEAR_EXACT"`` or ``"SIGMOID"``; everything else is LINEAR, the default of the standard.
    step
        Distance of two values. LINEAR, made for integers, puts the edges of the window half a step
        inside; a rescaled film may have steps far smaller than 1.

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
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width <= step:
        return (values > centre - step / 2).astype(np.float64)
    return np.clip((values - (centre - step / 2)) / (width - step) + 0.5, 0, 1)


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
    return np.asarray(np.clip((values - low) / (high - low), 0, 1))


def is_inverted(header: Dataset, photometric: str) -> bool:
    """Whether the smallest value is white.

    MONOCHROME1 and Presentation LUT Shape INVERSE state the same fact: DX objects carry both
    (PS3.3 table C.8-71), and both together invert once.
    """
    return photometric == "MONOCHROME1" or code(header, "PresentationLUTShape").upper() == "INVERSE"


def looked_up(patterns: Samples, curve: Values) -> FloatImage:
    """Replace every pattern by its entry in ``curve``; float32, shape of ``patterns``."""
    table = curve.astype(np.float32)
    pixels = np.empty(patterns.shape, dtype=np.float32)
    for row in range(0, len(patterns), ROWS_AT_ONCE):
        block = slice(row, row + ROWS_AT_ONCE)
        np.take(table, patterns[block], out=pixels[block], mode="clip")
    return pixels


def _float(header: Dataset, keyword: str) -> float | None:
    """Return the first value as a number; None where there is none, or none to calculate with."""
    try:
        number = float(code(header, keyword).replace(",", "."))  # a decimal comma is a mistake
    except ValueError:
        return None
    return number if abs(number) < LARGEST else None

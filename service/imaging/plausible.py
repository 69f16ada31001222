"""What a decoded picture itself shows of lost pixels, and of values that are none of the film's.

bytes -> decode -> [plausible] -> standardise
The figures come from 465 real films: none has a gap in its grey values wider than an eighth of
their range, none a band of one value that is wider than a tenth of its rows, and hardly one of more
than a row between rows that vary.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from service.imaging.radiograph import FloatImage, Radiograph

BAND, BAND_INSIDE = 0.1, 0.005  # of the rows: at the upper or lower edge, and between others
COLUMNS_APART = 8  # each eighth column tells whether a row has one value
GAP, BINS = 0.25, 256  # of the range of grey values, which is counted in bins
SAMPLE_SIDE = 256  # pixels that are counted, at least
FEW_VALUES, FEW_PIXELS = 16, 0.02  # fewer values, or less of the picture, are no film
BAND_WARNING = "A band of rows holds nothing but one value: a part of the picture may be missing."
FOREIGN_WARNING = "Grey values far from all others (a marker, a background) were clipped."


def plausible(radiograph: Radiograph) -> Radiograph:
    """Clip values that are none of the film's, and warn of that and of lost rows."""
    warnings = list(radiograph.warnings)
    if has_band(radiograph.pixels):
        warnings.append(BAND_WARNING)
    pixels, (low, high) = radiograph.pixels, film_range(radiograph.pixels)
    if (low, high) != (pixels.min(), pixels.max()):
        warnings.append(FOREIGN_WARNING)
        pixels = np.clip(pixels, low, high)
        pixels -= np.float32(low)
        pixels /= np.float32(high - low)
    return replace(radiograph, pixels=pixels, warnings=tuple(warnings))


def has_band(pixels: FloatImage) -> bool:
    """Whether a band of rows, each of one value, crosses the picture: lost pixels are written so.

    A picture that is nothing else is left to the gate.
    """
    sample = pixels[:, ::COLUMNS_APART]
    varied = np.flatnonzero((sample != sample[:, :1]).any(axis=1))
    if not len(varied):
        return False
    edge = max(varied[0], len(sample) - 1 - varied[-1])
    inside = np.diff(varied).max(initial=1) - 1
    return bool(edge >= BAND * len(sample) or inside >= max(2, BAND_INSIDE * len(sample)))


def film_range(pixels: FloatImage) -> tuple[float, float]:
    """Smallest and largest grey value of the film in (H, W) pixels.

    What lies behind a wide gap and is few values, or few pixels, is no part of it: a burnt-in
    marker, a background that no Pixel Padding Value names.
    """
    low, high = float(pixels.min()), float(pixels.max())
    step = max(1, min(pixels.shape) // SAMPLE_SIDE)
    sample = pixels[::step, ::step].ravel()
    while low < high:
        split = _gap(sample, low, high)
        if split is None:
            break
        below, above = sample[sample < split], sample[sample >= split]
        if _is_few(below, sample.size) and not _is_few(above, sample.size):
            low = float(pixels[pixels >= split].min())
        elif _is_few(above, sample.size) and not _is_few(below, sample.size):
            high = float(pixels[pixels < split].max())
        else:
            break
    return low, high


def _gap(sample: FloatImage, low: float, high: float) -> float | None:
    """The middle of the widest gap between ``low`` and ``high``, if it is wide."""
    # float64: between neighbours in float32 there is no room for bins of it.
    counts, edges = np.histogram(sample.astype(np.float64), BINS, (low, high))
    counts[[0, -1]] += 1  # both ends occur, sampled or not
    occupied = np.flatnonzero(counts)
    widest = int(np.diff(occupied).argmax())
    if occupied[widest + 1] - occupied[widest] <= GAP * BINS:
        return None
    return float(edges[occupied[widest] + 1] + edges[occupied[widest + 1]]) / 2


def _is_few(values: NDArray[np.float32], all_pixels: int) -> bool:
    return values.size < FEW_PIXELS * all_pixels or np.unique(values).size < FEW_VALUES

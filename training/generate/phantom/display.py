"""From the detector's logarithmic signal to displayed grey values.

anatomy -> framing -> detector -> [display] -> marks -> file
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from service.imaging.radiograph import FloatImage
from training.generate.phantom.sampling import blur, chance, log_uniform, sigmoid, uniform

Enhancement = Literal["none", "unsharp", "multiscale"]

_LEVELS = 5  # of the Laplacian pyramid: details of 1 to 16 pixels
_DETAIL_UNIT = 0.25  # detail of this amplitude keeps its size in multi-scale enhancement
_DETAIL_FLOOR = 0.02  # details below are amplified alike, so that noise is not lifted without end
_NARROWEST_WINDOW = 0.4  # of line integral
_HEADROOM = 0.5  # processing keeps values this far outside the window before they are clipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Grey-value processing of one image.

    Attributes
    ----------
    low, high
        Percentiles of the signal within the body that the window starts from.
    below, above
        By how much of its own width the window is then widened (negative: narrowed) at each end:
        widened below looks washed out, widened above dark, narrowed above burned out.
    curve
        Steepness of the sigmoid display curve, 0 for a linear one.
    middle
        Grey value in [0, 1] where the sigmoid is steepest.
    gamma
        Exponent after the curve; above 1 darkens.
    enhancement
        Edge enhancement after the window.
    strength
        Unsharp: share of the detail that is added. Multi-scale: 1 - exponent of the amplitude.
    radius
        Unsharp: standard deviation in pixels.
    flatness
        Multi-scale: share of the coarse contrast taken away.
    clahe
        Clip limit of adaptive equalisation on an 8 x 8 grid, 0 for none.
    black, white
        Grey values that 0 and 1 become, in [0, 1].
    """

    low: float
    high: float
    below: float
    above: float
    curve: float
    middle: float
    gamma: float
    enhancement: Enhancement
    strength: float
    radius: float
    flatness: float
    clahe: float
    black: float
    white: float


def draw_look(rng: np.random.Generator) -> Look:
    """Draw one vendor's and one technician's taste."""
    enhancement: Enhancement = "none"
    if chance(rng, 0.6):
        enhancement = "unsharp" if chance(rng, 0.5) else "multiscale"
    unsharp = enhancement == "unsharp"
    return Look(
        low=uniform(rng, 0, 8),
        high=uniform(rng, 98, 100) if chance(rng, 0.88) else uniform(rng, 88, 98),
        below=uniform(rng, -0.04, 0.2) if chance(rng, 0.9) else uniform(rng, 0.2, 0.5),
        above=uniform(rng, -0.01, 0.15) if chance(rng, 0.9) else uniform(rng, 0.12, 0.5),
        curve=uniform(rng, 1.5, 6) if chance(rng, 0.5) else 0.0,
        middle=uniform(rng, 0.35, 0.62),
        gamma=float(np.exp(rng.normal(0.0, 0.22))),
        enhancement=enhancement,
        strength=uniform(rng, 0.2, 1.2) if unsharp else uniform(rng, 0.1, 0.45),
        radius=log_uniform(rng, 0.8, 10),
        flatness=uniform(rng, 0, 0.45),
        clahe=uniform(rng, 0.8, 3) if chance(rng, 0.15) else 0.0,
        black=0.0 if chance(rng, 0.6) else uniform(rng, 0, 0.2),
        white=1.0 if chance(rng, 0.5) else uniform(rng, 0.78, 1),
    )


def present(signal: FloatImage, body: NDArray[np.bool_], look: Look) -> FloatImage:
    """Window, enhance and apply the display curve.

    Parameters
    ----------
    signal
        Logarithmic detector signal, float32 of shape (S, S).
    body
        Where the patient is, shape (S, S); the window is taken from there.

    Returns
    -------
    FloatImage
        Grey values in [0, 1], float32 of shape (S, S).
    """
    grey = _enhance(_window(signal, body, look), look)
    grey = _curve(np.clip(grey, 0, 1), look)
    if look.clahe:
        tool = cv2.createCLAHE(look.clahe, (8, 8))
        equalised = tool.apply(np.round(grey * 255).astype(np.uint8))
        grey = np.asarray(equalised / np.float32(255), np.float32)
    return np.asarray(look.black + (look.white - look.black) * grey, np.float32)


def _window(signal: FloatImage, body: NDArray[np.bool_], look: Look) -> FloatImage:
    """Map the window onto [0, 1]; every 16th pixel is enough for the percentiles."""
    sample = signal[::4, ::4][body[::4, ::4]]
    values = sample if sample.size else signal
    low, high = np.percentile(values, (look.low, look.high))
    width = max(float(high - low), _NARROWEST_WINDOW)
    start, stop = low - look.below * width, low + width + look.above * width
    windowed = (signal - np.float32(start)) / np.float32(stop - start)
    return np.asarray(np.clip(windowed, -_HEADROOM, 1 + _HEADROOM), np.float32)


def _enhance(grey: FloatImage, look: Look) -> FloatImage:
    if look.enhancement == "unsharp":
        return grey + np.float32(look.strength) * (grey - blur(grey, look.radius))
    if look.enhancement == "multiscale":
        return _multiscale(grey, look)
    return grey


def _multiscale(grey: FloatImage, look: Look) -> FloatImage:
    """Lift weak details against strong ones on every scale and flatten the coarsest.

    References
    ----------
    Vuylsteke and Schoeters, Multiscale image contrast amplification, SPIE 2167 (1994).
    """
    pyramid = [grey]
    for _ in range(_LEVELS):
        pyramid.append(np.asarray(cv2.pyrDown(pyramid[-1]), np.float32))
    coarse = pyramid[-1]
    image = coarse - np.float32(look.flatness) * (coarse - coarse.mean())
    for fine, below in zip(pyramid[-2::-1], pyramid[:0:-1], strict=True):
        size = (fine.shape[1], fine.shape[0])
        detail = fine - cv2.pyrUp(below, dstsize=size)
        amplitude = np.maximum(np.abs(detail), _DETAIL_FLOOR) / _DETAIL_UNIT
        image = cv2.pyrUp(image, dstsize=size) + detail * amplitude ** np.float32(-look.strength)
    return np.asarray(image, np.float32)


def _curve(grey: FloatImage, look: Look) -> FloatImage:
    """Apply the sigmoid (0 and 1 stay where they are), then the gamma."""
    if look.curve:
        ends = sigmoid(look.curve * (np.array([0, 1], np.float32) - np.float32(look.middle)))
        steep = sigmoid(np.float32(look.curve) * (grey - np.float32(look.middle)))
        grey = np.clip((steep - ends[0]) / (ends[1] - ends[0]), 0, 1)
    return np.asarray(grey ** np.float32(look.gamma), np.float32)

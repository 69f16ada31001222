"""What reaches the detector: primary radiation, scatter, an uneven field, blur and quantum noise.

anatomy -> framing -> [detector] -> display -> marks -> file

Stages follow Bushberg et al., The Essential Physics of Medical Imaging, chapters 5 to 7.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from service.imaging.radiograph import FloatImage
from training.generate.phantom.sampling import blur, chance, resize, uniform

# Scatter varies over centimetres: it is computed on a grid this much coarser.
_SCATTER_GRID = 4
# The readout saturates; below this share of the open beam nothing is told apart.
_DARK_SIGNAL = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Physical settings of one exposure.

    Attributes
    ----------
    scatter
        Scattered photons per primary photon and per unit of line integral. At a mediastinal
        line integral of 4, 0.05 gives a scatter fraction of 0.17 (a good grid), 0.5 one of 0.67
        (a bed film without a grid).
    scatter_spread
        Standard deviation of the scatter kernel as a share of the image's side.
    heel, tilt
        Natural logarithm of the field's intensity, edge to edge: along the tube's axis (anode
        heel, image rows) and across it (grid cut-off, an off-centre tube).
    falloff
        Logarithm by which the corners are darker than the middle (inverse square law).
    sharpness
        Standard deviation in pixels of focal spot, motion and detector together.
    motion
        Standard deviation in pixels of blur along the patient: breathing moves diaphragm and
        front ribs up and down.
    photons
        Decimal logarithm of the quanta per pixel in the open beam.
    grain
        Standard deviation in pixels by which the noise itself is smoothed (light spread).
    """

    scatter: float
    scatter_spread: float
    heel: float
    tilt: float
    falloff: float
    sharpness: float
    motion: float
    photons: float
    grain: float


def draw_exposure(rng: np.random.Generator, view: str, age_band: str) -> Exposure:
    """Draw the settings; AP films are mostly made in bed, without a grid and at a lower dose.

    Toddlers do not hold their breath, well or ill.
    """
    moving = chance(rng, 0.4 if age_band == "child" else 0.15)
    bedside = view == "AP" and chance(rng, 0.7)
    scatter = uniform(rng, 0.3, 0.8) if bedside else uniform(rng, 0.15, 0.6)
    tilted = 0.25 if bedside else 0.1
    return Exposure(
        scatter=scatter,
        scatter_spread=uniform(rng, 0.05, 0.14),
        heel=uniform(rng, -0.3, 0.3),
        tilt=uniform(rng, -tilted, tilted),
        falloff=uniform(rng, 0, 0.12),
        sharpness=uniform(rng, 0.0, 0.55) if chance(rng, 0.8) else uniform(rng, 0.55, 1.3),
        motion=uniform(rng, 0.3, 1.5) if moving else 0.0,
        photons=uniform(rng, 5.4, 6.6) if bedside else uniform(rng, 5.6, 7.0),
        grain=uniform(rng, 0, 0.7),
    )


def expose(rng: np.random.Generator, attenuation: FloatImage, exposure: Exposure) -> FloatImage:
    """Expose the detector and return its logarithmic signal.

    Parameters
    ----------
    rng
        Draws the quantum noise.
    attenuation
        Line integral, float32 of shape (S, S), 0 outside the body.

    Returns
    -------
    FloatImage
        -ln(intensity / open beam), float32 of shape (S, S): dense tissue bright, as displayed.
    """
    primary = np.exp(-np.clip(attenuation, 0, 12))
    beam = (primary + _scatter(primary, attenuation, exposure)) * _field(primary.shape[0], exposure)
    image = _move(blur(np.asarray(beam, np.float32), exposure.sharpness), exposure.motion)
    recorded = _quantum_noise(rng, image, exposure)
    return np.asarray(-np.log(np.maximum(recorded, _DARK_SIGNAL)), np.float32)


def _scatter(primary: FloatImage, attenuation: FloatImage, exposure: Exposure) -> FloatImage:
    """First-order scatter: made where primary quanta interact, spread by two Gaussians."""
    side = primary.shape[0]
    coarse = side // _SCATTER_GRID
    source = resize(primary * attenuation, coarse) * np.float32(exposure.scatter)
    sigma = exposure.scatter_spread * coarse
    spread = 0.6 * blur(source, sigma) + 0.4 * blur(source, 2.5 * sigma)
    return np.asarray(cv2.resize(spread, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)


def _move(beam: FloatImage, motion: float) -> FloatImage:
    if motion < 0.2:
        return beam
    return np.asarray(cv2.GaussianBlur(beam, (1, 0), sigmaX=0.01, sigmaY=motion), np.float32)


def _field(side: int, exposure: Exposure) -> FloatImage:
    """Intensity of the open beam relative to its middle, shape (side, side)."""
    axis = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    rows = np.exp(exposure.heel * axis - 2 * exposure.falloff * axis**2)
    columns = np.exp(exposure.tilt * axis - 2 * exposure.falloff * axis**2)
    return np.asarray(np.outer(rows, columns), np.float32)


def _quantum_noise(rng: np.random.Generator, beam: FloatImage, exposure: Exposure) -> FloatImage:
    """Add Poisson noise in its Gaussian limit (thousands of quanta a pixel and more)."""
    noise = blur(rng.standard_normal(beam.shape, dtype=np.float32), exposure.grain)
    scale = np.float32(10 ** (-exposure.photons / 2))
    return np.asarray(beam + noise * scale * np.sqrt(np.maximum(beam, 0)), np.float32)

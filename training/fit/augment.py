"""Random changes of a training image, before standardisation.

decode -> [augment] -> standardise -> network

Both classes are changed by the same law. Nothing is mirrored: the heart has a side.
"""

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from service.imaging.radiograph import FloatImage, Radiograph
from training.config import AugmentConfig


def augment(
    radiograph: Radiograph,
    mask: FloatImage,
    config: AugmentConfig,
    rng: np.random.Generator,
) -> tuple[Radiograph, FloatImage]:
    """One random variant of a radiograph and its lesion mask.

    Parameters
    ----------
    radiograph
        Pixels of shape (H, W) in [0, 1]; not changed.
    mask
        Shape (h, w), the same field of view at any resolution; not changed.
    """
    turn = _random_affine(config, rng)
    pixels = _warp(radiograph.pixels, turn)
    pixels = _shade(pixels, config, rng)
    pixels = _expose(pixels, config, rng)
    pixels = _cut_out(pixels, config, rng)
    return dataclasses.replace(radiograph, pixels=pixels), _warp(mask, turn)


def _random_affine(config: AugmentConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """A 2 x 3 matrix about the centre, in coordinates of [-1/2, 1/2]."""
    angle = np.deg2rad(rng.uniform(-config.degrees, config.degrees))
    scale = 1 + rng.uniform(-config.scale, config.scale, size=2)
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = np.array([[cosine, -sine], [sine, cosine]]) * scale
    shift = rng.uniform(-config.shift, config.shift, size=(2, 1))
    return np.hstack([rotation, shift])


def _warp(image: FloatImage, turn: NDArray[np.float64]) -> FloatImage:
    height, width = image.shape
    sides = np.array([[width], [height]], dtype=np.float64)
    centre = (sides - 1) / 2
    linear = turn[:, :2] * sides / sides.T
    matrix = np.hstack([linear, centre - linear @ centre + turn[:, 2:] * sides])
    warped = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, dtype=np.float32)


def _shade(pixels: FloatImage, config: AugmentConfig, rng: np.random.Generator) -> FloatImage:
    """Brighten and darken smoothly, so that how bright a region is tells little about it."""
    grid = int(rng.integers(2, 6))
    coarse = rng.standard_normal((grid, grid)).astype(np.float32)
    size = (pixels.shape[1], pixels.shape[0])
    field = np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    return pixels + np.float32(rng.uniform(0, config.shade)) * field


def _expose(pixels: FloatImage, config: AugmentConfig, rng: np.random.Generator) -> FloatImage:
    exponent = np.float32(2 ** rng.uniform(-config.gamma, config.gamma))
    changed: FloatImage = np.clip(pixels, 0, 1) ** exponent
    sigma = rng.uniform(0, config.blur)
    if sigma > 0.2:  # below that the kernel is a single pixel
        changed = np.asarray(cv2.GaussianBlur(changed, (0, 0), sigma), dtype=np.float32)
    grain = rng.standard_normal(pixels.shape, dtype=np.float32)
    return np.clip(changed + grain * np.float32(rng.uniform(0, config.noise)), 0, 1)


def _cut_out(pixels: FloatImage, config: AugmentConfig, rng: np.random.Generator) -> FloatImage:
    if rng.random() >= config.cutout:
        return pixels
    height, width = pixels.shape
    tall, wide = rng.uniform(0.05, 0.25, size=2)
    top = int(rng.uniform(0, 1 - tall) * height)
    left = int(rng.uniform(0, 1 - wide) * width)
    box = np.s_[top : top + max(1, int(tall * height)), left : left + max(1, int(wide * width))]
    cut = pixels.copy()
    cut[box] = cut[box].mean()
    return cut

"""Random draws, noise fields and smooth curves shared by all parts of the phantom."""

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from service.imaging.radiograph import FloatImage

# Generation runs in one process a core; OpenCV's own threads would only fight them.
cv2.setNumThreads(1)

FloatArray = NDArray[np.floating[Any]]  # float32 wherever it is large

_BANK_SEED = 20_240_611
_BANK_SHAPE = (48, 192, 192)  # depth, rows, columns of one noise volume
_BANK_COPIES = 8
_LEAST_STRETCH = 0.5  # a block may be enlarged from half as many rows or columns


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a Python float from [low, high)."""
    return float(rng.uniform(low, high))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a positive float whose logarithm is uniform: every order of size is as likely."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Draw True with the given probability."""
    return bool(rng.random() < probability)


@cache
def _noise_volume(exponent: float, copy: int) -> FloatArray:
    """Return a periodic Gaussian volume of power spectrum f**(-2 exponent), unit variance."""
    rng = np.random.default_rng((_BANK_SEED, round(exponent * 10), copy))
    depth, rows, columns = _BANK_SHAPE
    fz = np.fft.fftfreq(depth)[:, None, None] * 0.5  # a depth sample is about two ray spacings
    fy = np.fft.fftfreq(rows)[None, :, None]
    fx = np.fft.rfftfreq(columns)[None, None, :]
    frequency = np.sqrt(fx * fx + fy * fy + fz * fz)
    frequency[0, 0, 0] = 1.0
    amplitude = np.where(frequency > 2.0 / columns, frequency**-exponent, 0.0)
    spectrum = np.fft.rfftn(rng.standard_normal(_BANK_SHAPE)) * amplitude
    volume = np.fft.irfftn(spectrum, _BANK_SHAPE, axes=(0, 1, 2))
    return np.asarray((volume - volume.mean()) / volume.std(), np.float32)


def noise_volume(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    exponent: float,
    elongation: float = 1.0,
) -> FloatArray:
    """Cut a random block out of the bank of noise volumes.

    No two blocks are alike: each is shifted, mirrored, turned and stretched at random. A network
    that meets the same few blocks learns them by heart and takes their shapes for the lesion.

    Parameters
    ----------
    shape
        Depth, rows, columns; at most 48, 192, 192.
    exponent
        Amplitude falls with frequency to this power: 1.5 is fine mottle, 2.5 broad clouds.
    elongation
        How many times as high as wide its clouds are.

    Returns
    -------
    FloatArray
        float32 of ``shape``, about zero mean and unit variance.
    """
    block = _noise_volume(exponent, int(rng.integers(_BANK_COPIES)))
    depth, rows, columns = shape
    if chance(rng, 0.5):
        block = block.transpose(0, 2, 1)
    taken = (
        depth,
        round(rows * uniform(rng, _LEAST_STRETCH, 1) / elongation),
        round(columns * uniform(rng, _LEAST_STRETCH, 1)),
    )
    for axis, count in enumerate(taken):
        start = int(rng.integers(block.shape[axis]))
        block = block.take(range(start, start + count), axis=axis, mode="wrap")
    block = block[tuple(slice(None, None, -1 if chance(rng, 0.5) else 1) for _ in range(3))]
    planes = np.ascontiguousarray(block.transpose(1, 2, 0))  # OpenCV's channels come last
    stretched = cv2.resize(planes, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return np.asarray(stretched, np.float32).reshape(rows, columns, depth).transpose(2, 0, 1)


def noise_image(
    rng: np.random.Generator, size: int, exponent: float, elongation: float = 1.0
) -> FloatImage:
    """Draw a (size, size) noise image of about zero mean and unit variance."""
    side = min(size, _BANK_SHAPE[1])
    plane = np.ascontiguousarray(noise_volume(rng, (1, side, side), exponent, elongation)[0])
    if side == size:
        return plane
    return resize(plane, size)


def resize(image: FloatImage, size: int) -> FloatImage:
    """Resample a square image; area average downwards, linear upwards."""
    method = cv2.INTER_AREA if size < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=method), np.float32)


def blur(image: FloatArray, sigma: float) -> FloatImage:
    """Gaussian blur with ``sigma`` in pixels; below 0.2 the image is returned as it is."""
    sharp = np.asarray(image, np.float32)
    if sigma < 0.2:
        return sharp
    return np.asarray(cv2.GaussianBlur(sharp, (0, 0), sigma), np.float32)


def ramp(values: FloatArray, width: float | FloatArray) -> FloatArray:
    """Map signed distances to coverage: 0 below -width/2, 1 above +width/2, linear between."""
    return np.asarray(np.clip(values / width + np.float32(0.5), 0.0, 1.0), np.float32)


def sigmoid(values: FloatArray) -> FloatArray:
    """Return the logistic function without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)), np.float32)


def closed_spline(points: FloatArray, steps: int = 10) -> FloatArray:
    """Catmull-Rom curve through a closed polygon; shape (M, D) to (M * steps, D)."""
    p1 = np.asarray(points, np.float32)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    return _catmull_rom(p0, p1, p2, p3, steps)


def open_spline(points: FloatArray, steps: int = 8) -> FloatArray:
    """Catmull-Rom curve through an open polyline; shape (M, D) to ((M - 1) * steps + 1, D)."""
    p = np.asarray(points, np.float32)
    padded = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    curve = _catmull_rom(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], steps)
    return np.concatenate([curve, p[-1:]])


def _catmull_rom(
    p0: FloatArray, p1: FloatArray, p2: FloatArray, p3: FloatArray, steps: int
) -> FloatArray:
    t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[None, :, None]
    p0, p1, p2, p3 = (p[:, None, :] for p in (p0, p1, p2, p3))
    curve = 0.5 * (
        2 * p1
        + (p2 - p0) * t
        + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
        + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    return np.asarray(curve.reshape(-1, curve.shape[-1]), np.float32)

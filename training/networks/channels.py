"""What the network is shown of a radiograph: the same grey values, in several channels.

standardise -> [channels] -> network

They are part of the exported graph. No channel is best for everything: ranks are free of window,
gamma and exposure, but stretch what consolidation has flattened; edges keep how strongly vessels
and ribs show, and know nothing of how dark a lung is.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

CHANNELS = ("grey", "ranks", "edges")
EDGES = 1 / 16  # sigma of what is taken away, as a fraction of the image's side
BINS = 4096  # of grey values
STRONGEST = 3.0  # edge, in standard deviations


def to_channels(
    image: Tensor, channels: Sequence[str], mean: Tensor | float, std: Tensor | float
) -> Tensor:
    """Radiographs (N, 1, S, S) in [0, 1] -> the network's channels (N, C, S, S).

    ``grey`` are the values themselves and ``ranks`` their equalised ones, less ``mean`` and divided
    by ``std``; ``edges`` see :func:`edges`.
    """
    made = {
        "grey": lambda: (image - mean) / std,
        "ranks": lambda: (equalise(image) - mean) / std,
        "edges": lambda: edges(image),
    }
    return torch.cat([made[channel]() for channel in channels], dim=1)


def edges(image: Tensor) -> Tensor:
    """High-pass of (N, 1, S, S) images, each divided by its own standard deviation."""
    high = image - smooth(image, EDGES * image.shape[-1])
    spread = high.square().mean(dim=(1, 2, 3), keepdim=True).sqrt() + 1e-3
    return (high / spread).clamp(-STRONGEST, STRONGEST)


def resize(image: Tensor, size: int) -> Tensor:
    """(N, 1, S, S) images -> (N, 1, size, size), as Pillow's bilinear resampling does it."""
    if image.shape[-1] == size:
        return image
    change = torch.tensor(resampling(image.shape[-1], size), dtype=image.dtype)
    change = change.to(image.device)
    return change @ image @ change.T


@cache
def resampling(side: int, size: int, share: float = 1.0) -> list[list[float]]:
    """The matrix (size, side) of a triangle filter as wide as a pixel of the coarser grid.

    Its result is the middle ``share`` of the side.
    """
    step = share * side / size
    scale = max(1.0, step)
    centres = side / 2 + (np.arange(size)[:, None] + 0.5 - size / 2) * step
    weights = np.maximum(0, 1 - np.abs(np.arange(side) + 0.5 - centres) / scale)
    rows: list[list[float]] = (weights / weights.sum(axis=1, keepdims=True)).tolist()
    return rows


def smooth(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (N, 1, S, S) images; sigma in pixels, edges repeated."""
    blur = torch.tensor(_blurring(image.shape[-1], sigma), dtype=image.dtype, device=image.device)
    return blur @ image @ blur.T


@cache
def _blurring(side: int, sigma: float) -> list[list[float]]:
    """The matrix (side, side) that blurs a column: unlike a convolution it is never quantised."""
    reach = max(1, round(3 * sigma))
    blurring: list[list[float]] = gaussian_filter1d(
        np.eye(side), sigma, axis=0, mode="nearest", radius=reach
    ).tolist()
    return blurring


def equalise(image: Tensor) -> Tensor:
    """Ranks of (N, 1, S, S) images, each for itself: the fraction of darker pixels, in [0, 1].

    As :func:`service.imaging.standardise.equalise`, except that values in one of 4,096 bins between
    the darkest and the brightest pixel count as equal: counting costs a quarter of sorting.
    """
    flat = image.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    bins = ((flat - low) / (high - low).clamp_min(1e-6) * (BINS - 1)).long()
    counts = count(bins, torch.ones_like(flat))
    darker = (counts.cumsum(1) - counts / 2) / flat.shape[1]
    return darker.gather(1, bins).reshape(image.shape)


def count(bins: Tensor, weights: Tensor) -> Tensor:
    """Histogram (N, 4096) of bin numbers (N, pixels), each pixel counted ``weights`` times."""
    empty = weights.new_zeros(bins.shape[0], BINS)  # len() would fix the graph's batch
    return empty.scatter_add(1, bins, weights)

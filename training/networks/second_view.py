"""A second look at a radiograph: nearer, and with left and right exchanged.

A network's logit moves by chance with the frame of a film; the mean of two looks moves less, and
costs as much as two networks with the weights of one (docs/experiments.md, 2026-11-28).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.networks.channels import resampling


def second_view(image: Tensor, share: float) -> Tensor:
    """The middle ``share`` of each side of (N, 1, S, S) images, mirrored, in as many pixels."""
    side = image.shape[-1]
    nearer = torch.tensor(resampling(side, side, share), dtype=image.dtype, device=image.device)
    return nearer @ image @ nearer.flip(0).T


def placing(cells: int, share: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two matrices (cells, cells) that put a second view's heatmap where the first one has it.

    ``down @ heatmap @ across`` shares out what each of its cells says among those that it covers;
    the sum stays.
    """
    edges = np.linspace(0, 1, cells + 1)
    nearer = 0.5 + (edges - 0.5) * share
    low = np.maximum(edges[:-1, None], nearer[None, :-1])
    high = np.minimum(edges[1:, None], nearer[None, 1:])
    down = np.maximum(0, high - low) * cells / share
    across = np.ascontiguousarray(down[:, ::-1].T)
    return down.astype(np.float32), across.astype(np.float32)

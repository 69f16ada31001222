"""Places in the lungs of one CT, in the terms in which lesions are described.

files -> scan -> volume -> [lungs -> lesion] -> projection -> film

Everything here is a vector over the voxels of both lungs on the coarse grid, a hundred thousand
or two: patterns cost next to nothing.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.generate.ct.segment import LEFT, RIGHT
from training.generate.ct.volume import COARSE, SPACING, Volume

_HILUM_HEIGHT = (0.42, 0.6)  # share of a lung's height
_HILUM_DEPTH = 0.5  # share of the lungs' depth around the middle


@dataclass(frozen=True, slots=True, kw_only=True)
class Lungs:
    """Coordinates of the voxels of both lungs, each of shape (N,) unless noted.

    Attributes
    ----------
    index
        Flat index in the coarse grid.
    shape
        Of the coarse grid.
    left
        Whether the voxel lies in the left lung.
    place
        mm from the middle of the grid, shape (N, 3): x to the left, y to the back, z to the head.
    height
        0 at a lung's base, 1 at its apex.
    back
        -1 in front, 1 at the back.
    pleura
        mm to the lung's outline.
    hilum
        mm from the lung's own hilum, shape (N, 3).
    """

    index: Tensor
    shape: tuple[int, int, int]
    left: Tensor
    place: Tensor
    height: Tensor
    back: Tensor
    pleura: Tensor
    hilum: Tensor

    def on_side(self, side: str) -> Tensor:
        """Voxels of the ``"right"``, ``"left"`` or ``"both"`` lungs, bool of shape (N,)."""
        if side == "both":
            return torch.ones_like(self.left)
        return self.left if side == "left" else ~self.left

    def spread(self, values: Tensor) -> Tensor:
        """Lay values out on the coarse grid, shape (Z, Y, X), and carry them one voxel beyond.

        What lies beyond is dense already, and a lesion must reach it without a gap.
        """
        grid = torch.zeros(self.shape, device=values.device).flatten()
        grid[self.index] = values
        grid = grid.view(self.shape)
        inside = torch.zeros_like(grid, dtype=torch.bool).flatten()
        inside[self.index] = True
        beyond = functional.max_pool3d(grid[None], 3, 1, 1)[0]
        return torch.where(inside.view(self.shape), grid, beyond)

    def noise(self, rng: np.random.Generator, cell: float, places: Tensor | None = None) -> Tensor:
        """Smooth noise of about unit variance at each voxel.

        Parameters
        ----------
        cell
            Distance of independent values, in mm or in the units of ``places``.
        places
            Of shape (N, 3), where to take the noise; the voxels' own places by default.
        """
        where = self.place if places is None else places
        low, high = where.amin(dim=0), where.amax(dim=0)
        cells = [int(min(max(4, float(n) + 1), 96)) for n in ((high - low) / cell).flip(0)]
        values = torch.from_numpy(rng.standard_normal(cells, dtype=np.float32)).to(where.device)
        grid = (where - low) / (high - low).clamp(min=1e-3) * 2 - 1
        taken = functional.grid_sample(
            values[None, None], grid[None, None, None], mode="bilinear", align_corners=True
        )
        return taken.flatten() * 1.6  # interpolation takes away about this much of the deviation


def find_lungs(volume: Volume) -> Lungs:
    """Measure the lungs of a prepared volume."""
    sides = volume.sides
    where = torch.nonzero(sides)
    side = sides[where[:, 0], where[:, 1], where[:, 2]]
    middle = (torch.tensor(sides.shape, device=sides.device) - 1) / 2
    place = ((where - middle) * (SPACING * COARSE)).flip(1).float()
    height, back, hilum = (torch.zeros(len(where), device=sides.device) for _ in range(3))
    hilum = torch.zeros_like(place)
    for name in (RIGHT, LEFT):
        own = side == name
        height[own] = _between(place[own, 2], 0, 1)
        back[own] = _between(place[own, 1], -1, 1)
        hilum[own] = place[own] - _find_hilum(place[own], height[own], back[own], name)
    strides = torch.tensor([sides.shape[1] * sides.shape[2], sides.shape[2], 1])
    return Lungs(
        index=(where * strides.to(where.device)).sum(dim=1),
        shape=(sides.shape[0], sides.shape[1], sides.shape[2]),
        left=side == LEFT,
        place=place,
        height=height,
        back=back,
        pleura=volume.pleura[where[:, 0], where[:, 1], where[:, 2]],
        hilum=hilum,
    )


def _between(values: Tensor, start: float, stop: float) -> Tensor:
    low, high = values.min(), values.max()
    return start + (values - low) / (high - low) * (stop - start)


def _find_hilum(place: Tensor, height: Tensor, back: Tensor, side: int) -> Tensor:
    """Middle of the medial surface at the height of the hila."""
    near = (height > _HILUM_HEIGHT[0]) & (height < _HILUM_HEIGHT[1]) & (back.abs() < _HILUM_DEPTH)
    part = place[near]
    outward = part[:, 0] if side == LEFT else -part[:, 0]
    medial = torch.topk(outward, max(1, len(part) // 20), largest=False).indices
    return part[medial].mean(dim=0)

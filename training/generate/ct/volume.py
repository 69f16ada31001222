"""A chest CT made ready for projection: isotropic, without table and clothes, lungs marked.

files -> scan -> [volume] -> patient -> projection -> film
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from training.generate.ct.segment import LEFT, RIGHT, find_body, find_contrast, find_lungs
from training.generate.ct.series import Provenance, Scan

SPACING = 1.6  # mm; films of 224 pixels show a chest at about 1.5 mm a pixel
COARSE = 2  # lesions are laid out on a grid this much coarser
_AIR = -1000
_PLAIN_BLOOD = 45
_SHARPENING = 0.6
_MARGIN = 4  # voxels of air kept around the body


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One prepared CT; axes are slices from the feet up, front to back, right to left.

    Attributes
    ----------
    hounsfield
        float32 of shape (Z, Y, X), voxels of ``SPACING``.
    sides
        uint8 of shape (Z, Y, X) / ``COARSE``: 0, 1 in the right lung, 2 in the left.
    pleura
        float32 of the shape of ``sides``: mm to the outline of the lung, 0 outside.
    provenance
        Where it comes from.
    """

    hounsfield: Tensor
    sides: Tensor
    pleura: Tensor
    provenance: Provenance

    def to(self, device: str) -> "Volume":
        """Return the volume on another device."""
        return replace(
            self,
            hounsfield=self.hounsfield.to(device),
            sides=self.sides.to(device),
            pleura=self.pleura.to(device),
        )


def prepare(scan: Scan) -> Volume:
    """Resample, take away what is not patient, and mark the lungs.

    Raises
    ------
    UnusableSeries
        If no two lungs are found.
    """
    hounsfield = resample(scan.hounsfield, scan.spacing)
    body = find_body(hounsfield)
    _, lungs = find_lungs(hounsfield, body, SPACING)
    cleaned = np.where(body, hounsfield, _AIR)
    cleaned[find_contrast(cleaned, lungs, SPACING)] = _PLAIN_BLOOD
    kept = [np.flatnonzero(body.any(axis=axes)) for axes in ((0, 2), (0, 1))]
    rows, columns = (slice(max(0, k[0] - _MARGIN), k[-1] + _MARGIN + 1) for k in kept)
    cleaned, lungs = cleaned[:, rows, columns], lungs[:, rows, columns]
    cleaned, lungs = (part[_even(part.shape)] for part in (cleaned, lungs))
    # Sampling beyond the border repeats it: there must be air in front, behind and beside.
    cleaned[:, [0, -1]] = _AIR
    cleaned[:, :, [0, -1]] = _AIR
    smooth = np.round(_refocus(cleaned.astype(np.float32)))
    return _assemble(smooth.astype(np.int16), _coarse_sides(lungs), scan.provenance)


def _assemble(
    hounsfield: NDArray[np.int16], sides: NDArray[np.uint8], provenance: Provenance
) -> Volume:
    pleura = ndimage.distance_transform_edt(sides > 0, sampling=SPACING * COARSE)
    return Volume(
        hounsfield=torch.from_numpy(hounsfield.astype(np.float32)),
        sides=torch.from_numpy(sides),
        pleura=torch.from_numpy(pleura.astype(np.float32)),
        provenance=provenance,
    )


def _even(shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(0, COARSE * (n // COARSE)) for n in shape)


def _refocus(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sharpen across the beam what thick slices have blurred, and smooth along it.

    Smoothing along the beam costs no sharpness of the film, and fewer samples are enough.
    """
    blurred = ndimage.gaussian_filter(values, (1.1, 0, 1.0), truncate=2.5)
    sharp = np.maximum(values + _SHARPENING * (values - blurred), _AIR)
    return np.asarray(ndimage.convolve1d(sharp, (0.25, 0.5, 0.25), axis=1), np.float32)


def resample(values: NDArray[np.int16], spacing: tuple[float, float, float]) -> NDArray[np.int16]:
    """Bring a scan to cubes of ``SPACING``: averages where it is finer, linear where coarser."""
    sizes = [max(2, round(n * s / SPACING)) for n, s in zip(values.shape, spacing, strict=True)]
    fine = torch.from_numpy(values.astype(np.float32))[None, None]
    fewer = [min(new, old) for new, old in zip(sizes, values.shape, strict=True)]
    averaged = functional.interpolate(fine, size=fewer, mode="area")
    cubes = functional.interpolate(averaged, size=sizes, mode="trilinear", align_corners=False)
    return np.asarray(cubes[0, 0].round().numpy(), np.int16)


def _coarse_sides(lungs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    sides = torch.from_numpy(np.stack([lungs == RIGHT, lungs == LEFT]).astype(np.float32))
    share = functional.avg_pool3d(sides[None], COARSE)[0]
    part, side = share.max(dim=0)
    return np.asarray(torch.where(part >= 0.5, side + 1, 0).numpy(), np.uint8)


def save(volume: Volume, path: Path) -> None:
    """Keep a prepared volume for other processes and runs."""
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as file:
        np.savez(
            file,
            hounsfield=volume.hounsfield.numpy().astype(np.int16),
            sides=volume.sides.numpy(),
        )
    unfinished.replace(path)


def load(path: Path, provenance: Provenance) -> Volume:
    """Load what :func:`save` kept."""
    with np.load(path) as arrays:
        return _assemble(arrays["hounsfield"], arrays["sides"], provenance)

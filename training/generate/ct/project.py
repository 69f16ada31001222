"""Sum a CT along a cone beam: attenuation without and with a lesion, and the lungs' shadow.

files -> scan -> volume -> patient -> [projection] -> film
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.generate.ct.chest import Chest
from training.generate.ct.findings import TISSUE
from training.generate.ct.geometry import Field, sampling_grid
from training.generate.ct.patient import Patient

_WATER = 0.02 / 1000  # attenuation per mm and Hounsfield unit at about 65 keV
_BONE = 130.0  # Hounsfield units above which attenuation is taken for bone's


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadows:
    """Maps of one exposure, float32 of shape (rows, columns).

    Attributes
    ----------
    healthy, ill
        Line integrals of attenuation without and with the lesion.
    air
        Line integral that the lungs' air takes away where there is no lesion.
    """

    healthy: Tensor
    ill: Tensor
    air: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What replaces air, on the coarse grid, float32 of shape (Z, Y, X).

    Attributes
    ----------
    shared, lesion
        Share of the air replaced in both halves, and by the lesion.
    tissue
        Hounsfield units of what the lesion puts there.
    """

    shared: Tensor
    lesion: Tensor
    tissue: float


def project(
    chest: Chest, content: Content, patient: Patient, field: Field, shape: tuple[int, int, int]
) -> Shadows:
    """Project both halves in one pass.

    Parameters
    ----------
    shape
        Depths, rows and columns of the samples.
    """
    grid = sampling_grid(chest.volume, chest.marks, patient, field, shape)
    tissue = _sample(chest.volume.hounsfield[None], grid)[0]
    shared, lesion = _sample(torch.stack([content.shared, content.lesion]), grid)
    healthy = torch.lerp(tissue, tissue.clamp(min=TISSUE), shared)
    ill = torch.lerp(healthy, healthy.clamp(min=content.tissue), lesion)
    step = _steps(field, patient, shape).to(tissue.device)
    return Shadows(
        healthy=_attenuation(healthy, patient.bone).sum(dim=0) * step,
        ill=_attenuation(ill, patient.bone).sum(dim=0) * step,
        air=_air(chest, patient, field, shape),
    )


def _air(chest: Chest, patient: Patient, field: Field, shape: tuple[int, int, int]) -> Tensor:
    """Shadow of the lungs as the CT has them, on a third of the rows and columns."""
    depths, rows, columns = shape
    coarse = (max(8, depths // 3), max(8, rows // 3), max(8, columns // 3))
    grid = sampling_grid(chest.volume, chest.marks, patient, field, coarse)
    (lacking,) = _sample(chest.air[None], grid)
    step = _steps(field, patient, coarse).to(lacking.device)
    air = (lacking.sum(dim=0) * (_WATER * step))[None, None]
    size = (rows, columns)
    return functional.interpolate(air, size=size, mode="bilinear", align_corners=True)[0, 0]


def _sample(channels: Tensor, grid: Tensor) -> Tensor:
    return functional.grid_sample(
        channels[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )[0]


def _attenuation(hounsfield: Tensor, bone: float) -> Tensor:
    """Per mm; a diagnostic beam is softer than a CT's, and bone attenuates it more."""
    mineral = torch.relu(hounsfield - _BONE).mul_(bone - 1)
    return mineral.add_(hounsfield).add_(1000).clamp_(min=0).mul_(_WATER)


def _steps(field: Field, patient: Patient, shape: tuple[int, int, int]) -> Tensor:
    """Millimetres of beam from sample to sample, shape (rows, columns)."""
    depths, rows, columns = shape
    x, z = field.axes(rows, columns)
    oblique = torch.sqrt(1 + (x**2 + z**2) / patient.source_distance**2)
    return oblique * (2 * field.depth / (depths - 1))

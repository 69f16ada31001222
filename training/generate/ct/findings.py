"""Abnormal without pneumonia: in both halves of a pair, so that a shadow alone is no label.

files -> scan -> volume -> [lungs -> findings] -> projection -> film
"""

import numpy as np
import torch
from torch import Tensor

from training.generate.ct.lesion import pleural_fluid
from training.generate.ct.lungs import Lungs
from training.generate.ct.patient import Patient
from training.generate.phantom.sampling import chance, uniform

TISSUE = 20.0  # Hounsfield units of what replaces the air


def draw_findings(
    rng: np.random.Generator, lungs: Lungs, patient: Patient
) -> tuple[Tensor, tuple[str, ...]]:
    """Share of the air replaced in both halves, shape (N,), and the names of what was drawn."""
    filled = patient.lung_haze * (1 + 0.3 * lungs.noise(rng, 70)).clamp(0.2, 2)
    adult = not patient.child
    names: list[str] = []
    for name, draw, often in (
        ("effusion", _effusion, 0.09 if adult else 0.03),
        ("atelectasis", _bands, 0.14 if adult else 0.06),
        ("nodule", _nodules, 0.1 if adult else 0.02),
        ("reticulation", _reticulation, 0.1 if adult else 0.03),
        ("apical cap", _apical_cap, 0.12 if adult else 0.0),
    ):
        if chance(rng, often):
            names.append(name)
            filled = torch.maximum(filled, draw(rng, lungs))
    return filled, tuple(names)


def _effusion(rng: np.random.Generator, lungs: Lungs) -> Tensor:
    side = str(rng.choice(["right", "left", "both"], p=[0.35, 0.35, 0.3]))
    return pleural_fluid(rng, lungs, side, 0.3 * float(rng.beta(1.1, 4)))


def _bands(rng: np.random.Generator, lungs: Lungs) -> Tensor:
    """Plate atelectases: thin, nearly level plates above a diaphragm."""
    filled = torch.zeros_like(lungs.height)
    for _ in range(int(rng.integers(1, 4))):
        centre = lungs.place[_voxel(rng, lungs, (lungs.height > 0.05) & (lungs.height < 0.4))]
        away = lungs.place - centre
        tilt = rng.normal(0, 0.25, 2)
        height = away[:, 2] - float(tilt[0]) * away[:, 0] - float(tilt[1]) * away[:, 1]
        along = away[:, :2].norm(dim=1) / uniform(rng, 18, 45)
        plate = torch.exp(-((height / uniform(rng, 2, 4.5)) ** 2)) * torch.exp(-(along**4))
        filled = torch.maximum(filled, plate)
    return filled


def _nodules(rng: np.random.Generator, lungs: Lungs) -> Tensor:
    filled = torch.zeros_like(lungs.height)
    for _ in range(1 if chance(rng, 0.6) else int(rng.integers(2, 6))):
        centre = lungs.place[_voxel(rng, lungs, lungs.pleura > 4)]
        distance = (lungs.place - centre).norm(dim=1)
        filled = torch.maximum(filled, torch.sigmoid((uniform(rng, 5, 17) - distance) / 1.2))
    return filled


def _reticulation(rng: np.random.Generator, lungs: Lungs) -> Tensor:
    """Old scars or interstitial disease: a net, mostly low and under the pleura."""
    net = torch.exp(-((lungs.noise(rng, uniform(rng, 7, 10)) / 0.4) ** 2))
    low = (uniform(rng, 0.4, 1.0) - lungs.height).clamp(0, 1)
    rim = torch.exp(-lungs.pleura / uniform(rng, 10, 40))
    return net * (low * rim * uniform(rng, 0.4, 1.6)).clamp(0, 0.6)


def _apical_cap(rng: np.random.Generator, lungs: Lungs) -> Tensor:
    thick = uniform(rng, 2, 7)
    return torch.sigmoid((thick - lungs.pleura) / 1.5) * (lungs.height > 0.86)


def _voxel(rng: np.random.Generator, lungs: Lungs, allowed: Tensor) -> int:
    found = torch.nonzero(allowed)[:, 0]
    return int(found[int(rng.integers(len(found)))]) if len(found) else len(lungs.index) // 2

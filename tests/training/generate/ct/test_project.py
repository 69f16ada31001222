"""The cone beam: a bead lies on the film where geometry says, attenuation is that of the path."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.generate.ct.scans import patient
from training.generate.ct.chest import Chest
from training.generate.ct.geometry import Field
from training.generate.ct.project import Content, project
from training.generate.ct.volume import SPACING

SHAPE = (120, 101, 101)
FIELD = Field(column=0.0, row=0.0, width=200.0, height=200.0, degrees=0.0, depth=80.0)


def nothing(chest: Chest) -> Content:
    empty = torch.zeros_like(chest.air)
    return Content(shared=empty, lesion=empty, tissue=0.0)


def with_bead(chest: Chest, place: tuple[float, float, float]) -> Chest:
    """Empty the volume but for a bead at a place in mm from the middle of the lungs."""
    values = torch.full_like(chest.volume.hounsfield, -1000)
    x, y, z = (
        round((p + c) / SPACING + (n - 1) / 2)
        for p, c, n in zip(place, chest.marks.centre, values.shape[::-1], strict=True)
    )
    values[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = 3000
    return replace(chest, volume=replace(chest.volume, hounsfield=values))


def centre(shadow: Tensor) -> tuple[float, float]:
    """Centre of mass: column and row in mm from the middle of the field."""
    rows, columns = shadow.shape
    weight = shadow / shadow.sum()
    u = float((weight.sum(dim=0) * torch.linspace(-0.5, 0.5, columns)).sum()) * FIELD.width
    v = float((weight.sum(dim=1) * torch.linspace(-0.5, 0.5, rows)).sum()) * FIELD.height
    return u, v


@pytest.mark.parametrize("view", ["PA", "AP"])
@pytest.mark.parametrize("place", [(40.0, 30.0, 35.0), (-35.0, -32.0, -40.0)])
def test_a_bead_is_magnified_as_its_distance_says(
    chest: Chest, view: str, place: tuple[float, float, float]
) -> None:
    person = patient(view=view, source_distance=500.0)
    shadow = project(with_bead(chest, place), nothing(chest), person, FIELD, SHAPE).healthy
    x, y, z = place
    towards_tube = y if view == "PA" else -y
    larger = 500.0 / (500.0 - towards_tube)
    assert centre(shadow) == pytest.approx((x * larger, -z * larger), abs=1.2)


def test_the_field_is_moved_and_turned(chest: Chest) -> None:
    bead = with_bead(chest, (30.0, 0.0, 20.0))
    moved = replace(FIELD, column=10.0, row=-5.0)
    far = patient(source_distance=1e5)
    assert centre(project(bead, nothing(chest), far, moved, SHAPE).healthy) == pytest.approx(
        (20.0, -15.0), abs=1.2
    )
    turned = replace(FIELD, degrees=90.0)
    column, row = centre(project(bead, nothing(chest), far, turned, SHAPE).healthy)
    assert (column, row) == pytest.approx((-20.0, -30.0), abs=1.2)


def test_attenuation_is_that_of_the_water_on_the_path(chest: Chest) -> None:
    water = torch.full_like(chest.volume.hounsfield, -1000)
    water[:, 20:60] = 0
    slab = replace(chest, volume=replace(chest.volume, hounsfield=water))
    shadow = project(slab, nothing(chest), patient(), FIELD, SHAPE).healthy
    assert float(shadow[50, 50]) == pytest.approx(40 * SPACING * 0.02, rel=0.03)


def test_only_the_lesions_shadow_differs_and_it_is_denser(chest: Chest) -> None:
    lungs = chest.lungs
    filled = torch.sigmoid((20 - (lungs.place - lungs.place[1000]).norm(dim=1)) / 0.5)
    filled[filled < 0.01] = 0
    content = replace(nothing(chest), lesion=lungs.spread(filled), tissue=30.0)
    shadows = project(chest, content, patient(), FIELD, SHAPE)
    added = shadows.ill - shadows.healthy
    assert float(added.min()) > -1e-4
    assert float(added.max()) > 0.2
    assert 0.01 < float((added > 1e-4).float().mean()) < 0.2


def test_the_heart_lies_at_the_right_of_the_film(chest: Chest) -> None:
    shadow = project(chest, nothing(chest), patient(), FIELD, SHAPE).healthy.numpy()
    low = shadow[57:64]
    columns = np.arange(101) - 50
    assert low[:, columns == 16].mean() > low[:, columns == -16].mean() + 0.3

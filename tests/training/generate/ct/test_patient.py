"""Who is filmed: children and adults, and what lies beside the CT."""

from dataclasses import replace

import numpy as np
import torch

from tests.training.generate.ct.scans import patient
from training.generate.ct.chest import Chest
from training.generate.ct.geometry import Field
from training.generate.ct.patient import Patient, draw_patient
from training.generate.ct.project import Content, Shadows, project
from training.generate.ct.surroundings import Bubble, Limb, Surroundings, surround

FIELD = Field(column=0.0, row=0.0, width=260.0, height=260.0, degrees=0.0, depth=80.0)
SHAPE = (60, 129, 129)


def film(chest: Chest, person: Patient) -> Shadows:
    empty = torch.zeros_like(chest.air)
    return project(chest, Content(shared=empty, lesion=empty, tissue=0.0), person, FIELD, SHAPE)


def lung_box(shadows: Shadows) -> tuple[float, float]:
    """Width and height of the lungs' shadow in mm."""
    field = shadows.air > 0.3 * shadows.air.max()
    size = FIELD.width / (SHAPE[1] - 1)
    return float(field.any(dim=0).sum()) * size, float(field.any(dim=1).sum()) * size


class TestDraw:
    def test_half_are_children_who_are_smaller_lower_and_rounder(self) -> None:
        drawn = [draw_patient(np.random.default_rng(seed)) for seed in range(300)]
        children = [person for person in drawn if person.child]
        adults = [person for person in drawn if not person.child]
        assert 110 < len(children) < 190
        assert all(1 <= person.age <= 12 for person in children)
        assert {person.view for person in children} == {"AP"}
        views = [person.view for person in adults]
        assert 0.3 < views.count("PA") / len(views) < 0.7
        across, deep, high = (
            [np.median([person.scale[axis] for person in people]) for people in (children, adults)]
            for axis in range(3)
        )
        assert across[0] < 0.8 * across[1]
        assert deep[0] / across[0] > 1.04 * deep[1] / across[1]
        assert high[0] / across[0] < 0.95 * high[1] / across[1]


class TestShape:
    def test_scale_makes_the_lungs_smaller(self, chest: Chest) -> None:
        wide, high = lung_box(film(chest, patient()))
        narrow, low = lung_box(film(chest, patient(scale=(0.6, 0.6, 0.5))))
        assert 0.53 < narrow / wide < 0.67
        assert 0.42 < low / high < 0.58

    def test_expiration_lifts_the_diaphragm(self, chest: Chest) -> None:
        _, high = lung_box(film(chest, patient()))
        _, low = lung_box(film(chest, patient(expiration=0.2)))
        assert 0.7 < low / high < 0.93

    def test_a_larger_heart_is_wider_on_the_film(self, chest: Chest) -> None:
        widths = []
        for heart in (0.0, 0.3):
            air = film(chest, patient(heart=heart)).air
            beside = (air[76] > 0.3 * air.max()).nonzero()[:, 0]
            between = beside.diff()
            widths.append(int(between.max()))
        assert widths[1] > 1.05 * widths[0]

    def test_girth_adds_tissue_outside_the_ribs(self, chest: Chest) -> None:
        thin, thick = (film(chest, patient(girth=girth)).healthy > 0.1 for girth in (0.6, 1.8))
        assert float(thick.sum()) > 1.08 * float(thin.sum())

    def test_bone_stands_out_by_its_factor(self, chest: Chest) -> None:
        spine = [film(chest, patient(bone=bone)).healthy[64, 64] for bone in (1.0, 3.0)]
        assert float(spine[1] - spine[0]) > 0.1


class TestSurroundings:
    def test_arms_add_and_gas_takes_away(self) -> None:
        field = replace(FIELD)
        tissue = torch.full((65, 65), 2.0)
        arm = Limb(start=(100.0, 60.0), end=(110.0, -60.0), radius=18.0, bone=5.0)
        gas = Bubble(place=(-40.0, -50.0), axes=(20.0, 15.0), thick=30.0)
        around = surround(tissue, Surroundings(limbs=(arm,), bubbles=(gas,)), field)
        x, z = field.axes(65, 65)
        inside = ((x + 40) / 20) ** 2 + ((z + 50) / 15) ** 2 < 0.5
        assert float(around[inside].max()) < 1.8
        assert float(around[:, 57].max()) > 2.5
        untouched = (x.abs() < 60) & (z > 0)
        assert torch.equal(around[untouched], tissue[untouched])

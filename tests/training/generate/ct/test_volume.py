"""Preparation of a CT: isotropic, cleaned, lungs apart."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.generate.ct.scans import PROVENANCE, SHAPE, SPACING, ball, hounsfield, scan
from training.generate.ct.chest import Chest
from training.generate.ct.series import UnusableSeries
from training.generate.ct.volume import COARSE, Volume, load, prepare, save
from training.generate.ct.volume import SPACING as CUBE


def test_voxels_are_cubes_and_keep_the_size_of_the_chest(volume: Volume) -> None:
    assert volume.hounsfield.shape[0] * CUBE == pytest.approx(SHAPE[0] * SPACING[0], abs=2 * CUBE)
    width = float((volume.hounsfield > -300).any(dim=0).any(dim=0).sum()) * CUBE
    assert width == pytest.approx(190, abs=8)


def test_the_table_is_taken_away(volume: Volume) -> None:
    behind = 65 + 5  # mm from the chest's middle: only the table lay there
    rows = volume.hounsfield.shape[1]
    depth = float((volume.hounsfield > -300).any(dim=0).any(dim=1).sum()) * CUBE
    assert depth < 2 * behind
    assert rows * CUBE < 2 * behind + 12 * CUBE


def test_each_lung_has_its_side_and_its_vessels(volume: Volume) -> None:
    voxel = (CUBE * COARSE) ** 3 / 1000  # millilitres
    for side, radii in ((1, (32, 45, 70)), (2, (30, 45, 65))):
        own = torch.nonzero(volume.sides == side)
        wanted = 4 / 3 * np.pi * np.prod(radii) / 1000
        assert len(own) * voxel == pytest.approx(wanted, rel=0.12)
        middle = (volume.sides.shape[2] - 1) / 2
        assert (float(own[:, 2].float().mean()) > middle) == (side == 2)


def test_the_trachea_is_no_lung(volume: Volume) -> None:
    middle = volume.sides.shape[2] // 2
    assert not (volume.sides[:, :, middle - 1 : middle + 2] > 0).any()


def test_contrast_medium_is_taken_out_of_the_heart(volume: Volume) -> None:
    values = hounsfield()
    values[values == 40] = 260
    cleaned = prepare(scan(values)).hounsfield
    size = np.array(volume.hounsfield.shape[::-1])
    x, y, z = np.round(np.array([15, -15, -20]) / CUBE + (size - 1) / 2).astype(int)
    assert float(cleaned[z - 3 : z + 4, y - 3 : y + 4, x - 3 : x + 4].max()) < 60
    assert float(cleaned.max()) > 350  # the spine stays


def test_a_scan_without_lungs_is_refused() -> None:
    values = hounsfield()
    values[values < -800] = 30
    values[:, 60:] = -1000
    with pytest.raises(UnusableSeries, match=r"unusable_series: .*lungs"):
        prepare(scan(values))


def test_gas_in_the_bowel_is_no_pair_of_lungs() -> None:
    values = hounsfield()
    values[values < -800] = 30
    values[:, 60:] = -1000
    for side in (-1, 1):
        values[ball((40 * side, 0, 0), (20, 20, 30))] = -900
    with pytest.raises(UnusableSeries, match=r"unusable_series: no two lungs"):
        prepare(scan(values))


def test_a_kept_volume_is_the_same(volume: Volume, tmp_path: Path) -> None:
    save(volume, tmp_path / "v.npz")
    again = load(tmp_path / "v.npz", PROVENANCE)
    for name in ("hounsfield", "sides", "pleura"):
        assert torch.equal(getattr(again, name), getattr(volume, name))


def test_lungs_are_described_in_their_own_terms(chest: Chest) -> None:
    lungs = chest.lungs
    assert float(lungs.height.min()) == 0
    assert float(lungs.height.max()) == 1
    low = lungs.place[lungs.height < 0.1, 2].mean()
    high = lungs.place[lungs.height > 0.9, 2].mean()
    assert high > low + 80
    assert lungs.place[lungs.left, 0].mean() > 20 > -20 > lungs.place[~lungs.left, 0].mean()
    # The hilum is medial: seen from there nearly all of a lung lies outwards.
    assert (lungs.hilum[lungs.left, 0] > -3).float().mean() > 0.9
    assert (lungs.hilum[~lungs.left, 0] < 3).float().mean() > 0.9

"""`cxr-train generate --generator ct`: data set, provenance, resume, refusals."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
from click.testing import CliRunner, Result

from tests.training.generate.ct.scans import SERIES, write_series
from training.cli.main import cli
from training.generate.manifest import COLUMNS


def run(folder: Path, volumes: Path, *more: str) -> Result:
    options = ["--generator", "ct", "--size", "64", "--workers", "1", "--seed", "5"]
    return CliRunner().invoke(
        cli, ["generate", str(folder), "--volumes", str(volumes), *options, *more]
    )


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series(tmp_path_factory.mktemp("volumes") / "chest-1").parent


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, volumes: Path) -> Path:
    folder = tmp_path_factory.mktemp("made") / "ct"
    done = run(folder, volumes, "--pairs", "2")
    assert done.exit_code == 0, done.output
    return folder


def test_the_data_set_is_laid_out_as_the_phantoms(dataset: Path) -> None:
    table = pd.read_parquet(dataset / "manifest.parquet")
    assert tuple(table.columns[: len(COLUMNS)]) == COLUMNS
    assert list(table.label) == [0, 1, 0, 1]
    assert set(table.generator) == {"ct"}
    assert set(table.volume) == {"chest-1"}
    assert set(table.age_band) <= {"child", "adult"}
    for row in table.itertuples():
        image = cv2.imread(str(dataset / row.path), cv2.IMREAD_UNCHANGED)
        assert image is not None
        assert image.shape == (64, 64)
        if row.label:
            mask = cv2.imread(str(dataset / row.mask), cv2.IMREAD_UNCHANGED)
            assert mask is not None
            assert mask.any()
        else:
            assert row.mask == ""


def test_generation_names_the_volumes(dataset: Path) -> None:
    (volume,) = json.loads((dataset / "generation.json").read_text())["volumes"]
    assert volume["name"] == "chest-1"
    assert (volume["collection"], volume["licence"]) == ("computed", "CC0")
    assert volume["series"] == SERIES
    assert len(volume["sha256"]) == 64


def test_more_pairs_extend_the_same_data_set(dataset: Path, volumes: Path) -> None:
    before = (dataset / "images" / "000000_1.png").read_bytes()
    kept = dataset / "volumes" / "chest-1.npz"
    made = kept.stat().st_mtime_ns
    done = run(dataset, volumes, "--pairs", "3")
    assert done.exit_code == 0, done.output
    assert (dataset / "images" / "000000_1.png").read_bytes() == before
    assert kept.stat().st_mtime_ns == made
    assert len(pd.read_parquet(dataset / "manifest.parquet")) == 6


def test_without_lesions_both_labels_show_the_same_film(tmp_path: Path, volumes: Path) -> None:
    done = run(tmp_path / "ct", volumes, "--pairs", "1", "--no-lesion")
    assert done.exit_code == 0, done.output
    healthy, other = ((tmp_path / "ct" / "images" / f"000000_{k}.png") for k in (0, 1))
    assert healthy.read_bytes() == other.read_bytes()


def test_two_workers_draw_what_one_draws(dataset: Path, volumes: Path, tmp_path: Path) -> None:
    from training.generate.ct.render import Ct  # noqa: PLC0415
    from training.generate.store import generate  # noqa: PLC0415

    generator = Ct.open(volumes, tmp_path / "volumes", device="cpu", workers=1, progress=False)
    generate(
        tmp_path / "ct",
        generator=generator,
        pairs=2,
        size=64,
        seed=5,
        workers=2,
        sources=generator.sources,
        progress=False,
    )
    for name in ("000000_0.png", "000001_1.png"):
        drawn = (tmp_path / "ct" / "images" / name).read_bytes()
        assert drawn == (dataset / "images" / name).read_bytes()


def test_a_series_that_changed_is_prepared_anew(tmp_path: Path, volumes: Path) -> None:
    """Also where its files are older than what was made of the last one."""
    from training.generate.ct.library import prepare_all  # noqa: PLC0415

    copy = tmp_path / "volumes"
    shutil.copytree(volumes, copy)
    cache = tmp_path / "cache"
    (before,) = prepare_all(copy, cache, 1, progress=False)
    (copy / "chest-1" / "provenance.json").write_text('{"collection": "another", "licence": "CC0"}')
    os.utime(copy / "chest-1" / "provenance.json", (0, 0))
    (after,) = prepare_all(copy, cache, 1, progress=False)
    assert (before.provenance.collection, after.provenance.collection) == ("computed", "another")


def test_files_that_cannot_be_read_are_named_without_their_text(
    tmp_path: Path, volumes: Path
) -> None:
    copy = tmp_path / "volumes" / "broken"
    shutil.copytree(volumes / "chest-1", copy)
    for file in copy.glob("*.dcm"):
        dataset = pydicom.dcmread(file)
        del dataset.PixelSpacing
        dataset.save_as(file)
    done = run(tmp_path / "ct", copy.parent, "--pairs", "1")
    assert done.exit_code == 1
    assert "unusable_series" in done.output
    assert "broken cannot be read (AttributeError)" in done.output


def test_ct_needs_volumes() -> None:
    done = CliRunner().invoke(cli, ["generate", "x", "--generator", "ct", "--pairs", "1"])
    assert done.exit_code == 2
    assert "--volumes" in done.output


def test_a_folder_without_series_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run(tmp_path / "ct", tmp_path / "empty", "--pairs", "1")
    assert done.exit_code == 1
    assert "no_series" in done.output
    assert "Traceback" not in done.output


def test_a_series_without_lungs_is_named(tmp_path: Path) -> None:
    values = np.full((48, 72, 88), -1000, np.int16)
    values[:, 10:60, 10:80] = 30
    write_series(tmp_path / "volumes" / "leg", values)
    done = run(tmp_path / "ct", tmp_path / "volumes", "--pairs", "1")
    assert done.exit_code == 1
    assert "leg" in done.output
    assert "unusable_series" in done.output

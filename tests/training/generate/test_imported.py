"""Images that were made elsewhere become a data set like any other."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from service.errors import ReadingError
from service.imaging.standardise import InputSpec
from training.cli.main import cli
from training.fit.dataset import load_tensors
from training.generate.imported import import_folder
from training.generate.manifest import COLUMNS, DatasetMismatch


def draw(folder: Path, names: list[str], first: int = 0) -> None:
    for seed, name in enumerate(names, first):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 255, (40, 48)).astype(np.uint8)
        Image.fromarray(pixels).save(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of three images with pneumonia and two without."""
    draw(tmp_path / "sick", ["a.png", "b.JPG", "deep/c.jpeg"])
    draw(tmp_path / "well", ["a.png", "b.png"], 10)
    (tmp_path / "sick" / "notes.txt").write_text("not an image")
    into = tmp_path / "data"
    import_folder(tmp_path / "sick", into, label="pneumonia", generator="sana", model="0.6B")
    import_folder(tmp_path / "well", into, label="normal", generator="sana", model="0.6B")
    return into


def test_files_are_copied_as_they_are_with_label_and_source(data: Path, tmp_path: Path) -> None:
    rows = pd.read_parquet(data / "manifest.parquet")
    assert tuple(rows.columns[: len(COLUMNS)]) == COLUMNS
    assert sorted(rows.label) == [0, 0, 1, 1, 1]
    assert rows.group.nunique() == 5
    assert set(rows.generator) == {"sana"}
    assert set(rows.model) == {"0.6B"}
    for row in rows.to_dict("records"):
        source = tmp_path / ("sick" if row["label"] else "well") / row["source"]
        content = (data / row["path"]).read_bytes()
        assert content == source.read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"]
        record = data / "images" / f"{row['request']}.json"
        assert json.loads(record.read_text()) == row
    assert set(rows["path"].str.rpartition(".")[2]) == {"png", "jpg"}


def test_training_reads_them(data: Path) -> None:
    rows = pd.read_parquet(data / "manifest.parquet")
    spec = InputSpec(size=32, crop=1.0, equalise=False, mean=0.5, std=0.25)
    images, labels = load_tensors(rows, data, spec)
    assert images.shape == (5, 1, 32, 32)
    assert labels.tolist() == rows.label.tolist()


def test_a_second_import_of_the_same_adds_nothing(data: Path, tmp_path: Path) -> None:
    before = (data / "manifest.parquet").read_bytes()
    import_folder(tmp_path / "sick", data, label="pneumonia", generator="sana", model="0.6B")
    assert (data / "manifest.parquet").read_bytes() == before


def test_google_images_carry_the_notice(data: Path, tmp_path: Path) -> None:
    into = tmp_path / "banana"
    manifest = import_folder(tmp_path / "well", into, label="normal", generator="nano-banana")
    assert pd.read_parquet(manifest).notice.str.contains("SynthID").all()
    assert set(pd.read_parquet(data / "manifest.parquet").notice) == {""}


def test_an_image_cannot_have_both_labels(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetMismatch, match=r"a\.png is in .* with the other label"):
        import_folder(tmp_path / "sick", data, label="normal", generator="sana", model="0.6B")


def test_another_generator_needs_another_folder(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetMismatch, match="generator is 'sana', asked for 'flux'"):
        import_folder(tmp_path / "well", data, label="normal", generator="flux", model="0.6B")


def test_one_broken_file_keeps_all_out(tmp_path: Path) -> None:
    draw(tmp_path / "sick", ["a.png", "b.png"])
    (tmp_path / "sick" / "z.png").write_bytes(b"no image")
    with pytest.raises(ReadingError, match=r"z\.png"):
        import_folder(tmp_path / "sick", tmp_path / "data", label="normal", generator="x")
    assert not (tmp_path / "data").exists()


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ValueError, match="no PNG or JPEG"):
        import_folder(tmp_path, tmp_path / "data", label="normal", generator="x")


def test_the_command_imports_and_prints_the_manifest(tmp_path: Path) -> None:
    draw(tmp_path / "well", ["a.png"])
    into = tmp_path / "data"
    fixed = ["import", tmp_path / "well", "--into", into, "--generator", "x", "--label"]
    done = CliRunner().invoke(cli, [str(part) for part in (*fixed, "normal")])
    assert done.output.strip() == str(into / "manifest.parquet")
    again = CliRunner().invoke(cli, [str(part) for part in (*fixed, "pneumonia")])
    assert again.exit_code == 1
    assert again.output.startswith("Error: ")
    assert "other label" in again.output

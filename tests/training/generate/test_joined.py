"""Two data sets read as one: the images stay, the manifest names them."""

from pathlib import Path

import pandas as pd
import pytest

from training.generate.joined import join
from training.generate.manifest import DatasetMismatch, generations
from training.generate.store import generate


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("parts")
    for seed in (1, 2):
        generate(folder / f"seed-{seed}", pairs=2, size=32, seed=seed, workers=1, progress=False)
    return [folder / "seed-1", folder / "seed-2"]


def test_the_images_of_all_parts_are_found_from_the_joined_folder(
    parts: list[Path], tmp_path: Path
) -> None:
    manifest = join(tmp_path / "both", parts)
    table = pd.read_parquet(manifest)
    assert len(table) == 8
    assert table["group"].nunique() == 4
    for column in ("path", "mask"):
        named = [name for name in table[column] if name]
        assert named
        assert all((manifest.parent / name).is_file() for name in named)


def test_what_only_one_part_knows_is_empty_in_the_other(parts: list[Path], tmp_path: Path) -> None:
    known = pd.read_parquet(parts[0] / "manifest.parquet")
    (tmp_path / "more").mkdir()
    known.assign(scanner="A", group=known["group"] + "x").to_parquet(
        tmp_path / "more" / "manifest.parquet"
    )
    table = pd.read_parquet(join(tmp_path / "both", [tmp_path / "more", parts[1]]))
    assert table["scanner"].notna().sum() == len(known)


def test_the_same_patients_twice_are_refused(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another seed"):
        join(tmp_path / "both", [parts[0], parts[0]])


def test_one_part_is_refused(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two parts"):
        join(tmp_path / "both", parts[:1])


def test_a_folder_joined_of_others_is_refused(parts: list[Path], tmp_path: Path) -> None:
    join(tmp_path / "both", parts)
    join(tmp_path / "both", parts)  # the same ones go on
    generate(tmp_path / "third", pairs=1, size=32, seed=3, workers=1, progress=False)
    with pytest.raises(DatasetMismatch):
        join(tmp_path / "both", [parts[0], tmp_path / "third"])


def test_generations_are_those_of_the_parts(parts: list[Path], tmp_path: Path) -> None:
    join(tmp_path / "both", parts)
    assert [own["seed"] for own in generations(tmp_path / "both")] == [1, 2]
    assert generations(parts[0]) == generations(tmp_path / "both")[:1]
    assert generations(tmp_path) == []

"""Numbers of synthetic and real films: each moves with what it is named after."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from training.cli.main import cli
from training.curate.realism import MEASURES, compare, measure

SIDE = 256
ROWS, COLUMNS = np.mgrid[0:SIDE, 0:SIDE]


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", np.clip(image, 0, 255).astype(np.uint8))[1].tobytes()


def stripes(along: np.ndarray, amplitude: float = 40, period: float = 16) -> np.ndarray:
    image = 120 + amplitude * np.sin(2 * np.pi * along / period)
    image[0, 0], image[-1, -1] = 0, 255  # the film's own range
    return image


class TestMeasure:
    def test_ribs_give_vertical_and_vessels_horizontal_gradients(self) -> None:
        across, down = measure(png(stripes(ROWS))), measure(png(stripes(COLUMNS)))
        assert across["v/h gradient"] > 10
        assert down["v/h gradient"] < 0.1

    def test_detail_falls_with_contrast(self) -> None:
        crisp, veiled = measure(png(stripes(ROWS))), measure(png(stripes(ROWS, 10)))
        assert crisp["detail"] == pytest.approx(4 * veiled["detail"], rel=0.1)

    def test_grey_values_are_read_where_they_belong(self) -> None:
        image = np.full((SIDE, SIDE), 60.0)
        image[:, 115:145] = 200
        image[226:, :] = 240
        image[:4, :20], image[:4, 100:140] = 0, 255
        numbers = measure(png(image))
        assert numbers["lungs"] == pytest.approx(60 / 255, abs=0.02)
        assert numbers["mediastinum"] == pytest.approx(200 / 255, abs=0.02)
        assert numbers["abdomen"] == pytest.approx(240 / 255, abs=0.02)
        assert numbers["white"] == pytest.approx(4 * 40 / SIDE**2, rel=0.4)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    data, films = tmp_path / "data", tmp_path / "films"
    for folder in (data, films):
        folder.mkdir()
        for label in (0, 1):
            (folder / f"{label}.png").write_bytes(png(stripes(ROWS, 40 - 20 * label)))
    rows = {"path": ["0.png", "1.png"], "label": [0, 1]}
    pd.DataFrame(rows | {"age_band": "child"}).to_parquet(data / "manifest.parquet")
    pd.DataFrame(rows | {"source": "clinic"}).to_csv(films / "labels.csv", index=False)
    return data, films


def test_classes_stand_side_by_side_by_age_band_and_source(folders: tuple[Path, Path]) -> None:
    table = compare(*folders)
    assert table["stratum"].tolist() == ["child", "child", "clinic", "clinic"]
    assert table["class"].tolist() == ["healthy", "pneumonia"] * 2
    assert set(MEASURES) < set(table.columns)
    assert table["detail"][0] > table["detail"][1]
    pd.testing.assert_series_equal(table.loc[0, [*MEASURES]], table.loc[2, [*MEASURES]],
                                   check_names=False)  # fmt: skip


def test_films_of_unknown_label_are_refused(folders: tuple[Path, Path]) -> None:
    data, films = folders
    listed = pd.read_csv(films / "labels.csv")
    listed.assign(label=[0, None]).to_csv(films / "labels.csv", index=False)
    with pytest.raises(ValueError, match="a label of the films is not 0 or 1"):
        compare(data, films)


def test_command_prints_the_table(folders: tuple[Path, Path]) -> None:
    done = CliRunner().invoke(cli, ["realism", *map(str, folders)])
    assert done.exit_code == 0
    assert "clinic pneumonia" in " ".join(done.output.split())


def test_folder_without_labels_is_said_in_one_line(folders: tuple[Path, Path]) -> None:
    done = CliRunner().invoke(cli, ["realism", str(folders[0]), str(folders[0])])
    assert done.exit_code == 1
    assert "labels.csv" in done.output
    assert "Traceback" not in done.output


def test_missing_column_is_one_sentence(folders: tuple[Path, Path]) -> None:
    data, films = folders
    listed = pd.read_csv(films / "labels.csv")
    listed.drop(columns="source").to_csv(films / "labels.csv", index=False)
    result = CliRunner().invoke(cli, ["realism", str(data), str(films)])
    assert result.exit_code == 1
    assert result.output == f"Error: {films / 'labels.csv'} has no column source; add it\n"

"""Boxes as radiologists' tables have them."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from clients.cli.main import cli
from clients.datasets.boxes import BOX, open_boxes
from clients.datasets.items import DatasetError

SCORED = pd.DataFrame(
    {
        "path": ["stage_2_train_images/a1.dcm", "films/b2.png", "films/c3.png"],
        "label": [1, 1, 0],
        "probability": [0.9, 0.8, 0.1],
        "call": ["pneumonia", "pneumonia", "no pneumonia"],
        "error": pd.Series([None] * 3, dtype="str"),
        "width": [1024, 512, 512],
        "height": [1024, 256, 256],
        "logit": [2.0, 1.0, -2.0],
        "peak_x": [300.0, 10.0, 10.0],
        "peak_y": [200.0, 10.0, 10.0],
    }
)
RSNA = (
    "patientId,x,y,width,height,Target\n"
    "a1,264.0,152.0,213.0,379.0,1\na1,562.0,152.0,256.0,453.0,1\n"
    "b2,100,200,400,40,1\nc3,,,,,0\nnot-scored,1,2,3,4,1\n"
)


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "boxes.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_table_of_rsna_is_brought_to_the_paths_and_pixels_of_the_scores(tmp_path: Path) -> None:
    boxes = open_boxes(written(tmp_path, RSNA), SCORED)
    assert tuple(boxes.columns) == BOX
    assert boxes.to_numpy().tolist() == [
        ["stage_2_train_images/a1.dcm", 264, 152, 213, 379],
        ["stage_2_train_images/a1.dcm", 562, 152, 256, 453],
        ["films/b2.png", 50, 50, 200, 10],
    ]


def test_evaluate_takes_it_as_it_is(tmp_path: Path) -> None:
    SCORED.to_parquet(tmp_path / "scores.parquet")
    options = ["--boxes", str(written(tmp_path, RSNA)), "--replicates", "10"]
    options += ["--json", str(tmp_path / "numbers.json")]
    result = CliRunner().invoke(cli, ["evaluate", str(tmp_path / "scores.parquet"), *options])
    assert result.exit_code == 0, result.output
    assert "Heatmap peak in a box: 1 of 2" in result.stdout
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert (numbers["pointing"]["hits"], numbers["pointing"]["images"]) == (1, 2)
    assert numbers["run"]["model"] is None


@pytest.mark.parametrize(
    "text",
    [
        "path,x,y,width,height\nfilms/b2.png,1,2,3,4\n",
        "Path;X;Y;Width;Height;reader\nfilms\\b2.png;1;2;3;4;x\nfilms\\c3.png;;;;;y\n",
        "path\tx\ty\twidth\theight\nfilms/b2.png\t1\t2\t3\t4\n".encode("utf-16"),
    ],
)
def test_other_tables_keep_their_paths(tmp_path: Path, text: str | bytes) -> None:
    boxes = open_boxes(written(tmp_path, text), SCORED)
    assert boxes.to_numpy().tolist() == [["films/b2.png", 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,x,y,w,h\na,1,2,3,4\n", "no column 'width'; it has 'path', 'x', 'y', 'w', 'h'"),
        ("path,x,y,width,height\na,1,2,3,many\n", "row 1 .* without four numbers"),
        ("path,x,y,width,height\na,1,2,3,\n", "row 1 .* without four numbers"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        open_boxes(written(tmp_path, text), SCORED)

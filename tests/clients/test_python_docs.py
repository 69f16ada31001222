"""docs/python.md and the notebook run as they stand."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.clients.sdk import bodies
from tests.clients.sdk.http_server import Answer, Server
from tests.sources import ROOT

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)


def generator() -> ModuleType:
    path = ROOT / "docs" / "generate_python.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the samples run: the films are there, and a small model reads."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXR_MODEL", str(tiny_model))
    return tmp_path


@pytest.mark.parametrize(
    ("sample", "printed"),
    [
        (0, ["0.75 pneumonia", "pneumonia", "pneumonia"]),
        (1, ["0.75 ((0.1, 0.25),)"]),
        (
            2,
            [
                "probability call error",
                "phantom-healthy.png NaN NaN not_a_chest",
                "phantom-pneumonia.dcm 0.75 pneumonia NaN",
            ],
        ),
        (3, ["0.75 pneumonia", "0.75 pneumonia"]),
    ],
)
def test_sample_that_asks_a_service_runs(
    folder: Path,
    server: Server,
    capsys: pytest.CaptureFixture[str],
    sample: int,
    printed: list[str],
) -> None:
    problem = {"status": 422, "code": "not_a_chest", "detail": "a hand"}
    heatmap = "heatmap=" in SAMPLES[sample]
    reading = bodies.with_heatmap() if heatmap else bodies.reading(0.75)
    server.on("/predict", Answer.json(reading))
    server.on("/predict_batch", Answer.json([problem, bodies.reading(0.75)]))
    exec(SAMPLES[sample].replace("http://localhost:3000", server.url), {})
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == printed


def test_sample_of_a_dataset_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(SAMPLES[4], {})
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["Site", "images", "too_few", "auroc", "auroc_low", "auroc_high"]
    assert len(rows) == 2
    assert "True" in rows[0]


def test_notebook_ends_in_a_figure_of_its_scores(folder: Path) -> None:
    names = generator().run_cells()
    figure = names["figure"]
    assert isinstance(figure, Figure)
    assert len(names["scores"]) == 14
    lines = figure.axes[-1].get_lines()
    shown = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in lines}
    scores = names["scores"].sort_values("gamma", key=lambda column: column.astype(float))
    for label, name in ((1, "ill"), (0, "well")):
        assert shown[name] == scores.loc[scores["label"] == label, "probability"].tolist()


def test_picture_on_the_page_is_small_and_whole() -> None:
    with Image.open(ROOT / "docs" / "images" / "python.png") as picture:
        picture.load()
        assert picture.width == 1100
    assert (ROOT / "docs" / "images" / "python.png").stat().st_size < 200_000

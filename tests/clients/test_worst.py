from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from clients.cli import cli
from clients.worst import CAPTION, TILE, NothingToShow, worst
from tests.factories import chest, png_bytes

SCORES = pd.DataFrame(
    {
        "path": ["a", "b", "c", "d", "e", "f"],
        "label": [1, 1, 0, 0, None, 1],
        "probability": [0.9, 0.2, 0.8, 0.1, 0.5, None],
        "source": ["x", "x", "x", "y", "y", "y"],
    }
)


class TestChoice:
    def test_worst_comes_first_and_images_without_label_or_reading_never(self) -> None:
        positives, negatives = worst(SCORES, by=None, count=2)
        assert (positives.label, positives.names) == (1, ("b", "a"))
        assert (negatives.label, negatives.names) == (0, ("c", "d"))

    def test_each_stratum_has_its_own_rows(self) -> None:
        rows = worst(SCORES, by="source", count=1)
        assert [(row.title, row.label, row.names) for row in rows] == [
            ("x", 1, ("b",)),
            ("x", 0, ("c",)),
            ("y", 0, ("d",)),
        ]

    def test_scores_without_labels_are_refused(self) -> None:
        with pytest.raises(NothingToShow):
            worst(SCORES.assign(label=None), by=None, count=1)


class TestCommand:
    def test_sheet_holds_a_radiograph_and_its_heatmap_for_each_image(
        self, tmp_path: Path, tiny_model: Path
    ) -> None:
        for number in range(4):
            (tmp_path / f"{number}.png").write_bytes(png_bytes(chest() // (number + 1)))
        labels = tmp_path / "labels.csv"
        labels.write_text("path,label\n0.png,1\n1.png,0\n2.png,1\n3.png,0\n")
        scores, out = tmp_path / "scores.parquet", tmp_path / "worst.png"
        model = ["--model", str(tiny_model)]
        for command in (
            ["score", str(labels), "--out", str(scores), *model],
            ["worst", str(scores), str(labels), "--out", str(out), *model],
        ):
            result = CliRunner().invoke(cli, command)
            assert result.exit_code == 0, result.output
        with Image.open(out) as image:
            assert image.size == (2 * TILE, 2 * (CAPTION + 2 * TILE))
            sheet = np.asarray(image.convert("L"))
        assert sheet[CAPTION : CAPTION + TILE].std() > 10

    def test_column_that_is_not_there_is_wrong_usage(self, tmp_path: Path) -> None:
        scores = tmp_path / "scores.parquet"
        SCORES.to_parquet(scores)
        command = ["worst", str(scores), str(scores), "--by", "site", "--out", str(tmp_path / "o")]
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 2
        assert "no column 'site'" in result.output

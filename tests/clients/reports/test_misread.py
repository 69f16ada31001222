import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw

from clients.cli.main import cli
from clients.reports.misread import CAPTION, TILE, NothingToShow, _fitting, misread
from clients.scoring.score import METADATA
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
        positives, negatives = misread(SCORES, count=2)
        assert (positives.label, positives.names) == (1, ("b", "a"))
        assert (negatives.label, negatives.names) == (0, ("c", "d"))
        assert positives.probabilities == (0.2, 0.9)

    def test_each_stratum_has_its_own_rows(self) -> None:
        rows = misread(SCORES, by=["source"], count=1)
        assert [(row.title, row.label, row.names) for row in rows] == [
            ("x", 1, ("b",)),
            ("x", 0, ("c",)),
            ("y", 0, ("d",)),
        ]

    def test_combinations_of_columns_have_rows_of_their_own(self) -> None:
        rows = misread(SCORES.assign(view="PA"), by=["source,view"], count=1)
        assert [row.title for row in rows] == ["x, PA", "x, PA", "y, PA"]

    def test_images_without_a_value_are_a_stratum(self) -> None:
        table = SCORES.assign(source=["x", None, None, None, None, None])
        rows = misread(table, by=["source"], count=1)
        assert [(row.title, row.names) for row in rows] == [
            ("x", ("a",)),
            ("(none)", ("b",)),
            ("(none)", ("c",)),
        ]

    def test_scores_without_labels_are_refused(self) -> None:
        with pytest.raises(NothingToShow):
            misread(SCORES.assign(label=None), count=1)


class TestCommand:
    def test_sheet_holds_a_radiograph_and_its_heatmap_for_each_image(
        self, tmp_path: Path, tiny_model: Path
    ) -> None:
        image, printed = self.sheet_of_four(tmp_path, tiny_model)
        assert image.size == (2 * TILE, 2 * (CAPTION + 2 * TILE))
        assert np.asarray(image.convert("L"))[CAPTION : CAPTION + TILE].std() > 10
        header, *lines, path = printed.splitlines()
        assert header.split() == ["file", "stratum", "truth", "probability"]
        assert [line.split()[1:3] for line in lines] == [["all", "pneumonia"]] * 2 + [
            ["all", "no"]
        ] * 2
        assert sorted(line.split()[0] for line in lines) == ["0.png", "1.png", "2.png", "3.png"]
        assert path == str(tmp_path / "worst.png")

    def test_heat_lies_on_the_very_pixels_above_it(self, tmp_path: Path, tiny_model: Path) -> None:
        image, _ = self.sheet_of_four(tmp_path, tiny_model)
        sheet = np.asarray(image).astype(int)
        plain = sheet[CAPTION : CAPTION + TILE]
        heated = sheet[CAPTION + TILE : CAPTION + 2 * TILE]
        uncoloured = np.ptp(heated, axis=2) == 0
        assert 0.1 < uncoloured.mean() < 0.99  # some heat, and some film that shows through
        np.testing.assert_array_equal(heated[uncoloured], plain[uncoloured])

    def test_caption_names_the_file_by_its_end(self) -> None:
        pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
        name = "site/" * 40 + "film.dcm"
        fitting = _fitting(name, pen)
        assert re.fullmatch(r"\.\.\.[site/]+film\.dcm", fitting)
        assert pen.textlength(fitting) <= TILE
        assert _fitting("film.dcm", pen) == "film.dcm"

    @staticmethod
    def sheet_of_four(tmp_path: Path, tiny_model: Path) -> tuple[Image.Image, str]:
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
            return image.convert("RGB"), result.output

    def test_heatmaps_of_another_model_are_refused(self, tmp_path: Path, tiny_model: Path) -> None:
        gave = {"name": "other", "version": "2", "sha256": "0" * 64, "operating_point": "balanced"}
        run = json.dumps({"model": gave}).encode()
        scores, out = tmp_path / "scores.parquet", tmp_path / "worst.png"
        rows = pa.Table.from_pandas(SCORES.assign(error=None))
        pq.write_table(rows.replace_schema_metadata({METADATA: run}), scores)
        command = ["worst", str(scores), str(tmp_path), "--out", str(out)]
        result = CliRunner().invoke(cli, [*command, "--model", str(tiny_model)])
        assert result.exit_code == 1
        assert "holds tiny 1, SHA-256 " in result.output
        assert "(other 2, SHA-256 000000000000)" in result.output
        assert "--model" in result.output
        assert not out.exists()

    def test_column_that_is_not_there_is_wrong_usage(self, tmp_path: Path) -> None:
        scores = tmp_path / "scores.parquet"
        SCORES.to_parquet(scores)
        command = ["worst", str(scores), str(scores), "--by", "site", "--out", str(tmp_path / "o")]
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 2
        assert "no column 'site'" in result.output

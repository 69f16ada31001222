"""Score files name their model; thresholds come from that model's folder and from no other."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from clients.cli.main import cli
from clients.scoring.score import METADATA
from clients.scoring.scored import (
    EvaluationError,
    open_scores,
    operating_points,
    read_embeddings,
)
from service.model.manifest import Manifest, ModelIdentity
from tests.clients.samples import frame, two_normals
from tests.tiny_model import POINT

NOWHERE = Path("no-model-here")


def write_scores(
    file: Path, model: Path, *, calibration: str | None = None, **columns: pa.Array
) -> ModelIdentity:
    """Forty scored images, as if the model of a folder had given them."""
    manifest = Manifest.load(model / "manifest.json")
    point = {"operating_point": manifest.default_operating_point}
    named = asdict(manifest.identity) | point
    rows = pa.Table.from_pandas(frame(*two_normals(20, 20, shift=1.0, seed=1)))
    for name, values in columns.items():
        rows = rows.append_column(name, values)
    site = {} if calibration is None else {"calibration": calibration}
    run = json.dumps({"model": named, "dataset": "0" * 64, **site}).encode()
    pq.write_table(rows.replace_schema_metadata({METADATA: run}), file)
    return manifest.identity


class TestModel:
    def test_is_read_from_the_file(self, tmp_path: Path, tiny_model: Path) -> None:
        written = write_scores(tmp_path / "s.parquet", tiny_model)
        found = open_scores(tmp_path / "s.parquet")
        assert (found.model, found.operating_point) == (written, POINT.name)
        assert str(written) == "tiny 1"

    def test_its_folder_gives_the_operating_points(self, tmp_path: Path, tiny_model: Path) -> None:
        model = write_scores(tmp_path / "s.parquet", tiny_model)
        assert operating_points(model, tiny_model, NOWHERE) == (POINT,)
        assert operating_points(model, None, tiny_model) == (POINT,)

    def test_another_folder_is_refused_where_named_and_passed_over_where_not(
        self, tmp_path: Path, tiny_model: Path
    ) -> None:
        other = ModelIdentity(name="x", version="2", sha256="0" * 64)
        with pytest.raises(EvaluationError, match="not the model that gave the scores"):
            operating_points(other, tiny_model, NOWHERE)
        assert operating_points(other, None, tiny_model) == ()
        assert operating_points(None, None, NOWHERE) == ()

    def test_command_prints_the_points_of_the_model(self, tmp_path: Path, tiny_model: Path) -> None:
        write_scores(tmp_path / "s.parquet", tiny_model)
        command = ["evaluate", str(tmp_path / "s.parquet"), "--model", str(tiny_model)]
        result = CliRunner().invoke(cli, [*command, "--replicates", "20"])
        assert result.exit_code == 0, result.output
        line = result.stdout.splitlines()[-1].split()
        assert line[:3] == ["all", POINT.name, f"{POINT.threshold:.3f}"]

    def test_its_points_are_not_those_of_a_site(self, tmp_path: Path, tiny_model: Path) -> None:
        write_scores(tmp_path / "s.parquet", tiny_model, calibration="c" * 64)
        assert open_scores(tmp_path / "s.parquet").calibration is not None
        command = ["evaluate", str(tmp_path / "s.parquet"), "--model", str(tiny_model)]
        result = CliRunner().invoke(cli, [*command, "--replicates", "20"])
        assert result.exit_code == 0, result.output
        assert "threshold" not in result.stdout


class TestEmbeddings:
    @pytest.mark.parametrize("kind", [pa.list_(pa.float32(), 3), pa.list_(pa.float32())])
    def test_image_without_a_reading_keeps_its_row(
        self, tmp_path: Path, tiny_model: Path, kind: pa.DataType
    ) -> None:
        vectors = [[float(n), 0.0, 1.0] for n in range(40)]
        written: list[list[float] | None] = [*vectors]
        written[5] = None
        file = tmp_path / "s.parquet"
        write_scores(file, tiny_model, embedding=pa.array(written, type=kind))
        found = read_embeddings(file)
        assert found is not None
        assert found.shape == (40, 3)
        assert found.dtype == np.float32
        assert np.isnan(found[5]).all()
        np.testing.assert_array_equal(np.delete(found, 5, axis=0), np.delete(vectors, 5, axis=0))
        assert "embedding" not in open_scores(file).table.columns

    def test_are_none_where_they_were_not_asked_for(self, tmp_path: Path, tiny_model: Path) -> None:
        write_scores(tmp_path / "s.parquet", tiny_model)
        assert read_embeddings(tmp_path / "s.parquet") is None

"""`score` and `evaluate` from Python give what the commands write."""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from clients import ChestXrayClient, DatasetError, EvaluationError, evaluate, rows, score
from clients.cli.main import cli
from clients.metrics.evaluate import SEED
from clients.scoring.score import SCORE_COLUMNS
from service.version import VERSION
from tests.clients.folders import write_images
from tests.clients.samples import frame, two_normals
from tests.clients.sdk import bodies
from tests.clients.sdk.http_server import Answer, Server
from tests.tiny_model import POINT

CLOCK = ["milliseconds"]


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def labels(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight labelled images of two sites, and the model that reads them by default."""
    monkeypatch.setenv("CXR_MODEL", str(tiny_model))
    write_images(tmp_path / "films", 8)
    rows = [f"films/{n:05d},{n % 2},{'north' if n < 4 else 'south'}" for n in range(8)]
    file = tmp_path / "labels.csv"
    file.write_text("\n".join(["path,label,site", *rows]) + "\n")
    return file


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values("path").reset_index(drop=True).drop(columns=CLOCK)


class TestScore:
    @pytest.mark.parametrize("kept", [True, False])
    def test_table_is_that_of_the_command(self, labels: Path, tmp_path: Path, kept: bool) -> None:
        written, out = tmp_path / "command.parquet", tmp_path / "function.parquet"
        run("score", labels, "--out", written, "--embeddings")
        table = score(labels, out=out if kept else None, embeddings=True)
        pd.testing.assert_frame_equal(in_order(table), in_order(pd.read_parquet(written)))
        assert out.exists() == kept

    def test_service_reads_where_its_address_is_given(self, server: Server, labels: Path) -> None:
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.json(bodies.reading(0.75)))
        assert score(str(labels), url=server.url)["probability"].tolist() == [0.75] * 8

    def test_service_has_a_model_of_its_own(self, labels: Path) -> None:
        with pytest.raises(ValueError, match="url excludes"):
            score(labels, url="http://h", model="models/default/1")

    @pytest.mark.filterwarnings("ignore:test/.* holds:UserWarning")  # the other classes
    def test_missing_part_of_a_known_dataset_is_a_warning(
        self, server: Server, tmp_path: Path
    ) -> None:
        write_images(tmp_path / "test" / "NORMAL", 1)
        (tmp_path / "test" / "NORMAL" / "00000").rename(tmp_path / "test/NORMAL/IM-0001-0001.png")
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.json(bodies.reading()))
        with pytest.warns(UserWarning, match="holds 1 images, not 234"):
            score(tmp_path, url=server.url)

    def test_other_columns_and_labels_are_told_as_to_the_command(
        self, server: Server, labels: Path, tmp_path: Path
    ) -> None:
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.json(bodies.reading()))
        table = pd.read_csv(labels).rename(columns={"path": "file", "label": "finding"})
        table["finding"] = table["finding"].map({0: "well", 1: "sick"})
        table.to_csv(tmp_path / "others.csv", sep=";", index=False, encoding="utf-16")
        found = score(
            tmp_path / "others.csv",
            path_column="file",
            label_column="finding",
            label_map={"well": 0, "sick": 1},
            url=server.url,
        )
        expected = in_order(score(labels, url=server.url))
        pd.testing.assert_frame_equal(in_order(found), expected)
        assert expected["label"].tolist() == [0, 1] * 4

    def test_label_that_was_not_taken_is_a_warning(
        self, server: Server, labels: Path, tmp_path: Path
    ) -> None:
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.json(bodies.reading()))
        table = pd.read_csv(labels).rename(columns={"label": "finding"})
        table.to_csv(tmp_path / "others.csv", index=False)
        with pytest.warns(UserWarning, match="name it with --label-column"):
            assert score(tmp_path / "others.csv", url=server.url)["label"].isna().all()

    def test_folder_without_images_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError):
            score(tmp_path)


class TestEvaluate:
    def test_measures_are_those_of_the_command_from_table_and_file(
        self, labels: Path, tmp_path: Path
    ) -> None:
        out, numbers = tmp_path / "scores.parquet", tmp_path / "numbers.json"
        table = score(labels, out=out)
        options = ("--by", "site", "--prevalence", 0.1, "--replicates", 50)
        run("evaluate", out, *options, "--json", numbers)
        written = json.loads(numbers.read_text())
        model = table.attrs["nanocxr"]["model"]
        assert written["run"] == {
            "nanocxr": VERSION, "by": ["site"], "patient": None, "weights": None, "within": None,
            "prevalence": 0.1, "replicates": 50, "seed": SEED, "calibration": None,
            "model": {key: model[key] for key in ("name", "version", "sha256")},
            "operating_point": POINT.name,
        }  # fmt: skip
        assert written["pointing"] is None
        for scores in (table, out, str(out)):
            found = evaluate(scores, by="site", prevalence=0.1, replicates=50)
            groups = json.loads(json.dumps([asdict(row) for row in found]))
            assert groups == written["groups"]
            assert [point.name for point in found[0].operating_points] == [POINT.name]
            assert {row.model_sha256 for row in found} == {model["sha256"]}
            assert found[0].operating_points[0].threshold == POINT.threshold

    def test_table_of_elsewhere_is_measured_by_its_calls(self, labels: Path) -> None:
        table = pd.DataFrame(score(labels).to_dict("list"))
        (point,) = evaluate(table, replicates=20)[0].operating_points
        assert (point.name, point.threshold) == ("call", None)

    def test_model_that_did_not_give_the_scores_is_refused(
        self, labels: Path, gated_model: Path
    ) -> None:
        table = score(labels)
        table.attrs["nanocxr"]["model"]["sha256"] = "0" * 64
        with pytest.raises(EvaluationError, match="not the model that gave the scores"):
            evaluate(table, model=gated_model)


class TestRows:
    def test_readings_and_problems_are_one_table(self, server: Server) -> None:
        problem = {"status": 422, "code": "not_a_chest", "detail": "a hand"}
        server.on("/predict_batch", Answer.json([bodies.reading(0.75), problem]))
        with ChestXrayClient(server.url) as client:
            table = pd.DataFrame(rows(client.predict_batch([b"1", b"2"])))
        assert table["probability"].tolist()[0] == 0.75
        assert table[["call", "width", "height"]].iloc[0].tolist() == ["pneumonia", 40, 30]
        assert table["model_sha256"][0] == bodies.SHA256
        assert table[["error", "detail"]].iloc[1].tolist() == ["not_a_chest", "a hand"]
        assert table.iloc[1].drop(["error", "detail"]).isna().all()
        assert {*table.columns} - {"detail", "model_sha256"} <= {*SCORE_COLUMNS}

    def test_measures_have_a_column_for_each_number_and_end(self) -> None:
        scored = frame(*two_normals(20, 20, shift=1.0, seed=1))
        measures = evaluate(scored, by="source", replicates=20)
        table = pd.DataFrame(rows(measures))
        assert table["source"].tolist()[1:] == ["north", "south"]
        assert table["images"].tolist() == [40, 20, 20]
        for row, found in zip(measures, table.to_dict("records"), strict=True):
            assert row.auroc is not None
            ends = (row.auroc.value, row.auroc.low, row.auroc.high)
            assert tuple(found[f"auroc{end}"] for end in ("", "_low", "_high")) == ends
        assert not [name for name in table if table[name].map(type).isin([dict, tuple]).any()]

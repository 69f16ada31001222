"""``cxr score --prior em``: what the file gains, what it keeps, and where it cannot be had."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from clients.calibration.adjusted import METADATA, add_adjusted
from clients.calibration.prior import adjust
from clients.cli.main import cli
from clients.scoring import score
from clients.scoring.score import ADJUSTED
from service.model.manifest import Manifest
from tests.clients.calibration.test_prior import calibrated, films
from tests.clients.folders import write_images
from tests.clients.sdk import bodies
from tests.clients.sdk.http_server import Answer, Server
from tests.sites import write_site
from tests.tiny_model import write_model

SPLIT = {"dataset": {"splits": {"calibration": {"pneumonia": 30, "no pneumonia": 90}}}}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def record(model: Path, provenance: dict[str, Any]) -> Path:
    file = model / "manifest.json"
    file.write_text(replace(Manifest.load(file), provenance=provenance).to_json())
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose manifest tells its counts."""
    folder = tmp_path_factory.mktemp("counted") / "model"
    write_model(folder)
    return record(folder, SPLIT)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("films") / "images", 24)


class TestFile:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        probabilities = np.append(films(300, 0.1, seed=1)[0], np.nan)
        table = pd.DataFrame({"path": "x", "probability": probabilities, "call": "pneumonia"})
        table.to_parquet(tmp_path / "scores.parquet")
        return tmp_path / "scores.parquet"

    def test_column_stands_beside_the_raw_one_which_stays(self, file: Path) -> None:
        before = pd.read_parquet(file)
        found = add_adjusted(file, calibrated())
        after = pd.read_parquet(file)
        assert list(after) == ["path", "probability", ADJUSTED, "call"]
        pd.testing.assert_frame_equal(after.drop(columns=ADJUSTED), before)
        raw = before["probability"].to_numpy()
        np.testing.assert_allclose(after[ADJUSTED], adjust(raw, 0.5, found.prevalence.value))
        told = json.loads((pq.read_schema(file).metadata or {})[METADATA])
        assert told["before"] == 0.5
        assert told["prevalence"]["value"] == found.prevalence.value
        assert told["images"] == 300

    def test_second_time_replaces_the_first(self, file: Path) -> None:
        add_adjusted(file, calibrated(positives=100))
        add_adjusted(file, calibrated())
        again = pd.read_parquet(file)
        add_adjusted(file, calibrated())
        pd.testing.assert_frame_equal(pd.read_parquet(file), again)

    def test_column_is_empty_where_the_estimate_is_an_edge(self, file: Path) -> None:
        table = pd.read_parquet(file)
        table.assign(probability=table["probability"] / 100).to_parquet(file)
        assert add_adjusted(file, calibrated()).at_edge
        assert pd.read_parquet(file)[ADJUSTED].isna().all()

    def test_stratum_of_that_name_is_kept_apart(self) -> None:
        assert score.column_of(ADJUSTED) == f"dataset_{ADJUSTED}"


class TestCommand:
    def test_prints_and_writes_and_adds_to_a_file_that_is_there(
        self, model: Path, images: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "scores.parquet"
        command = ("score", images, "--model", model, "--out", out)
        assert run(*command).exit_code == 0
        plain = pd.read_parquet(out)
        result = run(*command, "--prior", "em")
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("prevalence by EM: ")
        assert "over 24 images; 0.250 where" in result.stdout
        assert "Warning: the probabilities were calibrated on synthetic images" in result.stderr
        assert "Warning: 24 films" in result.stderr
        assert ADJUSTED not in plain
        pd.testing.assert_frame_equal(pd.read_parquet(out).drop(columns=ADJUSTED), plain)

    def test_site_tells_the_prevalence_of_its_films(
        self, tiny_model: Path, images: Path, tmp_path: Path
    ) -> None:
        site = tmp_path / "site.json"
        write_site(site, tiny_model)
        result = run(
            "score", images, "--model", tiny_model, "--out", tmp_path / "s.parquet",
            "--calibration", site, "--prior", "em",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        assert f"{100 / 240:.3f} where" in result.stdout
        assert "synthetic" not in result.stderr

    def test_manifest_without_counts_is_refused_before_an_image_is_read(
        self, tiny_model: Path, images: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "scores.parquet"
        result = run("score", images, "--model", tiny_model, "--out", out, "--prior", "em")
        assert result.exit_code == 1
        assert "cxr calibrate" in result.stderr
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("digest", "variable"), [("a" * 64, "CXR_MODEL"), (None, "CXR_CALIBRATION")]
    )
    def test_service_with_files_that_are_not_here_is_refused(
        self,
        server: Server,
        model: Path,
        images: Path,
        monkeypatch: pytest.MonkeyPatch,
        digest: str | None,
        variable: str,
    ) -> None:
        monkeypatch.setenv("CXR_MODEL", str(model))
        site = {"name": "site", "sha256": "c" * 64, "films": 9, **bodies.FITTED}
        served = bodies.model() | {"calibration": site}
        own = Manifest.load(model / "manifest.json").sha256["model.onnx"]
        served["manifest"]["sha256"]["model.onnx"] = digest or own
        server.on("/model", Answer.json(served))
        out = model.parent / "refused.parquet"
        result = run("score", images, "--out", out, "--url", server.url, "--prior", "em")
        assert result.exit_code == 1
        assert f"Set {variable}" in result.stderr
        assert not out.exists()

    def test_too_few_films_are_refused_and_their_scores_kept(
        self, model: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "scores.parquet"
        few = write_images(tmp_path / "images", 4)
        result = run("score", few, "--model", model, "--out", out, "--prior", "em")
        assert result.exit_code == 1
        assert "at least 20" in result.stderr
        assert len(pd.read_parquet(out)) == 4

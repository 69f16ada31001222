"""A site's calibration is what its films say, measured on films it was not fitted to."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from scipy.special import expit

from clients.calibration.site import fit
from clients.cli.main import cli
from clients.metrics.intervals import FloatArray, IntArray, Resampling
from clients.metrics.reliability import (
    least_calibration_error,
    measure_probabilities,
)
from clients.scoring.score import METADATA
from service.findings.calibration import expected_calibration_error
from service.model.manifest import Manifest
from service.model.site import SiteCalibration
from tests.clients.folders import write_images

TEMPERATURE, BIAS = 2.5, -1.0  # of the films
OWN = 1.5  # temperature of the tiny model


def films(count: int, *, seed: int = 1, temperature: float = TEMPERATURE) -> pd.DataFrame:
    """Scores of a model whose own calibration does not fit the films."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, count)
    labels = (rng.random(count) < expit(logits / temperature + BIAS)).astype(np.int64)
    return pd.DataFrame(
        {
            "path": [f"{seed}-{number}.png" for number in range(count)],
            "sha256": [f"{seed:032x}{number:032x}" for number in range(count)],
            "label": pd.array(labels, dtype="Int8"),
            "logit": logits,
            "probability": expit(logits / OWN),
            "call": "pneumonia",
            "error": pd.Series([None] * count, dtype="object"),
            "patient": [f"p{number // 2}" for number in range(count)],
        }
    )


def write(
    table: pd.DataFrame, file: Path, model: Path, site: str | None = None, **change: str
) -> Path:
    manifest = Manifest.load(model / "manifest.json")
    identity = {
        "name": manifest.name,
        "version": manifest.version,
        "sha256": manifest.identity.sha256,
        "operating_point": manifest.default_operating_point,
    } | change
    rows = pa.Table.from_pandas(table, preserve_index=False)
    facts = {"model": identity, "dataset": "0" * 64}
    run = facts if site is None else facts | {"calibration": site}
    pq.write_table(rows.replace_schema_metadata({METADATA: json.dumps(run).encode()}), file)
    return file


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def calibrate(out: Path, *arguments: object) -> Result:
    return run("calibrate", *arguments, "--out", out, "--replicates", 50)


class TestFit:
    def drawn(self, count: int) -> tuple[FloatArray, IntArray]:
        table = films(count)
        return table["logit"].to_numpy(), table["label"].to_numpy(dtype=np.int64)

    def test_recovers_the_temperature_and_bias_that_made_the_labels(self) -> None:
        found = fit(*self.drawn(40_000))
        assert found.temperature == pytest.approx(TEMPERATURE, rel=0.05)
        assert found.bias == pytest.approx(BIAS, abs=0.05)

    def test_separable_logits_do_not_become_certainties(self) -> None:
        labels = np.repeat(np.array([0, 1], dtype=np.int64), 50)
        found = fit(np.where(labels == 1, 9.0, -9.0), labels)
        assert found.probability(9.0) == pytest.approx(51 / 52, abs=1e-3)

    def test_logits_that_fall_with_pneumonia_say_nothing_but_the_prevalence(self) -> None:
        logits, labels = self.drawn(4_000)
        found = fit(-logits, labels)
        assert found.temperature == pytest.approx(100.0)
        assert found.probability(0.0) == pytest.approx(labels.mean(), abs=0.05)


def test_measures_have_their_intervals_around_them() -> None:
    table = films(400)
    labels = table["label"].to_numpy(dtype=np.int64)
    probabilities = table["probability"].to_numpy()
    found = measure_probabilities(
        labels, probabilities, Resampling(replicates=200, seed=1, patients=None)
    )
    assert found.ece.value == expected_calibration_error(labels, probabilities)
    assert found.brier.value == pytest.approx(((probabilities - labels) ** 2).mean())
    for measured in (found.ece, found.brier, found.nll):
        assert measured.low < measured.value < measured.high


def test_few_films_have_a_calibration_error_however_perfect_the_probabilities() -> None:
    probabilities = np.random.default_rng(1).random(20_000)
    few = least_calibration_error(probabilities[:150], replicates=200, seed=1)
    many = least_calibration_error(probabilities, replicates=50, seed=1)
    assert many.value < 0.02 < few.low < few.value < few.high


class TestCommand:
    def test_file_says_what_was_fitted_and_names_nobody(
        self, tmp_path: Path, tiny_model: Path
    ) -> None:
        scores = write(films(1_000), tmp_path / "s.parquet", tiny_model)
        result = calibrate(tmp_path / "site.json", scores)
        assert result.exit_code == 0, result.output
        found = json.loads((tmp_path / "site.json").read_text())
        manifest = Manifest.load(tiny_model / "manifest.json")
        assert found["model"]["sha256"] == manifest.sha256["model.onnx"]
        assert found["calibration"]["temperature"] == pytest.approx(TEMPERATURE, rel=0.25)
        assert (found["films"], found["schema_version"]) == (1_000, 1)
        names = [point["name"] for point in found["operating_points"]]
        assert names == ["balanced", "sensitive", "specific"]
        assert set(found) == {
            "schema_version", "model", "calibration", "operating_points", "films", "positives",
            "date", "nanocxr",
        }  # fmt: skip
        assert SiteCalibration.open(tmp_path / "site.json", manifest).identity.films == 1_000
        assert sorted(file.name for file in tmp_path.iterdir()) == ["s.parquet", "site.json"]

    def test_prints_that_held_out_films_are_read_better(
        self, tmp_path: Path, tiny_model: Path
    ) -> None:
        scores = write(films(1_000), tmp_path / "s.parquet", tiny_model)
        lines = calibrate(tmp_path / "site.json", scores).stdout.splitlines()
        before, after = (
            float(re.findall(r"\d\.\d+", line)[0])
            for line in lines
            if line.startswith(("before", "after"))
        )
        assert after < before / 2

    def test_asked_rates_move_the_thresholds(self, tmp_path: Path, tiny_model: Path) -> None:
        scores = write(films(1_000), tmp_path / "s.parquet", tiny_model)
        thresholds = []
        for rate in (0.8, 0.95):
            asked = ("--sensitivity", rate, "--specificity", rate)
            calibrate(tmp_path / "site.json", scores, *asked)
            points = json.loads((tmp_path / "site.json").read_text())["operating_points"]
            thresholds.append([point["threshold"] for point in points[1:]])
        assert thresholds[1][0] < thresholds[0][0]
        assert thresholds[1][1] > thresholds[0][1]

    def test_films_without_a_reading_or_a_label_are_left_out_and_counted(
        self, tmp_path: Path, tiny_model: Path
    ) -> None:
        table = films(300)
        table.loc[:4, ["error", "logit", "probability"]] = ["not_frontal", None, None]
        table.loc[10:12, "label"] = None
        table.loc[20, ["sha256", "label"]] = table.loc[21, ["sha256", "label"]]
        scores = write(table, tmp_path / "s.parquet", tiny_model)
        result = calibrate(tmp_path / "site.json", scores)
        assert "291 films" in result.stdout
        assert "left out: 5 unread, 3 unlabelled, 1 repeated" in result.stdout

    def test_labels_may_be_text_in_another_column(self, tmp_path: Path, tiny_model: Path) -> None:
        table = films(300).rename(columns={"label": "truth"})
        table["truth"] = table["truth"].astype(str)
        scores = write(table, tmp_path / "s.parquet", tiny_model)
        assert calibrate(tmp_path / "site.json", scores, "--label", "truth").exit_code == 0
        assert "no column label" in calibrate(tmp_path / "site.json", scores).stderr

    def test_films_of_one_patient_stay_together(self, tmp_path: Path, tiny_model: Path) -> None:
        scores = write(films(400), tmp_path / "s.parquet", tiny_model)
        result = calibrate(tmp_path / "site.json", scores, "--patient", "patient")
        assert result.exit_code == 0, result.output
        assert "p1" not in (tmp_path / "site.json").read_text() + result.output

    def test_warns_of_few_films_and_of_labels_that_mean_nothing(
        self, tmp_path: Path, tiny_model: Path
    ) -> None:
        table = films(150)
        table["label"] = table["label"].sample(frac=1, random_state=3).to_numpy()
        scores = write(table, tmp_path / "s.parquet", tiny_model)
        result = calibrate(tmp_path / "site.json", scores)
        assert result.exit_code == 0
        assert "fewer than 100" in result.stderr
        assert "by more than chance" in result.stderr

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t.head(30), "needs at least 20"),
            (lambda t: t.assign(label=1), "0 films of one class"),
            (lambda t: t.assign(label=t["label"] * 2), "neither 0 nor 1"),
            (lambda t: t.assign(label="Doe"), "neither 0 nor 1"),
            (lambda t: t.assign(logit=np.nan), "a service sends none"),
            (lambda t: t.assign(logit=t["logit"].where(t.index > 4)), "5 of 300 readings have no"),
            (lambda t: t.drop(columns="logit"), "no column logit"),
        ],
    )
    def test_unusable_scores_are_refused_and_nothing_is_written(
        self, tmp_path: Path, tiny_model: Path, change: Any, message: str
    ) -> None:
        scores = write(change(films(300)), tmp_path / "s.parquet", tiny_model)
        result = calibrate(tmp_path / "site.json", scores)
        assert result.exit_code == 1
        assert message in result.stderr
        assert "Doe" not in result.output
        assert not (tmp_path / "site.json").exists()

    def test_several_files_of_one_model_are_joined_and_of_several_refused(
        self, tmp_path: Path, tiny_model: Path
    ) -> None:
        first = write(films(200), tmp_path / "a.parquet", tiny_model)
        same = write(films(200, seed=2), tmp_path / "b.parquet", tiny_model)
        other = write(films(200, seed=3), tmp_path / "c.parquet", tiny_model, sha256="b" * 64)
        assert "400 films" in calibrate(tmp_path / "site.json", first, same).stdout
        result = calibrate(tmp_path / "other.json", first, other)
        assert result.exit_code == 1
        assert "several models" in result.stderr

    def test_files_of_several_calibrations_are_refused(
        self, tmp_path: Path, tiny_model: Path
    ) -> None:
        own = write(films(200), tmp_path / "a.parquet", tiny_model)
        site = write(films(200, seed=2), tmp_path / "b.parquet", tiny_model, "c" * 64)
        result = calibrate(tmp_path / "site.json", own, site)
        assert result.exit_code == 1
        assert "several calibrations" in result.stderr

    def test_films_with_both_labels_are_refused(self, tmp_path: Path, tiny_model: Path) -> None:
        table = films(200)
        other = table.head(3).assign(label=1 - table["label"].head(3))
        names = ("a.parquet", "b.parquet")
        files = [
            write(rows, tmp_path / name, tiny_model)
            for rows, name in zip((table, other), names, strict=True)
        ]
        result = calibrate(tmp_path / "site.json", *files)
        assert result.exit_code == 1
        assert "3 films come with both labels" in result.stderr

    def test_scores_that_name_no_model_are_refused(self, tmp_path: Path) -> None:
        films(200).to_parquet(tmp_path / "s.parquet")
        result = calibrate(tmp_path / "site.json", tmp_path / "s.parquet")
        assert result.exit_code == 1
        assert "does not name its model" in result.stderr

    @pytest.mark.parametrize("wrong", [("--sensitivity", 1), ("--specificity", 0), ("--nothing",)])
    def test_wrong_usage_is_exit_status_2(
        self, tmp_path: Path, tiny_model: Path, wrong: tuple[object, ...]
    ) -> None:
        scores = write(films(200), tmp_path / "s.parquet", tiny_model)
        assert calibrate(tmp_path / "site.json", scores, *wrong).exit_code == 2


def test_scores_have_the_probabilities_of_the_site(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: calibrate, score with it, and be refused with another calibration."""
    site, images, out = tmp_path / "site.json", tmp_path / "images", tmp_path / "o.parquet"
    calibrate(site, write(films(500), tmp_path / "s.parquet", tiny_model))
    write_images(images, 4)
    command = ("score", images, "--model", tiny_model, "--out", out)
    run(*command, "--calibration", site)
    scaling = json.loads(site.read_text())["calibration"]
    read = pd.read_parquet(out).dropna(subset="probability")
    assert len(read)
    expected = expit(read["logit"] / scaling["temperature"] + scaling["bias"])
    np.testing.assert_allclose(read["probability"], expected)
    refused = run(*command)
    assert refused.exit_code == 2
    assert "What differs: the calibration (was" in refused.stderr
    monkeypatch.setenv("CXR_CALIBRATION", str(site))
    assert run(*command).exit_code in (0, 3)


def test_numbers_of_evaluation_name_the_calibration(tmp_path: Path, tiny_model: Path) -> None:
    scores = write(films(40), tmp_path / "s.parquet", tiny_model, site="c" * 64)
    result = run("evaluate", scores, "--replicates", 10, "--json", tmp_path / "n.json")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "n.json").read_text())["run"]["calibration"] == "c" * 64

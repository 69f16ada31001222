"""`cxr-train experiment`: arms from data set to comparison report, on tiny sets."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from tests.sources import ROOT, files
from tests.training.model_run import LIGHT_TOML, Run, write_dataset
from training.cli.main import cli
from training.config import Config, InvalidConfig
from training.experiment import ExperimentMismatch, compare, parse_arms, train_arms

ABLATIONS = ROOT / "training" / "configs" / "ablations"
ARMS = ("tiny", "roentgen-v2")


def write_data_sets(root: Path) -> None:
    """The phantom's and a copy, which has no masks."""
    write_dataset(root / "phantom")
    shutil.copytree(root / "phantom", root / "roentgen-v2")
    table = pd.read_parquet(root / "phantom" / "manifest.parquet")
    table = table.assign(mask="", generator="roentgen-v2")
    table.to_parquet(root / "roentgen-v2" / "manifest.parquet")


def write_config(root: Path, mask_weight: float = 0.0) -> Path:
    text = LIGHT_TOML.format(folder=root / "phantom").replace("steps = 6", "steps = 2")
    text = text.replace("mask_weight = 0.5", f"mask_weight = {mask_weight}")
    (root / "experiment.toml").write_text(text)
    return root / "experiment.toml"


def invoke(root: Path, config: Path, arms: list[Path]) -> Result:
    options = ["--data", root / "labels.csv", "--out", root / "comparison", "--by", "site"]
    options += ["--runs", root / "runs", "--models", root / "models"]
    named = [word for arm in arms for word in ("--arm", f"{arm.stem}={arm}")]
    return CliRunner().invoke(cli, ["experiment", str(config), *named, *map(str, options)])


def test_an_arm_that_is_missing_is_made_and_all_end_in_one_report(
    tmp_path: Path, packaged: Run
) -> None:
    """A configuration whose model is there, and a data set for the common recipe."""
    write_data_sets(tmp_path)
    config = write_config(tmp_path)
    models = [tmp_path / "models" / name / "1" for name in ARMS]
    shutil.copytree(packaged.model, models[0])
    before = {path: path.stat().st_mtime_ns for path in files(models[0])}
    # Too few images for a map of features, which costs more than a model here.
    table = pd.read_parquet(tmp_path / "phantom" / "manifest.parquet").head(8)
    labels = table[["label"]].assign(path="phantom/" + table["path"], site="A")
    labels.to_csv(tmp_path / "labels.csv", index=False)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "precision.json").write_text('{"precision": "bfloat16"}')

    done = invoke(tmp_path, config, [packaged.toml, tmp_path / "roentgen-v2"])
    assert done.exit_code == 0, done.output
    report = tmp_path / "comparison" / "report.html"
    assert done.stdout.splitlines() == [str(path) for path in [*models, report]]
    page = report.read_text()
    numbers = (tmp_path / "comparison" / "compare.json").read_text()
    for name in ARMS:
        assert name in page
        assert name in numbers
    assert {path: path.stat().st_mtime_ns for path in files(models[0])} == before
    facts = json.loads((models[1] / "manifest.json").read_text())["provenance"]
    assert list(facts["dataset"]["images"]) == ["roentgen-v2"]
    assert facts["weights"]["step"] == 2
    assert facts["weights"]["precision"] == "bfloat16"  # and not what so few steps have alone
    assert facts["config"]["fit"]["architecture"] == "lite0"
    assert facts["config"]["name"] == "roentgen-v2"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets of two arms."""
    root = tmp_path_factory.mktemp("experiment")
    write_data_sets(root)
    return root


class TestRefusals:
    def arms(self, root: Path) -> dict[str, Path]:
        return parse_arms([f"{name}={root / name}" for name in ("roentgen-v2", "phantom")])

    def test_the_mask_loss_needs_masks_in_every_arm(self, root: Path, tmp_path: Path) -> None:
        config = Config.load(write_config(tmp_path, mask_weight=0.5))
        with pytest.raises(
            ExperimentMismatch, match=r"roentgen-v2 has 40 images .* mask_weight = 0"
        ):
            train_arms(config, self.arms(root), tmp_path / "runs", tmp_path / "models", "1")
        assert not (tmp_path / "runs").exists()

    def test_another_run_or_model_in_the_place_is_refused(self, root: Path, tmp_path: Path) -> None:
        config = Config.load(write_config(tmp_path))
        runs, models = tmp_path / "runs", tmp_path / "models"
        (runs / "phantom").mkdir(parents=True)
        (runs / "phantom" / "weights.pt").touch()
        with pytest.raises(ExperimentMismatch, match="no arm of an experiment"):
            train_arms(config, self.arms(root), runs, models, "1")
        (runs / "phantom" / "arm.json").write_text("{}")
        with pytest.raises(ExperimentMismatch, match="other data or another configuration"):
            train_arms(config, self.arms(root), runs, models, "1")

    def test_a_packaged_model_of_another_recipe_is_refused(
        self, root: Path, tmp_path: Path, packaged: Run
    ) -> None:
        config = Config.load(write_config(tmp_path))
        shutil.copytree(packaged.model, tmp_path / "models" / "phantom" / "1")
        with pytest.raises(ExperimentMismatch, match="another --version"):
            train_arms(config, self.arms(root), tmp_path / "runs", tmp_path / "models", "1")

    def test_a_precision_that_is_none_is_refused(self, root: Path, tmp_path: Path) -> None:
        config = Config.load(write_config(tmp_path))
        (tmp_path / "runs").mkdir()
        (tmp_path / "runs" / "precision.json").write_text('{"precision": "bf16"}')
        with pytest.raises(ExperimentMismatch, match="'bf16', which is no precision"):
            train_arms(config, self.arms(root), tmp_path / "runs", tmp_path / "models", "1")
        assert not (tmp_path / "runs" / "phantom").exists()

    def test_arms_have_names_and_manifests(self, root: Path, tmp_path: Path) -> None:
        good = f"phantom={root / 'phantom'}"
        for texts, message in (
            ([good], "at least two"),
            ([good, good], "two arms"),
            ([good, str(root)], "NAME=FOLDER"),
            ([good, f"a/b={root / 'phantom'}"], "NAME=FOLDER"),
            ([good, f"empty={tmp_path}"], "manifest.parquet"),
        ):
            with pytest.raises(ExperimentMismatch, match=message):
                parse_arms(texts)

    def test_the_old_name_says_the_new_one(self, root: Path, tmp_path: Path) -> None:
        config = write_config(tmp_path)
        options = ["--arm", f"one={root / 'phantom'}", "--data", str(root), "--out", str(tmp_path)]
        result = CliRunner().invoke(cli, ["study", str(config), *options])
        assert result.exit_code == 1
        assert "It is called `cxr-train experiment` now." in result.stderr
        assert "at least two arms" in result.stderr
        assert "study" not in CliRunner().invoke(cli, ["--help"]).stdout

    def test_a_comparison_that_fails_says_so(self, tmp_path: Path, packaged: Run) -> None:
        (tmp_path / "labels.csv").write_text("path\nabsent.png\n")
        models = {"one": packaged.model, "other": packaged.model}
        with pytest.raises(ExperimentMismatch, match="`cxr compare` ended with status 1"):
            compare(models, tmp_path / "labels.csv", tmp_path / "comparison", [])


def test_a_base_of_a_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(LIGHT_TOML.format(folder="data"))
    (tmp_path / "b.toml").write_text('base = "a.toml"\n')
    (tmp_path / "c.toml").write_text('base = "b.toml"\n')
    with pytest.raises(InvalidConfig, match="base of its own"):
        Config.load(tmp_path / "c.toml")


@pytest.mark.parametrize("path", files(ABLATIONS, "*.toml"), ids=lambda path: path.stem)
def test_every_ablation_differs_from_the_base_in_one_section(path: Path) -> None:
    base, own = Config.load(ABLATIONS / "base.toml"), Config.load(path)
    sections = ("dataset", "input", "augment", "fit", "lung_detail", "members", "seed")
    differing = [name for name in sections if getattr(base, name) != getattr(own, name)]
    assert len(differing) == (path.stem != "base")

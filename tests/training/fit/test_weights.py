"""A run is released by the configuration that trained it, and by no other."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from service.model.manifest import Manifest
from tests.training.model_run import DETAIL, LIGHT_TOML, MEMBER, Run, write_config
from training.cli.main import cli
from training.config import Config
from training.fit.distributed import Rank
from training.fit.optimisation import Training, new_network
from training.fit.train import fit
from training.fit.weights import as_trained, load_weights, made_by
from training.release.export import export
from training.release.package import package
from training.release.verify import verify

ALONE = Rank(number=0, world=1, device=torch.device("cpu"))


def started_from(config: Config, init: str) -> Config:
    return dataclasses.replace(config, fit=dataclasses.replace(config.fit, init=init))


Release = Callable[[Config, Path, Path], object]
RELEASES: dict[str, Release] = {
    "export": lambda config, run, _: export(config, run),
    "package": package,
    "verify": verify,
}


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> Release:
    return RELEASES[request.param]


class TestConfiguration:
    def test_another_seed_or_split_than_trained_is_refused(
        self, packaged: Run, tmp_path: Path, release: Release
    ) -> None:
        dataset = dataclasses.replace(packaged.config.dataset, validation=0.2)
        for changed in ({"seed": 8}, {"dataset": dataset}):
            config = dataclasses.replace(packaged.config, **changed)
            with pytest.raises(ValueError, match=r"weights\.pt was made by another configuration"):
                release(config, packaged.folder, tmp_path / "tiny" / "1")

    def test_holds_for_every_network(self, packaged: Run, tmp_path: Path) -> None:
        config = dataclasses.replace(packaged.config, members=(MEMBER,), lung_detail=DETAIL)
        for own, folder in config.networks(tmp_path):
            folder.mkdir(exist_ok=True)
            torch.save(made_by(own), folder / "weights.pt")
        assert as_trained(config, tmp_path) == config
        weighed = dataclasses.replace(MEMBER, counts=2.0)  # of how they are joined
        as_trained(dataclasses.replace(config, members=(weighed,)), tmp_path)
        for other in (
            dataclasses.replace(MEMBER, steps=3),
            dataclasses.replace(MEMBER, init="imagenet"),
            dataclasses.replace(MEMBER, init="imagenet", trainings=2),
        ):
            with pytest.raises(ValueError, match=r"companion-1/weights\.pt was made by another"):
                as_trained(dataclasses.replace(config, members=(other,)), tmp_path)

    def test_several_trainings_are_not_one(self, packaged: Run, tmp_path: Path) -> None:
        config = started_from(packaged.config, "imagenet")
        torch.save(made_by(config) | {"trainings": 2}, tmp_path / "weights.pt")
        with pytest.raises(ValueError, match="another configuration"):
            as_trained(config, tmp_path)

    def test_weights_from_before_it_was_kept_are_taken(self, packaged: Run, tmp_path: Path) -> None:
        torch.save({}, tmp_path / "weights.pt")
        assert as_trained(packaged.config, tmp_path) == packaged.config


class TestDataSet:
    def moved(self, run: Run, folder: Path) -> Config:
        """The run's configuration with a copy of its data set."""
        shutil.copytree(run.config.dataset.folder, folder)
        dataset = dataclasses.replace(run.config.dataset, folder=folder)
        return dataclasses.replace(run.config, dataset=dataset)

    def test_that_was_moved_is_the_same(self, packaged: Run, tmp_path: Path) -> None:
        config = self.moved(packaged, tmp_path / "moved")
        assert as_trained(config, packaged.folder) == config
        fit(config, packaged.folder)  # nothing is left to do
        state = load_weights(packaged.folder)
        del state["manifest_sha256"]  # then the folder is all that is known of it
        torch.save(state, tmp_path / "weights.pt")
        with pytest.raises(ValueError, match="another configuration"):
            as_trained(config, tmp_path)

    def test_that_is_another_one_is_refused(
        self, packaged: Run, tmp_path: Path, release: Release
    ) -> None:
        config = self.moved(packaged, tmp_path / "data")
        manifest = tmp_path / "data" / "manifest.parquet"
        pd.read_parquet(manifest).iloc[2:].to_parquet(manifest)
        with pytest.raises(
            ValueError, match=r"weights\.pt was made with another data set than .*d"
        ):
            release(config, packaged.folder, tmp_path / "tiny" / "1")
        with pytest.raises(ValueError, match="run was made with another data set"):
            fit(config, packaged.folder)

    def test_a_checkpoint_goes_on_with_its_own(self, packaged: Run, tmp_path: Path) -> None:
        config = self.moved(packaged, tmp_path / "data")
        manifest = tmp_path / "data" / "manifest.parquet"
        begun = Training(config, ALONE, torch.float32)
        whole = manifest.read_bytes()
        pd.read_parquet(manifest).iloc[2:].to_parquet(manifest)
        torch.save(begun.state() | {"step": 3}, tmp_path / "checkpoint.pt")
        with pytest.raises(ValueError, match=r"checkpoint\.pt was made with another data set"):
            Training(config, ALONE, torch.float32).resume(tmp_path / "checkpoint.pt")
        manifest.write_bytes(whole)
        begun.resume(tmp_path / "checkpoint.pt")
        assert begun.step == 3


class TestStartGivenInstead:
    def test_fit_keeps_it(self, packaged: Run, tmp_path: Path) -> None:
        toml, start = tmp_path / "tiny.toml", tmp_path / "start.pt"
        text = LIGHT_TOML.replace("steps = 6", "steps = 1")
        config = write_config(toml, packaged.config.dataset.folder, text)
        torch.save({"model": new_network(config).state_dict()}, start)
        arguments = ["fit", str(toml), "--run", str(tmp_path / "run"), "--init", str(start)]
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, done.output
        assert as_trained(config, tmp_path / "run") == started_from(config, str(start))

    def test_is_packaged_and_in_the_provenance(self, packaged: Run, tmp_path: Path) -> None:
        run, start = tmp_path / "run", str(tmp_path / "start.pt")
        shutil.copytree(packaged.folder, run)
        trained = made_by(started_from(packaged.config, start))
        taught = {"precision": "bfloat16", "teachers": ["0" * 64]}
        torch.save(load_weights(run) | trained | taught, run / "weights.pt")
        model = package(packaged.config, run, tmp_path / "tiny" / "1")
        facts = Manifest.load(model / "manifest.json").provenance
        assert facts["config"]["fit"]["init"] == "start.pt"
        assert taught.items() <= facts["weights"].items()
        assert "trainings" not in facts["weights"]  # it is no mean of several
        again = dataclasses.replace(packaged.config, seed=8)
        with pytest.raises(ValueError, match="another configuration"):
            package(again, run, tmp_path / "tiny" / "2")

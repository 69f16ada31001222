"""A run is released by the configuration that trained it, and by no other."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from service.model.manifest import Manifest
from tests.training.model_run import LIGHT_TOML, Run, write_config
from training.cli.main import cli
from training.config import Config, LungDetailConfig, MemberConfig
from training.fit.optimisation import new_network
from training.fit.weights import as_trained, load_weights, made_by
from training.release.export import export
from training.release.package import package
from training.release.verify import verify

DETAIL = LungDetailConfig(crop=0.95, weight=1.0, children=False, phantoms=4, steps=2)
MEMBER = MemberConfig(
    size=32, seed=2, architecture="resnet18", blocks=4, init="random",
    generators=(), channels=("ranks",), drop_channel=0.0, steps=2, learning_rate=1e-3,
    probe_steps=0, freeze=0, pull=0.0, blend=1.0, average=0.9,
)  # fmt: skip


def started_from(config: Config, init: str) -> Config:
    return dataclasses.replace(config, fit=dataclasses.replace(config.fit, init=init))


class TestConfiguration:
    @pytest.mark.parametrize(
        "release",
        [
            export,
            lambda *run: package(*run, run[1] / "tiny" / "1"),
            lambda *run: verify(*run, run[1]),
        ],
        ids=["export", "package", "verify"],
    )
    @pytest.mark.parametrize("share", [None, 0.2])
    def test_another_seed_or_split_than_trained_is_refused(
        self, packaged: Run, tmp_path: Path, release: Callable[..., object], share: float | None
    ) -> None:
        shutil.copytree(packaged.folder, tmp_path / "run")
        config = dataclasses.replace(packaged.config, seed=8)
        if share:
            dataset = dataclasses.replace(packaged.config.dataset, validation=share)
            config = dataclasses.replace(packaged.config, dataset=dataset)
        with pytest.raises(ValueError, match=r"run/weights\.pt was made by another configuration"):
            release(config, tmp_path / "run")

    def test_holds_for_every_network(self, packaged: Run, tmp_path: Path) -> None:
        config = dataclasses.replace(packaged.config, members=(MEMBER,), lung_detail=DETAIL)
        for own, folder in config.networks(tmp_path):
            folder.mkdir(exist_ok=True)
            torch.save(made_by(own), folder / "weights.pt")
        assert as_trained(config, tmp_path) == config
        weighed = dataclasses.replace(MEMBER, counts=2.0)  # of how they are joined
        as_trained(dataclasses.replace(config, members=(weighed,)), tmp_path)
        for changed in ({"steps": 3}, {"trainings": 2, "init": "imagenet"}, {"init": "imagenet"}):
            other = dataclasses.replace(MEMBER, **changed)
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
        torch.save(load_weights(run) | trained, run / "weights.pt")
        model = package(packaged.config, run, tmp_path / "tiny" / "1")
        recipe = Manifest.load(model / "manifest.json").provenance["config"]["fit"]
        assert recipe["init"] == "start.pt"
        again = dataclasses.replace(packaged.config, seed=8)
        with pytest.raises(ValueError, match="another configuration"):
            package(again, run, tmp_path / "tiny" / "2")

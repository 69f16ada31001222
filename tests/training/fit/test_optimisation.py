"""How near to its start weights a recipe keeps a network."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import default_collate

from tests.training.model_run import write_config, write_dataset
from training.config import Config, InvalidConfig
from training.fit.dataset import PairedBatches, TrainingImages, load_splits
from training.fit.distributed import Rank
from training.fit.optimisation import PROBE_RATE, Training, learning_rate, moving_average
from training.networks.resnet import ResNet

ALONE = Rank(number=0, world=1, device=torch.device("cpu"))
HEAD = ("backbone.fc", "mask_")
Batch = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Six blocks of Lite0 from ImageNet: two steps of the linear layer, four of all."""
    root = tmp_path_factory.mktemp("optimisation")
    write_dataset(root / "data")
    tiny = write_config(root / "tiny.toml", root / "data")
    fit = dataclasses.replace(
        tiny.fit, architecture="lite0", blocks=6, init="imagenet", steps=4, probe_steps=2
    )
    return dataclasses.replace(tiny, fit=fit)


@pytest.fixture(scope="module")
def batches(config: Config) -> list[Batch]:
    train = load_splits(config)["train"]
    images = TrainingImages(train, config)
    keys = PairedBatches(train, config.fit, config.fit.seed, first=0, rank=ALONE)
    return [default_collate([images[key] for key in batch]) for batch in keys]


def changed(config: Config, **fields: object) -> Config:
    return dataclasses.replace(config, fit=dataclasses.replace(config.fit, **fields))  # type: ignore[arg-type]


def run(config: Config, batches: list[Batch], steps: int) -> Training:
    training = Training(config, ALONE, torch.float32)
    for batch in batches[:steps]:
        training.advance(*batch)
    return training


def weights(training: Training) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in training.network.state_dict().items()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


class TestProbe:
    def test_the_linear_layer_learns_alone_and_then_all_do(
        self, config: Config, batches: list[Batch]
    ) -> None:
        assert len(batches) == 6
        training = run(config, batches, 0)
        start = weights(training)
        for batch in batches[:2]:
            training.advance(*batch)
        probed = weights(training)
        assert moved(start, probed)
        assert all(name.startswith(HEAD) for name in moved(start, probed))
        training.advance(*batches[2])
        assert {"backbone.stem.0.weight", "backbone.fc.weight"} <= moved(probed, weights(training))

    def test_each_phase_has_a_schedule_of_its_own(self, config: Config) -> None:
        fit = dataclasses.replace(config.fit, probe_steps=3)
        rates = [learning_rate(fit, step) for step in range(7)]
        assert rates[0] == PROBE_RATE
        assert rates[2] < PROBE_RATE
        assert rates[3] == fit.learning_rate
        assert rates[3:] == sorted(rates[3:], reverse=True)

    def test_a_run_that_was_cut_between_the_phases_goes_on_alike(
        self, config: Config, batches: list[Batch], tmp_path: Path
    ) -> None:
        near = changed(config, pull=0.1, blend=0.5)
        whole = run(near, batches, 6)
        for cut in (1, 2, 3):
            torch.save(run(near, batches, cut).state(), tmp_path / "checkpoint.pt")
            rest = Training(near, ALONE, torch.float32)
            rest.resume(tmp_path / "checkpoint.pt")
            for batch in batches[cut:]:
                rest.advance(*batch)
            for name, value in whole.final()["model"].items():
                torch.testing.assert_close(rest.final()["model"][name], value, rtol=1e-4, atol=1e-5)


class TestFrozen:
    def test_blocks_and_their_batch_norms_stay_as_they_are(
        self, config: Config, batches: list[Batch]
    ) -> None:
        frozen = changed(config, freeze=4, probe_steps=0)
        start = weights(run(frozen, batches, 0))
        names = moved(start, weights(run(frozen, batches, 2)))
        early = ("backbone.stem", *(f"backbone.blocks.{number}." for number in range(4)))
        assert names
        assert not [name for name in names if name.startswith(early)]
        assert "backbone.blocks.4.expand.0.weight" in names

    def test_of_a_resnet_are_its_layers(self) -> None:
        network = ResNet("resnet18", 1)
        assert network.first(0) == []
        assert network.first(2) == [network.conv1, network.bn1, network.layer1, network.layer2]

    def test_imagenets_statistics_are_kept_in_all_blocks(
        self, config: Config, batches: list[Batch]
    ) -> None:
        open_to_all = changed(config, probe_steps=0)
        start = weights(run(open_to_all, batches, 0))
        names = moved(start, weights(run(open_to_all, batches, 2)))
        assert "backbone.blocks.5.project.1.weight" in names
        assert not [name for name in names if "running" in name]


def distance(training: Training, start: dict[str, Tensor]) -> float:
    return sum(
        float((value.detach() - start[name]).square().sum())
        for name, value in training.network.named_parameters()
        if not name.startswith(HEAD)
    )


class TestPull:
    def test_keeps_weights_nearer_to_their_start(
        self, config: Config, batches: list[Batch]
    ) -> None:
        free, pulled = (changed(config, probe_steps=0, pull=pull) for pull in (0.0, 100.0))
        start = weights(run(free, batches, 0))
        assert distance(run(pulled, batches, 4), start) < 0.7 * distance(
            run(free, batches, 4), start
        )

    def test_costs_nothing_at_the_start(self, config: Config, batches: list[Batch]) -> None:
        losses = [
            Training(changed(config, probe_steps=0, pull=pull), ALONE, torch.float32).advance(
                *batches[0]
            )
            for pull in (0.0, 100.0)
        ]
        assert losses[0] == losses[1]


class TestBlend:
    def test_mixes_the_end_with_what_the_probe_left(
        self, config: Config, batches: list[Batch]
    ) -> None:
        probed = weights(run(config, batches, 2))
        end, half, none = (
            run(changed(config, blend=blend), batches, 6).final()["model"]
            for blend in (1.0, 0.5, 0.0)
        )
        for name, value in probed.items():
            if value.is_floating_point():
                torch.testing.assert_close(none[name], value)
                torch.testing.assert_close(half[name], (value + end[name]) / 2)
        assert "backbone.fc.weight" in moved(none, end)


class TestConfig:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"architecture": "resnet34"}, "none of resnet18, resnet50, lite0"),
            ({"blocks": 5}, "6 to 16"),
            ({"architecture": "resnet18", "blocks": 3}, "4 to 4"),
            ({"freeze": 7}, "0 to 6"),
            ({"probe_steps": -1}, "negative"),
            ({"pull": -0.1}, "negative"),
            ({"blend": 1.1}, "blend"),
            ({"init": "random"}, "init is random"),
        ],
    )
    def test_recipes_that_make_no_sense_are_refused(
        self, config: Config, wrong: dict[str, object], message: str
    ) -> None:
        with pytest.raises(InvalidConfig, match=message):
            changed(config, **wrong)


def test_a_long_average_of_a_short_run_forgets_its_start() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    average = AveragedModel(network, multi_avg_fn=moving_average(0.999), use_buffers=True)
    values = []
    for step in range(2000):
        torch.nn.init.constant_(network.weight, 0.0 if step in (0, 1999) else 1.0)
        average.update_parameters(network)
        values.append(next(average.parameters()).item())
    assert values[50] > 0.99  # 0.05 with a decay of 0.999 from the first step
    assert values[-1] == pytest.approx(0.995, abs=0.001)  # (1 + n) / (10 + n) of n = 1,999

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch.utils.data import default_collate

from tests.training.model_run import LIGHT_TOML, interrupted, write_config, write_dataset
from training.config import Config
from training.fit.dataset import PairedBatches, TrainingImages, load_splits
from training.fit.distributed import Rank
from training.fit.optimisation import Training
from training.fit.precision import (
    PRECISIONS,
    autocast,
    choose_precision,
    faster,
    measure,
    precision_of,
    trial,
)
from training.fit.train import fit, load_network, mean_of
from training.networks.pneumonia import PneumoniaNet

ALONE = Rank(number=0, world=1, device=torch.device("cpu"))
SHAPE = (4, 1, 64, 64)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    write_dataset(tmp_path / "data")
    return write_config(tmp_path / "tiny.toml", tmp_path / "data", LIGHT_TOML)


@pytest.fixture
def network() -> PneumoniaNet:
    torch.manual_seed(0)
    return PneumoniaNet("lite0", 6, mean=0.5, std=0.29).to(memory_format=torch.channels_last)


class Watch:
    """A clock that only steps move, each by the seconds of its precision; the first is slow."""

    def __init__(self, bfloat16: float, float32: float) -> None:
        self.now = 0.0
        self.due = {torch.bfloat16: bfloat16, torch.float32: float32}
        self.warm: set[torch.dtype] = set()

    def __call__(self) -> float:
        return self.now

    def step(self, precision: torch.dtype) -> None:
        self.now += self.due[precision] if precision in self.warm else 100 * self.due[precision]
        self.warm.add(precision)


@pytest.mark.parametrize(
    ("bfloat16", "float32", "chosen"),
    [(1.0, 2.0, torch.bfloat16), (15.0, 1.0, torch.float32), (1.5, 0.5, torch.float32)],
)
def test_the_faster_step_is_chosen_and_warming_up_does_not_count(
    bfloat16: float, float32: float, chosen: torch.dtype
) -> None:
    watch = Watch(bfloat16, float32)
    seconds = measure(watch.step, watch)
    assert seconds == pytest.approx([bfloat16, float32])
    assert faster(seconds) is chosen


def test_one_of_both_is_chosen_for_a_network(network: PneumoniaNet) -> None:
    assert choose_precision(network, SHAPE, ALONE) in PRECISIONS


@pytest.mark.parametrize(("has", "chosen"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_gpu_that_only_emulates_bfloat16_takes_float32(
    network: PneumoniaNet, monkeypatch: pytest.MonkeyPatch, has: bool, chosen: torch.dtype
) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: has or including_emulation
    )
    gpu = Rank(number=0, world=1, device=torch.device("cuda"))
    assert choose_precision(network, SHAPE, gpu) is chosen


def test_a_trial_computes_gradients_in_each_precision(network: PneumoniaNet) -> None:
    seen = []
    network.backbone.fc.register_forward_hook(lambda *call: seen.append(call[2].dtype))
    step = trial(network, SHAPE)
    for precision in PRECISIONS:
        step(precision)
    assert seen == list(PRECISIONS)


def test_measuring_changes_neither_network_nor_random_numbers(network: PneumoniaNet) -> None:
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    numbers = torch.get_rng_state()
    choose_precision(network, SHAPE, ALONE)
    assert torch.equal(torch.get_rng_state(), numbers)
    assert not network.training
    assert all(weights.grad is None for weights in network.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_run_is_the_same_whether_its_precision_was_measured_or_given(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.fit.optimisation.LONG", config.fit.steps)
    measured = Training(config, ALONE)
    given = Training(config, ALONE, measured.precision)
    train = load_splits(config)["train"]
    images = TrainingImages(train, config)
    keys = next(iter(PairedBatches(train, config.fit, config.fit.seed, first=0, rank=ALONE)))
    batch = default_collate([images[key] for key in keys])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order would differ
    losses = [training.advance(*batch) for training in (measured, given)]
    torch.set_num_threads(threads)
    assert losses[0] == losses[1]
    for name, value in measured.network.state_dict().items():
        assert torch.equal(value, given.network.state_dict()[name])


def test_a_run_too_short_to_gain_from_it_measures_nothing(config: Config) -> None:
    assert Training(config, ALONE).precision is torch.float32


def test_an_interrupted_run_goes_on_in_its_own(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a run as short would begin in the other one."""
    few = dataclasses.replace(config.fit, steps=2, batch=4, checkpoint_every=1)
    config, run = dataclasses.replace(config, fit=few), tmp_path / "run"
    with interrupted(lambda training: training.step == 1, monkeypatch):
        fit(config, run, torch.bfloat16)
    fit(config, run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["precision"] for line in lines] == ["bfloat16"] * 2
    assert torch.load(run / "weights.pt", weights_only=True)["precision"] == "bfloat16"


def test_a_checkpoint_from_before_it_was_kept_says_none(tmp_path: Path) -> None:
    torch.save({"step": 3}, tmp_path / "checkpoint.pt")
    assert precision_of(tmp_path / "checkpoint.pt") is None
    assert precision_of(tmp_path / "absent.pt") is None


def test_a_mean_names_the_precision_of_each_training() -> None:
    weights = {"bias": torch.zeros(1)}
    trained = [{"model": weights, "precision": name} for name in ("float32", "bfloat16", "float32")]
    assert mean_of(trained)["precision"] == "bfloat16, float32"


def test_both_precisions_learn_alike(config: Config, tmp_path: Path) -> None:
    """The same batches: what is left between the losses is rounding."""
    few = dataclasses.replace(config.fit, steps=12, batch=16, checkpoint_every=12)
    config = dataclasses.replace(config, fit=few)
    lines = {}
    for precision in PRECISIONS:
        run = tmp_path / str(precision)
        fit(config, run, precision)
        lines[precision] = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        assert load_network(run, config)
        assert torch.load(run / "weights.pt", weights_only=True)["precision"] in str(precision)
    low, full = (lines[precision] for precision in PRECISIONS)
    assert (low["precision"], full["precision"]) == ("bfloat16", "float32")
    assert low["loss"] == pytest.approx(full["loss"], rel=0.15)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_autocast_multiplies_in_the_precision_asked_for(precision: torch.dtype) -> None:
    with autocast(torch.device("cpu"), precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is precision

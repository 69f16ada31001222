import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import default_collate

from service.imaging.radiograph import Radiograph
from tests.factories import png_bytes
from tests.sources import ROOT, files
from tests.training.model_run import LIGHT_TOML, interrupted, write_config, write_dataset
from training.config import AugmentConfig, Config, InvalidConfig
from training.fit.augment import augment
from training.fit.dataset import (
    PairedBatches,
    TrainingImages,
    drawn_by,
    load_cells,
    load_splits,
)
from training.fit.distributed import Rank
from training.fit.optimisation import Training, learning_rate, new_network
from training.fit.train import fit, load_network, loaders
from training.stored import recorded_text

ALONE = Rank(number=0, world=1, device=torch.device("cpu"))
STILL = AugmentConfig(degrees=0, shift=0, scale=0, shade=0, gamma=0, blur=0, noise=0, cutout=0)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = tmp_path_factory.mktemp("fit")
    write_dataset(root / "data")
    return write_config(root / "tiny.toml", root / "data", LIGHT_TOML)


class TestConfig:
    def test_missing_value_names_the_section(self, tmp_path: Path, config: Config) -> None:
        path = tmp_path / "bad.toml"
        path.write_text('name = "x"\nseed = 1\n[dataset]\nfolder = "d"\nvalidation = 0.1\n')
        with pytest.raises(InvalidConfig, match=r"\[dataset\].*calibration"):
            Config.load(path)

    def test_committed_default_is_valid(self) -> None:
        default = Config.load(ROOT / "training" / "configs" / "default.toml")
        assert default.fit.architecture == "resnet50"

    def test_every_committed_configuration_is_valid(self) -> None:
        names = {Config.load(path).name for path in files(ROOT / "training" / "configs", "*.toml")}
        assert {"default", "lite0", "second-seed"} <= names


class TestSplits:
    def test_both_images_of_a_pair_stay_together(self, config: Config) -> None:
        splits = load_splits(config)
        groups = [set(frame["group"]) for frame in splits.values()]
        assert not groups[0] & groups[1]
        assert not groups[1] & groups[2]
        assert not groups[0] & groups[2]
        assert all(frame["label"].mean() == 0.5 for frame in splits.values())


class TestGenerators:
    FRAME = pd.DataFrame({"generator": ["phantom", "ct", "phantom"], "label": [0, 1, 1]})

    def test_only_the_images_of_the_named_are_learned_from(self) -> None:
        assert drawn_by(self.FRAME, ("phantom",))["label"].tolist() == [0, 1]
        assert drawn_by(self.FRAME, ("ct", "phantom"))["label"].tolist() == [0, 1, 1]

    def test_none_named_are_all(self) -> None:
        assert len(drawn_by(self.FRAME, ())) == 3

    def test_one_that_drew_nothing_is_named(self) -> None:
        with pytest.raises(ValueError, match="no image is by the generator roentgen"):
            drawn_by(self.FRAME, ("ct", "roentgen"))


class TestPairedBatches:
    def test_resumed_batches_are_those_of_an_uninterrupted_run(self, config: Config) -> None:
        train = load_splits(config)["train"]
        fit = dataclasses.replace(config.fit, batch=8, steps=12)
        whole = list(PairedBatches(train, fit, seed=1, first=0, rank=ALONE))
        rest = list(PairedBatches(train, fit, seed=1, first=5, rank=ALONE))
        assert whole[5:] == rest

    def test_each_pass_holds_every_image_once(self, config: Config) -> None:
        train = load_splits(config)["train"]
        fit = dataclasses.replace(config.fit, batch=2, steps=train["group"].nunique())
        batches = PairedBatches(train, fit, seed=1, first=0, rank=ALONE)
        keys = [key for batch in batches for key in batch]
        assert sorted(keys) == [(0, row) for row in range(len(train))]

    def test_ranks_share_the_batches_of_one_process(self, config: Config) -> None:
        train = load_splits(config)["train"]
        fit = dataclasses.replace(config.fit, batch=10, steps=6)
        whole = PairedBatches(train, fit, seed=1, first=0, rank=ALONE)
        shares = [
            PairedBatches(
                train, fit, seed=1, first=0, rank=dataclasses.replace(ALONE, number=n, world=2)
            )
            for n in (0, 1)
        ]
        for batch, one, other in zip(whole, *shares, strict=True):
            assert sorted(batch) == sorted(one + other)

    def test_of_pairs_are_what_they_always_were(self, config: Config) -> None:
        frame = pd.DataFrame({"group": [f"pair-{n // 2}" for n in range(20)], "label": [0, 1] * 10})
        fit = dataclasses.replace(config.fit, batch=6, steps=7)
        batches = [list(batch) for batch in PairedBatches(frame, fit, 5, first=0, rank=ALONE)]
        assert batches[0] == [(0, row) for row in (14, 15, 12, 13, 2, 3)]
        digest = hashlib.sha256(json.dumps(batches).encode()).hexdigest()
        assert digest == "b81f3acd822fd8e464e06d570aefb44c362206a7863494096e28f60aceacf29f"

    def test_of_single_images_are_as_large_and_balanced(self, config: Config) -> None:
        frame = pd.DataFrame({"group": [f"image-{n}" for n in range(24)], "label": [0, 1] * 12})
        fit = dataclasses.replace(config.fit, batch=8, steps=6)
        batches = list(PairedBatches(frame, fit, seed=1, first=0, rank=ALONE))
        for batch in batches:
            assert [row % 2 for _, row in batch] == [0, 1] * 4
        for draw in (0, 1):
            keys = [key for batch in batches[3 * draw : 3 * draw + 3] for key in batch]
            assert sorted(keys) == [(draw, row) for row in range(24)]
        partners = [dict(zip(b[::2], b[1::2], strict=True)) for b in batches]
        first, second = (
            {own[1]: other[1] for each in partners[n : n + 3] for own, other in each.items()}
            for n in (0, 3)
        )
        assert first != second
        rest = list(PairedBatches(frame, fit, seed=1, first=4, rank=ALONE))
        assert batches[4:] == rest

    def test_hold_what_has_no_partner_of_the_other_class(self, config: Config) -> None:
        """Three pairs, and single images: two with pneumonia, seven without."""
        groups = [*"aabbcc", *map(str, range(9))]
        frame = pd.DataFrame({"group": groups, "label": [0, 1] * 3 + [1] * 2 + [0] * 7})
        fit = dataclasses.replace(config.fit, batch=2, steps=7 * 20)
        batches = list(PairedBatches(frame, fit, seed=1, first=0, rank=ALONE))
        assert {len(batch) for batch in batches} == {2}
        for one_pass in (batches[start : start + 7] for start in range(0, len(batches), 7)):
            rows = [row for batch in one_pass for _, row in batch]
            assert len(set(rows)) == len(rows) == 14
            left_out = set(range(15)) - set(rows)
            assert left_out <= set(range(8, 15))
            labels = [sorted(frame["label"][[row for _, row in batch]]) for batch in one_pass]
            assert sorted(labels) == [[0, 0]] * 2 + [[0, 1]] * 5
        assert {row for batch in batches for _, row in batch} == set(range(15))

    def test_more_ranks_than_pairs_are_refused(self, config: Config) -> None:
        train = load_splits(config)["train"]
        fit = dataclasses.replace(config.fit, batch=2)
        with pytest.raises(ValueError, match="fewer pairs"):
            PairedBatches(train, fit, seed=1, first=0, rank=dataclasses.replace(ALONE, world=2))


class TestAugment:
    def test_without_changes_the_image_is_the_same(self) -> None:
        rng = np.random.default_rng(0)
        pixels = rng.random((40, 30), dtype=np.float32)
        film = Radiograph(pixels=pixels, format="PNG", photometric="L")
        changed, mask = augment(film, pixels, STILL, rng)
        np.testing.assert_allclose(changed.pixels, pixels, atol=1e-6)
        np.testing.assert_allclose(mask, pixels, atol=1e-6)

    def test_mask_moves_with_the_image(self) -> None:
        pixels = np.zeros((96, 96), np.float32)
        pixels[20:44, 50:74] = 1
        film = Radiograph(pixels=pixels, format="PNG", photometric="L")
        moving = dataclasses.replace(STILL, shift=0.1, degrees=10, scale=0.1)
        changed, mask = augment(film, pixels, moving, np.random.default_rng(3))
        assert np.abs(changed.pixels - pixels).max() > 0.5
        np.testing.assert_allclose(changed.pixels, mask, atol=1e-5)


class TestTrainingImages:
    def test_item_depends_on_the_draw_alone(self, config: Config) -> None:
        train = load_splits(config)["train"]
        images = TrainingImages(train, config)
        first, again, other = images[0, 3], images[0, 3], images[1, 3]
        assert torch.equal(first[0], again[0])
        assert not torch.equal(first[0], other[0])
        assert first[0].shape == (1, 64, 64)
        assert first[2].shape == (4, 4)


def _still(config: Config, folder: Path) -> Config:
    """A configuration that changes no image, for a data set in ``folder``."""
    dataset = dataclasses.replace(config.dataset, folder=folder)
    return dataclasses.replace(config, augment=STILL, dataset=dataset)


class TestMaskCells:
    def test_cells_show_what_the_network_sees(self, tmp_path: Path, config: Config) -> None:
        mask = np.zeros((64, 64), np.uint8)
        mask[:32] = 255
        for name in ("image.png", "mask.png"):
            (tmp_path / name).write_bytes(png_bytes(mask))
        frame = pd.DataFrame(
            {"path": ["image.png"], "mask": ["mask.png"], "label": [1], "group": ["a"]}
        )
        half = dataclasses.replace(config.input, crop=0.5)
        still = _still(dataclasses.replace(config, input=half), tmp_path)
        _, _, cells = TrainingImages(frame, still)[0, 0]
        np.testing.assert_allclose(cells[:2], 1, atol=1e-6)
        np.testing.assert_allclose(cells[2:], 0, atol=1e-6)
        np.testing.assert_array_equal(load_cells(frame, tmp_path, half)[0], cells)


def _after_backward(
    config: Config, number: int, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> Training:
    """What rank ``number`` of two holds before the first step of the optimiser."""
    rank = dataclasses.replace(ALONE, number=number, world=2)
    train = load_splits(config)["train"]
    images = TrainingImages(train, config)
    keys = next(iter(PairedBatches(train, config.fit, config.fit.seed, first=0, rank=rank)))
    training = Training(config, ALONE, precision)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as torchrun's ranks: sums in another order would differ
    with monkeypatch.context() as patch:
        patch.setattr(training.optimiser, "step", lambda: None)
        training.advance(*default_collate([images[key] for key in keys]))
    torch.set_num_threads(threads)
    return training


class TestMaskLoss:
    def test_lesion_of_unknown_place_teaches_the_label_alone(
        self, tmp_path: Path, config: Config
    ) -> None:
        (tmp_path / "image.png").write_bytes(png_bytes(np.zeros((64, 64), np.uint8)))
        frame = pd.DataFrame(
            {"path": ["image.png"] * 2, "mask": ["", ""], "label": [0, 1], "group": ["a", "a"]}
        )
        images = TrainingImages(frame, _still(config, tmp_path))
        healthy, sick = images[0, 0][2], images[0, 1][2]
        assert not healthy.any()
        assert sick.isnan().all()
        training = Training(config, ALONE, torch.float32)
        batch = default_collate([images[0, 1]] * 2)
        loss = training.advance(*batch)
        logit_alone = dataclasses.replace(
            config, fit=dataclasses.replace(config.fit, mask_weight=0)
        )
        expected = Training(logit_alone, ALONE, torch.float32).advance(
            batch[0], batch[1], torch.zeros(2, 4, 4)
        )
        assert loss == pytest.approx(expected)


class TestFit:
    def test_interrupted_run_ends_like_an_uninterrupted_one(
        self, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fit(config, tmp_path / "whole", torch.float32)
        with interrupted(lambda training: training.step == 4, monkeypatch):
            fit(config, tmp_path / "cut", torch.float32)
        fit(config, tmp_path / "cut", torch.float32)
        whole = load_network(tmp_path / "whole", config).state_dict()
        cut = load_network(tmp_path / "cut", config).state_dict()
        for name, value in whole.items():
            torch.testing.assert_close(cut[name], value, rtol=1e-4, atol=1e-5)
        log = (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in log] == [3, 6]

    def test_torchrun_averages_the_gradients_of_its_ranks(
        self, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        toml = tmp_path / "once.toml"
        text = LIGHT_TOML.format(folder=config.dataset.folder)
        toml.write_text(text.replace("steps = 6", "steps = 1").replace("batch = 8", "batch = 16"))
        once = Config.load(toml)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", "2", "--no-python", "--"]
        command += [str(Path(sys.executable).with_name("cxr-train")), "fit", str(toml)]
        one = os.environ | {"OMP_NUM_THREADS": "1"}  # sums in another order would differ
        subprocess.run([*command, "--run", str(tmp_path / "two")], env=one, check=True)
        recorded = torch.load(tmp_path / "two" / "weights.pt", weights_only=True)["precision"]
        precision = getattr(torch, recorded)
        first, second = (_after_backward(once, rank, precision, monkeypatch) for rank in (0, 1))
        for mine, other in zip(
            first.network.parameters(), second.network.parameters(), strict=True
        ):
            assert mine.grad is not None
            assert other.grad is not None
            mine.grad = (mine.grad + other.grad) / 2
        first.optimiser.step()
        two = load_network(tmp_path / "two", once).state_dict()
        for name, value in first.network.state_dict().items():
            torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)

    def test_a_network_can_be_the_mean_of_trainings_that_start_alike(
        self, config: Config, tmp_path: Path
    ) -> None:
        torch.save({"model": new_network(config).state_dict()}, tmp_path / "start.pt")
        recipe = dataclasses.replace(config.fit, init=str(tmp_path / "start.pt"), steps=2)
        several = dataclasses.replace(config, fit=dataclasses.replace(recipe, trainings=2))
        fit(several, tmp_path / "mean", torch.float32)
        other = dataclasses.replace(config, fit=dataclasses.replace(recipe, seed=recipe.seed + 10))
        fit(other, tmp_path / "other", torch.float32)
        first, second, alone, mean = (
            torch.load(tmp_path / folder / "weights.pt", weights_only=True)["model"]
            for folder in ("mean/training-1", "mean/training-2", "other", "mean")
        )
        assert any(not torch.equal(value, second[name]) for name, value in first.items())
        for name, value in second.items():
            torch.testing.assert_close(value, alone[name], rtol=1e-4, atol=1e-5)
            if value.is_floating_point():
                torch.testing.assert_close(mean[name], (first[name] + value) / 2)
        load_network(tmp_path / "mean", several)
        fit(several, tmp_path / "mean", torch.float32)  # nothing is left to do
        with pytest.raises(ValueError, match="mean was made by another configuration"):
            fit(dataclasses.replace(config, fit=recipe), tmp_path / "mean", torch.float32)
        (tmp_path / "mean" / "weights.pt").unlink()
        slower = dataclasses.replace(several.fit, learning_rate=1e-5)
        with pytest.raises(ValueError, match="training-1 was made by another configuration"):
            fit(dataclasses.replace(several, fit=slower), tmp_path / "mean", torch.float32)

    def test_networks_that_start_apart_have_no_mean(self, config: Config) -> None:
        with pytest.raises(InvalidConfig, match="several trainings need a common start"):
            dataclasses.replace(config.fit, trainings=2)

    def test_checkpoint_of_another_configuration_is_refused(
        self, config: Config, tmp_path: Path
    ) -> None:
        fit(config, tmp_path)
        (tmp_path / "weights.pt").unlink()
        with pytest.raises(ValueError, match="another configuration"):
            fit(dataclasses.replace(config, seed=config.seed + 1), tmp_path)

    def test_weights_of_another_configuration_are_refused(
        self, config: Config, tmp_path: Path
    ) -> None:
        own, weights = recorded_text(config), tmp_path / "weights.pt"
        other = dataclasses.replace(config, fit=dataclasses.replace(config.fit, seed=9))
        torch.save({"config": own, "trainings": 1}, weights)
        fit(config, tmp_path)  # nothing is left to do
        with pytest.raises(ValueError, match="another configuration"):
            fit(other, tmp_path)
        torch.save({"config": own, "trainings": 2}, weights)
        with pytest.raises(ValueError, match="another configuration"):
            fit(config, tmp_path)

    def test_weights_from_before_a_record_was_kept_are_taken(
        self, config: Config, tmp_path: Path
    ) -> None:
        for kept in ({"config": recorded_text(config)}, {}):
            torch.save(kept, tmp_path / "weights.pt")
            fit(config, tmp_path)
        assert [file.name for file in tmp_path.iterdir()] == ["weights.pt"]

    def test_learns_the_blob(self, config: Config, tmp_path: Path) -> None:
        resnet = dataclasses.replace(
            config.fit, architecture="resnet18", blocks=4, steps=12, checkpoint_every=12
        )
        fit(dataclasses.replace(config, augment=STILL, fit=resnet), tmp_path)
        log = (tmp_path / "metrics.jsonl").read_text().splitlines()
        assert json.loads(log[-1])["validation_auroc"] > 0.9

    def test_a_gpu_has_all_cores_make_its_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("training.fit.train.cores", lambda: 16)
        gpu = dataclasses.replace(ALONE, world=2, device=torch.device("cuda", 0))
        assert loaders(gpu) == 8
        assert loaders(ALONE) == 2

    def test_rate_warms_up_and_ends_at_zero(self, config: Config) -> None:
        rates = [learning_rate(config.fit, step) for step in range(config.fit.steps + 1)]
        assert max(rates) == config.fit.learning_rate
        assert rates[-1] == pytest.approx(0, abs=1e-12)

"""What runs, models and data sets hold from before names changed is read, and goes on.

``earlier`` was written by the code of 2026-11-27, before `views`, `[reading]` and `[[companions]]`
of a configuration became `channels`, `[lung_detail]` and `[[members]]`. Of its run only what the
files say is kept, in ``stored.json``: the names of arrays instead of the arrays.
"""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from service.files import sha256
from service.model.manifest import Manifest
from service.model.shipped import default_model
from tests.sources import ROOT
from tests.training.generate.test_commands import squares
from tests.training.model_run import write_dataset
from training.config import Config, InvalidConfig
from training.experiment import ARM, ExperimentMismatch, train_arms
from training.fit.distributed import Rank
from training.fit.optimisation import Training, new_network
from training.generate.archive import Archive
from training.generate.nanobanana.batch import Jobs
from training.generate.nanobanana.ledger import Ledger
from training.networks.lungs import LungNet
from training.release.age import AgeSign
from training.release.card import NO_REMARKS, model_card
from training.stored import recorded

EARLIER = Path(__file__).with_name("earlier")
CONFIG = EARLIER / "config.toml"
STORED: dict[str, Any] = json.loads((EARLIER / "stored.json").read_text())
ALONE = Rank(number=0, world=1, device=torch.device("cpu"))
NAMES = {
    "views = ": "channels = ",
    "drop_view = ": "drop_channel = ",
    "[reading]": "[lung_detail]",
    "[[companions]]": "[[members]]",
}


def of_today() -> str:
    text = CONFIG.read_text()
    for earlier, name in NAMES.items():
        assert earlier in text
        text = text.replace(earlier, name)
    return text


class TestConfiguration:
    @pytest.mark.parametrize("earlier", NAMES)
    def test_an_earlier_name_is_read(self, earlier: str, tmp_path: Path) -> None:
        (tmp_path / "today.toml").write_text(of_today())
        (tmp_path / "one.toml").write_text(of_today().replace(NAMES[earlier], earlier))
        today = Config.load(tmp_path / "today.toml")
        assert Config.load(tmp_path / "one.toml") == today
        assert (today.fit.channels, today.fit.drop_channel) == (("ranks", "edges"), 0.25)
        assert today.lung_detail is not None
        assert [member.channels for member in today.members] == [("edges",)]

    def test_one_file_may_be_the_base_of_another_with_names_of_today(self, tmp_path: Path) -> None:
        shutil.copy(CONFIG, tmp_path / "base.toml")
        own = 'base = "base.toml"\nmembers = []\n[fit]\nchannels = ["grey"]\ndrop_channel = 0.0\n'
        (tmp_path / "own.toml").write_text(own + "[lung_detail]\nweight = 0.5\n")
        config = Config.load(tmp_path / "own.toml")
        assert (config.members, config.fit.channels) == ((), ("grey",))
        assert config.lung_detail is not None
        assert (config.lung_detail.weight, config.lung_detail.crop) == (0.5, 0.95)

    @pytest.mark.parametrize(
        ("name", "both"),
        [
            ("lung_detail", of_today() + "\n[reading]\ncrop = 1.0\n"),
            ("members", "companions = []\n" + of_today()),
            ("channels", of_today().replace("channels = ", 'views = ["grey"]\nchannels = ', 1)),
            ("drop_channel", of_today().replace("drop_ch", "drop_view = 0.0\ndrop_ch", 1)),
        ],
    )
    def test_both_names_at_once_are_refused(self, name: str, both: str, tmp_path: Path) -> None:
        (tmp_path / "both.toml").write_text(both)
        with pytest.raises(InvalidConfig, match=rf"both\.toml: {name} and .* both given"):
            Config.load(tmp_path / "both.toml")

    @pytest.mark.parametrize("section", ["fit", "lung_detail", "members", "input"])
    def test_an_unknown_key_is_refused(self, section: str, tmp_path: Path) -> None:
        text = re.sub(rf"(?m)^(\[+{section}\]+)$", r"\1\ncolour = 1", of_today())
        (tmp_path / "unknown.toml").write_text(text)
        with pytest.raises(InvalidConfig, match=rf"\[{section}\].*colour"):
            Config.load(tmp_path / "unknown.toml")


class TestRun:
    def config(self) -> Config:
        return Config.load(CONFIG)

    def test_a_checkpoint_is_resumed_by_its_configuration_and_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)  # the configuration's data set is a relative path
        write_dataset(tmp_path / "data")
        (alone, _), _ = self.config().networks(tmp_path)
        training = Training(alone, ALONE)
        now = training.state() | {"step": 3, "config": STORED["checkpoint.pt"]["config"]}
        state = {key: now[key] for key in STORED["checkpoint.pt"]["keys"]}
        for part in ("network", "average"):
            assert list(state[part]) == STORED["checkpoint.pt"][part]
        torch.save(state, tmp_path / "checkpoint.pt")
        training.resume(tmp_path / "checkpoint.pt")
        assert training.step == 3
        other = dataclasses.replace(alone, fit=dataclasses.replace(alone.fit, drop_channel=0.2))
        with pytest.raises(ValueError, match="another configuration"):
            Training(other, ALONE).resume(tmp_path / "checkpoint.pt")

    def test_arrays_have_their_names(self, tmp_path: Path) -> None:
        config = self.config()
        assert list(new_network(config).state_dict()) == STORED["weights.pt"]["model"]
        assert list(LungNet().state_dict()) == STORED["lungs.pt"]
        AgeSign(np.zeros(2, np.float32), np.float32(0)).save(tmp_path)
        with np.load(tmp_path / "age.npz") as age:
            assert sorted(age) == STORED["age.npz"]

    def test_every_network_is_looked_for_in_its_folder(self) -> None:
        _, (_, folder) = self.config().networks(Path())
        assert (folder / "weights.pt").as_posix() in STORED["files"]

    def test_an_arm_is_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the model packaged from it, so that nothing is trained."""
        monkeypatch.chdir(tmp_path)  # the configuration's data set is a relative path
        write_dataset(tmp_path / "data")
        config = self.config()
        digest = {"manifest_sha256": sha256(config.dataset.folder / "manifest.parquet")}
        run, model = tmp_path / "runs" / "tiny", tmp_path / "models" / "tiny" / "1"
        run.mkdir(parents=True)
        model.mkdir(parents=True)
        arm = json.loads((EARLIER / "arm.json").read_text()) | digest
        (run / ARM).write_text(json.dumps(arm))
        manifest = json.loads((EARLIER / "manifest.json").read_text())
        manifest["provenance"]["dataset"] |= digest
        (model / "manifest.json").write_text(json.dumps(manifest))
        arms, places = {"tiny": Path("data")}, (tmp_path / "runs", tmp_path / "models", "1")
        assert train_arms(config, arms, *places) == {"tiny": model}
        other = dataclasses.replace(config, fit=dataclasses.replace(config.fit, steps=7))
        with pytest.raises(ExperimentMismatch, match="another configuration"):
            train_arms(dataclasses.replace(other), arms, *places)


class TestRecord:
    def test_is_as_it_was_before_a_key_was_added(self) -> None:
        """What decides an arm is compared with what earlier ones stored."""
        config = Config.load(ROOT / "training" / "configs" / "ablations" / "base.toml")
        record = recorded(dataclasses.asdict(config))
        assert record["reading"] is None
        assert "trainings" not in record["fit"]
        several = dataclasses.replace(config.fit, init="imagenet", trainings=2)
        assert recorded(dataclasses.asdict(several))["trainings"] == 2


class TestModel:
    @pytest.mark.parametrize("folder", [EARLIER, default_model()])
    def test_its_card_can_be_written_anew(self, folder: Path) -> None:
        manifest = Manifest.load(folder / "manifest.json")
        card = model_card(manifest, NO_REMARKS)
        others = manifest.provenance["config"]["companions"]
        assert f"An ensemble of {len(others) + 1} networks" in card
        assert "x child. The lung detail" in card
        last = f"{others[-1]['architecture']} on {others[-1]['views'][0]} of"
        assert f"{len(others) + 1}. {last}" in card


class TestDataSet:
    def test_is_completed_and_not_drawn_again(self, tmp_path: Path) -> None:
        shutil.copytree(EARLIER / "squares", tmp_path, dirs_exist_ok=True)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
        table = pd.read_parquet(squares(tmp_path, pairs=2))
        assert len(table) == 4
        assert {path: path.stat().st_mtime_ns for path in before} == before

    def test_of_imported_images_has_its_records(self, tmp_path: Path) -> None:
        shutil.copytree(EARLIER / "imported", tmp_path, dirs_exist_ok=True)
        archive = Archive(tmp_path, {"generator": "sana", "version": "imported", "model": ""})
        (record,) = archive.rows.values()
        assert str(record["request"]) in archive.rows
        assert len(pd.read_parquet(archive.write_all())) == 1

    def test_of_nano_banana_keeps_its_costs_and_jobs(self, tmp_path: Path) -> None:
        shutil.copytree(EARLIER / "nano-banana", tmp_path, dirs_exist_ok=True)
        ledger = Ledger(tmp_path, 0.5, None, "gemini", ())
        assert (ledger.spent, ledger.refusals("r1")) == (0.5, 1)
        assert ledger.knows("batches/1", "r1", 1)
        assert Jobs(tmp_path).waiting() == {"nanocxr-2": "batches/2"}

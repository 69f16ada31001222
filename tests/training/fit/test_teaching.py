"""Networks that teach the first one."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from tests.training.model_run import DETAIL, MEMBER, TOML, interrupted, write_config, write_dataset
from training.config import Config, InvalidConfig
from training.fit.distributed import Rank
from training.fit.fit_lungs import FILE as LUNGS
from training.fit.optimisation import Training, new_network
from training.fit.teaching import SPREAD, Lesson, Teacher, Teaching
from training.fit.train import fit, load_network

ALONE = Rank(number=0, world=1, device=torch.device("cpu"))
MEMBER_RUN = "companion-1"  # the folder in a run


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A network on 64 pixels, and one on 32 that teaches it."""
    root = tmp_path_factory.mktemp("teaching")
    write_dataset(root / "data")
    tiny = write_config(root / "tiny.toml", root / "data")
    recipe = dataclasses.replace(tiny.fit, architecture="lite0", blocks=6, taught_by=(2,))
    return dataclasses.replace(tiny, fit=recipe, members=(MEMBER,), lung_detail=DETAIL)


def new_run(folder: Path) -> Path:
    """A run whose lungs are found already: drawing films for them costs more than both networks."""
    folder.mkdir()
    (folder / LUNGS).touch()
    return folder


def teacher(config: Config, seed: int) -> Teacher:
    torch.manual_seed(seed)
    own, _ = config.networks(Path())[1]
    return Teacher(new_network(own), own.input.size)


def of_pupil(config: Config, teachers: list[Teacher], shown: torch.Tensor) -> Training:
    own, _ = config.networks(Path())[0]
    return Training(own, ALONE, torch.float32, teachers=teachers, shown=shown)


class TestLoss:
    def test_is_that_by_labels_alone_where_the_pupil_says_what_it_is_taught(self) -> None:
        lesson = Lesson(torch.randn(4, 2, 2), [torch.randn(4, 5, 2, 2)])
        same = Teaching.loss(lesson, lesson.cells, lesson.features, torch.tensor(0.5))
        assert float(same) == pytest.approx(0.1, abs=1e-5)
        none = torch.tensor(0.0)
        shifts = [Teaching.loss(lesson, lesson.cells + by, lesson.features, none) for by in (1, 2)]
        apart = lesson._replace(cells=lesson.cells * 1e3)  # so spread that the cells' share is 0
        logit = Teaching.loss(apart, apart.cells + SPREAD, lesson.features, none)
        turned = lesson.cells - lesson.cells.mean(dim=(1, 2), keepdim=True)
        cells = Teaching.loss(lesson._replace(cells=turned), -turned, lesson.features, none)
        features = Teaching.loss(lesson, lesson.cells, [-lesson.features[0]], none)
        assert float(shifts[1]) == pytest.approx(4 * float(shifts[0]), rel=1e-4)
        assert float(logit) == pytest.approx(1, abs=0.01)
        assert float(cells) == pytest.approx(4 * 0.3, rel=0.2)
        assert float(features) == pytest.approx(2, abs=1e-5)

    def test_logit_and_features_are_taught_in_one_unit_whatever_the_teacher(
        self, config: Config
    ) -> None:
        shown = torch.randn(40, 1, 64, 64)
        quiet, loud = teacher(config, 1), teacher(config, 1)
        with torch.no_grad():
            for part in loud.network.backbone.fc.parameters():
                part.mul_(10)
        pupil = new_network(config.networks(Path())[0][0])
        lessons = [Teaching([own], pupil, shown).lesson(shown, 4) for own in (quiet, loud)]
        torch.testing.assert_close(lessons[0].cells, lessons[1].cells, rtol=1e-3, atol=1e-3)
        logits = lessons[0].cells.mean(dim=(1, 2))
        assert float(logits.std()) == pytest.approx(SPREAD, rel=0.01)
        (features,) = lessons[0].features
        assert features.shape[2:] == (4, 4)
        (again,) = lessons[1].features
        torch.testing.assert_close(features, again)
        known = features[:, features.abs().amax(dim=(0, 2, 3)) > 0]
        assert float(known.mean()) == pytest.approx(0, abs=0.1)
        assert float(known.std()) == pytest.approx(1, abs=0.35)


class TestTraining:
    def test_a_pupil_comes_to_say_what_its_teacher_says(self, config: Config) -> None:
        torch.manual_seed(3)
        shown = torch.randn(8, 1, 64, 64) * torch.rand(8, 1, 1, 1) + torch.randn(8, 1, 1, 1)
        longer = dataclasses.replace(config, fit=dataclasses.replace(config.fit, steps=20))
        training = of_pupil(longer, [teacher(config, 1)], shown)
        assert training.teaching is not None
        said = training.teaching.lesson(shown, 4).cells.mean(dim=(1, 2))
        label, mask = torch.full((8,), 0.5), torch.full((8, 4, 4), torch.nan)
        losses = [training.advance(shown, label, mask) for _ in range(20)]
        assert losses[-1] < 0.8 * losses[0]
        assert "teaching" in training.state()
        assert set(training.final()["model"]) == set(training.network.state_dict())
        assert all(not name.startswith("teaching") for name in training.final()["model"])
        training.network.train()
        with torch.no_grad():
            logit = training.network.see(shown).outputs.logit
        assert float(torch.corrcoef(torch.stack([logit, said]))[0, 1]) > 0.5

    def test_the_first_network_learns_last_and_goes_on_where_it_stopped(
        self, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with interrupted(lambda training: training.teaching and training.step == 4, monkeypatch):
            fit(config, new_run(tmp_path / "cut"), torch.float32)
        assert (tmp_path / "cut" / MEMBER_RUN / "weights.pt").exists()
        fit(config, tmp_path / "cut", torch.float32)
        shutil.copytree(tmp_path / "cut" / MEMBER_RUN, new_run(tmp_path / "whole") / MEMBER_RUN)
        fit(config, tmp_path / "whole", torch.float32)
        (own, _), _ = config.networks(tmp_path)
        whole, cut = (load_network(tmp_path / run, own).state_dict() for run in ("whole", "cut"))
        for name, value in whole.items():
            torch.testing.assert_close(cut[name], value, rtol=1e-4, atol=1e-5)

        untaught = dataclasses.replace(config.fit, taught_by=())
        shutil.copytree(tmp_path / "cut" / MEMBER_RUN, new_run(tmp_path / "alone") / MEMBER_RUN)
        fit(dataclasses.replace(config, fit=untaught), tmp_path / "alone", torch.float32)
        alone = load_network(tmp_path / "alone", own).state_dict()
        assert not torch.equal(alone["backbone.fc.weight"], whole["backbone.fc.weight"])
        with pytest.raises(ValueError, match="another configuration"):
            fit(config, tmp_path / "alone", torch.float32)

        fit(config, tmp_path / "whole", torch.float32)  # nothing is left to do
        kept = torch.load(tmp_path / "whole" / MEMBER_RUN / "weights.pt", weights_only=True)
        kept["model"]["backbone.fc.bias"] += 1
        torch.save(kept, tmp_path / "whole" / MEMBER_RUN / "weights.pt")
        with pytest.raises(ValueError, match="whole has other teachers"):
            fit(config, tmp_path / "whole", torch.float32)
        (tmp_path / "whole" / "weights.pt").unlink()
        with pytest.raises(ValueError, match=r"checkpoint\.pt has other teachers"):
            fit(config, tmp_path / "whole", torch.float32)

    def test_what_is_missing_is_told_before_anything_is_trained(
        self, config: Config, tmp_path: Path
    ) -> None:
        start = dataclasses.replace(config.fit, init=str(tmp_path / "none.pt"))
        with pytest.raises(FileNotFoundError, match="no start weights"):
            fit(dataclasses.replace(config, fit=start), tmp_path / "run")
        member = dataclasses.replace(MEMBER, generators=("ct",))
        with pytest.raises(ValueError, match="no image is by the generator ct"):
            fit(dataclasses.replace(config, members=(member,)), tmp_path / "run")
        assert not (tmp_path / "run").exists()


class TestConfig:
    @pytest.mark.parametrize("places", [(1,), (3,), (0,), (2, 2)])
    def test_a_teacher_is_another_network(self, config: Config, places: tuple[int, ...]) -> None:
        with pytest.raises(InvalidConfig, match=r"names no other network|twice"):
            dataclasses.replace(config, fit=dataclasses.replace(config.fit, taught_by=places))

    def test_a_teacher_sees_what_its_pupil_sees(self, config: Config) -> None:
        with pytest.raises(InvalidConfig, match="shown the same channels"):
            dataclasses.replace(config, members=(dataclasses.replace(MEMBER, channels=("edges",)),))

    def test_a_file_that_names_teachers_has_them(self, tmp_path: Path) -> None:
        for places in ("[2]", "2"):
            (tmp_path / "tiny.toml").write_text(
                TOML.format(folder="data") + f"taught_by = {places}\n"
            )
            with pytest.raises(InvalidConfig, match=r"taught_by|not iterable"):
                Config.load(tmp_path / "tiny.toml")

    def test_members_are_not_taught(self, config: Config) -> None:
        first, second = config.networks(Path())
        assert first[0].fit.taught_by == (2,)
        assert second[0].fit.taught_by == ()
        assert config.teachers(Path()) == [second]

"""The gate: what it learns from, and that it goes into a packaged model and nowhere else."""

import base64
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from service.errors import UnfamiliarImage
from service.files import sha256
from service.imaging.standardise import InputSpec
from service.model.manifest import Manifest
from service.model.reader import Reader
from service.model.session import GateSession
from service.model.shipped import default_model
from tests.factories import png_bytes
from tests.training.model_run import Run
from training.cli.main import cli
from training.gate.examples import KINDS, draw_examples, other
from training.gate.fit import Recipe, choose_threshold, fit_gate_network
from training.gate.lateral import draw_lateral
from training.gate.network import SIDE, GateNetwork, logits, reduce, weights
from training.gate.pictures import PAINTERS
from training.gate.pictures import SIDE as PICTURE
from training.generate.phantom.render import draw_pair, source_digest
from training.release.card import REFUSALS
from training.release.card_text import BY_HEADER

DEFAULT = default_model()
SPEC = InputSpec(size=64, crop=0.9, equalise=True, mean=0.5, std=0.29)


class TestLateral:
    def test_is_the_same_for_the_same_seed_and_another_for_another(self) -> None:
        first = draw_lateral(3, 96)
        assert first.shape == (96, 96)
        assert first.dtype == np.uint8
        np.testing.assert_array_equal(first, draw_lateral(3, 96))
        assert np.abs(first.astype(int) - draw_lateral(4, 96)).mean() > 10

    def test_lung_lies_in_the_middle_and_not_on_either_side_of_it(self) -> None:
        def middle_against_sides(image: np.ndarray) -> float:
            rows = image[34:56].astype(float)
            return float(
                rows[:, 44:52].mean() - (rows[:, 26:36].mean() + rows[:, 60:70].mean()) / 2
            )

        sides = np.mean([middle_against_sides(draw_lateral(seed, 96)) for seed in range(5)])
        fronts = np.mean([middle_against_sides(draw_pair(seed, 96)[0].pixels) for seed in range(3)])
        assert sides < 0.5 * fronts
        assert fronts > 0

    def test_stands_outside_the_phantom_whose_digest_names_data_sets(self) -> None:
        """The lateral may change without making data sets out of date."""
        assert "training/gate" in draw_lateral.__module__.replace(".", "/")
        assert len(source_digest()) == 12


class TestPictures:
    @pytest.mark.parametrize("painter", dict.fromkeys(PAINTERS))
    def test_are_grey_images_that_differ(self, painter: object) -> None:
        assert callable(painter)
        first, second = (painter(np.random.default_rng(seed)) for seed in (1, 2))
        for image in (first, second):
            assert image.shape == (PICTURE, PICTURE)
            assert image.dtype == np.float32
            assert 0 <= image.min() <= image.max() <= 1
        assert not np.array_equal(first, second)
        np.testing.assert_array_equal(first, painter(np.random.default_rng(1)))


class TestExamples:
    def test_films_come_first_and_others_are_of_every_kind(self, packaged: Run) -> None:
        paths = sorted((packaged.config.dataset.folder / "images").iterdir())
        images, kinds = draw_examples(paths, SPEC, 120, 5, 1)
        assert images.shape == (240, 1, SIDE, SIDE)
        assert 0 <= float(images.min()) <= float(images.max()) <= 1
        assert (kinds[:120] == "film").all()
        assert set(kinds[120:]) == set(KINDS)

    def test_do_not_depend_on_the_number_of_workers(self, packaged: Run) -> None:
        paths = sorted((packaged.config.dataset.folder / "images").iterdir())
        one, kinds = draw_examples(paths, SPEC, 6, 5, 1)
        two, same = draw_examples(paths, SPEC, 6, 5, 2)
        assert torch.equal(one, two)
        assert (kinds == same).all()

    def test_changed_films_are_what_their_kind_says(self) -> None:
        film = np.random.default_rng(0).random((PICTURE, PICTURE), np.float32)
        rng = np.random.default_rng(1)
        np.testing.assert_array_equal(other(rng, "upside down", lambda: film, 0), film[::-1])
        np.testing.assert_allclose(other(rng, "inverted", lambda: film, 0), 1 - film)
        turned = other(rng, "turned", lambda: film, 0)
        assert any(np.array_equal(turned, np.rot90(film, k)) for k in (1, 2, 3))


class TestGateNetwork:
    def test_is_small(self) -> None:
        assert weights(GateNetwork()) < 100_000

    @pytest.mark.parametrize("size", [32, 64, 96, 128, 224])
    def test_takes_the_input_of_any_model(self, size: int) -> None:
        assert reduce(torch.rand(2, 1, size, size)).shape == (2, 1, SIDE, SIDE)

    def test_twice_the_size_is_averaged(self) -> None:
        image = torch.rand(1, 1, 128, 128)
        expected = image.reshape(1, 1, 64, 2, 64, 2).mean(dim=(3, 5))
        torch.testing.assert_close(reduce(image), expected)

    def test_learns_to_tell_what_it_is_shown_and_repeats_itself(self) -> None:
        ramp = torch.linspace(0, 1, SIDE)[:, None].expand(SIDE, SIDE)
        films = torch.stack([ramp] * 20 + [ramp.flip(0)] * 20)[:, None]
        images = (films + 0.2 * torch.rand(films.shape, generator=torch.Generator())).clamp(0, 1)
        truth = np.arange(40) < 20
        recipe = Recipe(steps=30, batch=16)
        found = logits(fit_gate_network(images, truth, recipe), images)
        assert ((found.numpy() > 0) == truth).all()
        assert torch.equal(found, logits(fit_gate_network(images, truth, recipe), images))

    @pytest.mark.parametrize("steps", [2, 3, 10, 15])
    def test_learns_in_few_steps_too(self, steps: int) -> None:
        images = torch.rand(8, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
        network = fit_gate_network(images, np.arange(8) < 4, Recipe(steps=steps, batch=4))
        assert torch.isfinite(logits(network, images)).all()


class TestShipped:
    """The default model, on the synthetic films that it ships."""

    @pytest.fixture(scope="class")
    @classmethod
    def reader(cls) -> Reader:
        return Reader.open(DEFAULT)

    @pytest.fixture(scope="class")
    @classmethod
    def films(cls) -> list[np.ndarray]:
        golden = json.loads((DEFAULT / "golden.json").read_text())["readings"]
        images = [Image.open(io.BytesIO(base64.b64decode(e["image"]))) for e in golden]
        return [np.asarray(image) for image in images]

    def test_reads_its_films_and_their_mirror_images(
        self, reader: Reader, films: list[np.ndarray]
    ) -> None:
        for film in films:
            assert reader.read(png_bytes(film)).familiarity
            assert reader.read(png_bytes(film[:, ::-1])).familiarity

    @pytest.mark.parametrize(
        "change",
        [
            lambda film: film[::-1],
            lambda film: 255 - film,
            np.rot90,
            lambda film: np.hstack([film, film]),
            lambda film: np.full_like(film, 90),
            lambda film: np.random.default_rng(0).integers(0, 256, film.shape, np.uint8),
        ],
        ids=["upside down", "inverted", "turned", "two on one image", "blank", "noise"],
    )
    def test_refuses_what_is_done_to_them(
        self, reader: Reader, films: list[np.ndarray], change: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        for film in films:
            with pytest.raises(UnfamiliarImage):
                reader.read(png_bytes(np.ascontiguousarray(change(film))))

    def test_refuses_a_lateral(self, reader: Reader) -> None:
        for seed in range(2):
            with pytest.raises(UnfamiliarImage):
                reader.read(png_bytes(draw_lateral(seed, 160)))


class TestThreshold:
    def test_refuses_99_of_100_others(self) -> None:
        others = np.arange(1000, dtype=np.float32) / 2000
        threshold = choose_threshold(others)
        assert (others < threshold).mean() == pytest.approx(0.99, abs=0.0011)

    def test_stays_inside_the_open_interval(self) -> None:
        assert 0 < choose_threshold(np.zeros(50, np.float32)) < 1
        assert 0 < choose_threshold(np.ones(50, np.float32)) < 1


class TestCommand:
    @pytest.fixture(scope="class")
    @classmethod
    def gated(cls, packaged: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
        model = tmp_path_factory.mktemp("gate") / "tiny" / "1"
        shutil.copytree(packaged.model, model)
        arguments = ["gate", str(packaged.toml), str(model), "--examples", "100"]
        arguments += ["--held-out", "40", "--steps", "30", "--workers", "1"]
        done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert done.exit_code == 0
        assert "film" in done.output
        return model

    def test_the_model_itself_is_untouched(self, gated: Path, packaged: Run) -> None:
        for name in ("model.onnx", "golden.json"):
            assert sha256(gated / name) == sha256(packaged.model / name)
        before, after = (Manifest.load(m / "manifest.json") for m in (packaged.model, gated))
        assert after.operating_points == before.operating_points
        assert before.gate is None
        assert {p.name for p in gated.parent.iterdir()} == {"1"}  # nothing is left beside it

    def test_graph_gives_the_familiarity_of_the_network(self, gated: Path) -> None:
        session = GateSession((gated / "gate.onnx").read_bytes())
        found = session.run(np.random.default_rng(0).random((3, 1, 64, 64), np.float32))
        assert found.shape == (3,)
        assert ((found >= 0) & (found <= 1)).all()

    def test_manifest_and_card_say_what_was_done(self, gated: Path, packaged: Run) -> None:
        manifest = Manifest.load(gated / "manifest.json")
        assert manifest.gate is not None
        record = manifest.provenance["gate"]
        assert record["recipe"]["examples"] == 100
        assert record["dataset"]["manifest_sha256"] == sha256(
            packaged.config.dataset.folder / "manifest.parquet"
        )
        assert record["held_out"]["film"]["images"] == 40
        assert str(packaged.folder.parent) not in json.dumps(record)
        card = (gated / "MODEL_CARD.md").read_text()
        assert f"Below {manifest.gate.threshold:.3f} there is" in card
        plain = (packaged.model / "MODEL_CARD.md").read_text()
        assert f"{REFUSALS}\n\n{BY_HEADER}\n\n##" in plain
        assert card.split(REFUSALS)[0] == plain.split(REFUSALS)[0]
        assert card.split("## Calibration")[1] == plain.split("## Calibration")[1]

    def test_another_input_is_refused(self, gated: Path, packaged: Run, tmp_path: Path) -> None:
        other_input = tmp_path / "other.toml"
        other_input.write_text(packaged.toml.read_text().replace("crop = 0.9", "crop = 0.8"))
        done = CliRunner().invoke(cli, ["gate", str(other_input), str(gated)])
        assert done.exit_code == 1
        assert "another input" in done.output

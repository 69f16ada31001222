"""The lung detail, and the graph that it is joined to."""

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from service.imaging.radiograph import Radiograph
from service.imaging.standardise import equalise, standardise
from service.model.manifest import Manifest
from service.model.reader import Reader, Reading
from tests.training.model_run import Run
from training.config import Config, InvalidConfig, ReadingConfig
from training.dataset import load_splits
from training.export import graph_path
from training.generate.phantom.render import draw_pair
from training.graft import DetailScale, ReadingHead, fit_scale, graft
from training.lungs import LungNet, fit_lungs, load_lungs, lung_detail, served_input
from training.lungs import equalise as equalise_tensor
from training.measures import run_graph
from training.package import package
from training.verify import check_golden, check_graft

READING = ReadingConfig(crop=0.95, weight=1.0, phantoms=20, steps=50)


@pytest.fixture(scope="module")
def learned(packaged: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """The tiny run with a U-Net that has seen 20 patients; about 15 seconds of one core."""
    config = dataclasses.replace(packaged.config, reading=READING)
    run = tmp_path_factory.mktemp("lungs") / "run"
    shutil.copytree(packaged.folder, run)
    fit_lungs(config, run)
    return config, run


class TestLungNet:
    def test_finds_the_lungs_of_patients_it_has_not_seen(
        self, learned: tuple[Config, Path]
    ) -> None:
        config, run = learned
        net, overlap = load_lungs(run), []
        for seed in range(6):
            film = draw_pair(seed, 160)[0]
            image, lungs = (
                standardise(
                    Radiograph(
                        pixels=pixels.astype(np.float32) / np.float32(255),
                        format="PNG",
                        photometric="L",
                    ),
                    served_input(config),
                )[0]
                for pixels in (film.pixels, film.lungs)
            )
            with torch.inference_mode():
                found = (net(torch.from_numpy(image)[None])[0, 0] > 0).numpy()
            true = cv2.resize(lungs[0], (32, 32), interpolation=cv2.INTER_AREA) > 0.5
            overlap.append(2 * (found & true).sum() / (found.sum() + true.sum()))
        assert np.mean(overlap) > 0.7, overlap

    def test_is_not_trained_again(self, learned: tuple[Config, Path]) -> None:
        config, run = learned
        before = (run / "lungs.pt").stat().st_mtime_ns
        fit_lungs(config, run)
        assert (run / "lungs.pt").stat().st_mtime_ns == before

    def test_is_not_trained_for_a_configuration_that_does_not_ask(
        self, packaged: Run, tmp_path: Path
    ) -> None:
        fit_lungs(packaged.config, tmp_path)
        assert list(tmp_path.iterdir()) == []


class TestLungDetail:
    def lungs(self) -> torch.Tensor:
        logits = torch.full((1, 1, 64, 64), -1.0)
        logits[:, :, 16:48, 8:24] = logits[:, :, 16:48, 40:56] = 1.0
        return logits

    def image(self, contrast: float) -> torch.Tensor:
        grain = np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)
        fine = cv2.GaussianBlur(grain, (0, 0), 1.5)
        broad = cv2.GaussianBlur(grain, (0, 0), 12)
        image = 0.5 + 3 * broad + contrast * fine
        return torch.from_numpy(image.astype(np.float32))[None, None]

    def test_grows_with_the_contrast_of_fine_structure(self) -> None:
        details = [float(lung_detail(self.image(c), self.lungs())) for c in (0.02, 0.1, 0.3)]
        assert details == sorted(details)
        assert details[2] - details[0] > 0.5

    def test_does_not_depend_on_brightness_and_contrast_of_the_film(self) -> None:
        image = self.image(0.1)
        changed = lung_detail(image * 0.4 + 0.3, self.lungs())
        assert float(changed) == pytest.approx(float(lung_detail(image, self.lungs())), abs=0.01)

    def test_does_not_depend_on_what_lies_far_from_the_lungs(self) -> None:
        image = self.image(0.1)
        marked = image.clone()
        marked[:, :, :4] = 1.0
        lungs = self.lungs()
        lungs[:, :, :32] = -1.0
        assert float(lung_detail(marked, lungs)) == float(lung_detail(image, lungs))

    def test_is_finite_where_there_are_no_lungs_and_nothing_to_see(self) -> None:
        nothing = torch.zeros(2, 1, 128, 128)
        assert torch.isfinite(lung_detail(nothing, torch.full((2, 1, 64, 64), -1.0))).all()


class TestEqualise:
    def test_is_what_serving_does_to_the_last_bit(self) -> None:
        rng = np.random.default_rng(3)
        images = rng.random((3, 1, 64, 64), dtype=np.float32)
        images[1] = np.round(images[1] * 9) / 9  # many ties
        images[2] = 0.25  # nothing but ties
        expected = np.stack([equalise(image[0])[None] for image in images])
        np.testing.assert_array_equal(equalise_tensor(torch.from_numpy(images)), expected)


class TestGraft:
    @pytest.mark.parametrize("precision", ["float", "int8"])
    def test_adds_the_term_and_leaves_the_rest(
        self, packaged: Run, tmp_path: Path, precision: str
    ) -> None:
        network = graph_path(packaged.folder, precision).read_bytes()
        torch.manual_seed(1)
        head = ReadingHead(LungNet().eval(), DetailScale(gain=2.0, centre=-3.0), equalised=True)
        graft(head, network, 64, tmp_path / "joined.onnx")
        images = np.random.default_rng(1).random((5, 1, 64, 64), dtype=np.float32)
        with torch.inference_mode():
            inputs, term = head(torch.from_numpy(images))
        alone, joined = (
            run_graph(network, inputs.numpy()),
            run_graph((tmp_path / "joined.onnx").read_bytes(), images),
        )
        np.testing.assert_allclose(joined.logit, alone.logit + term.numpy(), atol=1e-4)
        np.testing.assert_allclose(joined.heatmap, alone.heatmap, atol=1e-5)
        np.testing.assert_allclose(joined.embedding, alone.embedding, atol=1e-4)

    def test_same_parts_give_the_same_bytes(self, packaged: Run, tmp_path: Path) -> None:
        network = graph_path(packaged.folder, "int8").read_bytes()
        torch.manual_seed(1)
        head = ReadingHead(LungNet().eval(), DetailScale(gain=2.0, centre=-3.0), equalised=True)
        for name in ("one", "two"):
            graft(head, network, 64, tmp_path / name)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()

    def test_keeps_the_networks_precision(self, packaged: Run, tmp_path: Path) -> None:
        network = graph_path(packaged.folder, "int8").read_bytes()
        head = ReadingHead(LungNet().eval(), DetailScale(gain=2.0, centre=-3.0), equalised=True)
        graft(head, network, 64, tmp_path / "joined.onnx")
        count = [
            sum(node.op_type == "QuantizeLinear" for node in model.graph.node)
            for model in (onnx.load_from_string(network), onnx.load(tmp_path / "joined.onnx"))
        ]
        assert count[0] == count[1] > 0

    def test_without_lungs_there_is_no_scale(self, packaged: Run) -> None:
        lungs = LungNet().eval()
        torch.nn.init.constant_(lungs.last.weight, 0.0)
        assert lungs.last.bias is not None
        torch.nn.init.constant_(lungs.last.bias, -100.0)
        network = graph_path(packaged.folder, "int8").read_bytes()
        images = np.full((4, 1, 64, 64), 0.5, np.float32)
        with pytest.raises(ValueError, match="no lungs"):
            fit_scale(lungs, network, images, weight=1.0, equalised=True)


@pytest.fixture(scope="module")
def model(learned: tuple[Config, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config, run = learned
    return package(config, run, tmp_path_factory.mktemp("models") / "tiny" / "1")


class TestPackage:
    def test_the_manifest_describes_the_joined_graph(self, model: Path) -> None:
        manifest = Manifest.load(model / "manifest.json")
        assert manifest.input.crop == READING.crop
        assert not manifest.input.equalise
        assert manifest.provenance["lung_detail"]["gain"] > 0
        assert "lung detail" in (model / "MODEL_CARD.md").read_text()

    def test_the_term_has_the_spread_of_the_networks_logits(
        self, learned: tuple[Config, Path], model: Path
    ) -> None:
        config, run = learned
        manifest = Manifest.load(model / "manifest.json")
        reader = Reader.open(model)
        rows = load_splits(config)["calibration"]["path"]
        prepared = [reader.prepare((config.dataset.folder / path).read_bytes()) for path in rows]
        images = np.stack([one.tensor for one in prepared])
        network = run_graph(
            graph_path(run, "int8").read_bytes(), np.stack([equalise(i[0])[None] for i in images])
        )
        read = [entry for entry in reader.infer(prepared) if isinstance(entry, Reading)]
        term = np.array([reading.logit for reading in read]) - network.logit
        assert manifest.provenance["lung_detail"]["gain"] > 0
        assert np.std(term) == pytest.approx(np.std(network.logit), rel=0.02)
        assert np.mean(term) == pytest.approx(0, abs=0.02 * float(np.std(term)))

    def test_is_verified(self, learned: tuple[Config, Path], model: Path) -> None:
        config, run = learned
        assert check_graft(config, run, model).passed
        assert all(check.passed for check in check_golden(model))

    def test_another_u_net_is_noticed(
        self, learned: tuple[Config, Path], model: Path, tmp_path: Path
    ) -> None:
        config, run = learned
        shutil.copytree(run, tmp_path / "run")
        torch.manual_seed(5)
        torch.save(LungNet().state_dict(), tmp_path / "run" / "lungs.pt")
        assert not check_graft(config, tmp_path / "run", model).passed


@pytest.mark.parametrize("wrong", [{"crop": 0.0}, {"weight": 0.0}, {"phantoms": 0}, {"steps": 0}])
def test_reading_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidConfig):
        dataclasses.replace(READING, **wrong)  # type: ignore[arg-type]

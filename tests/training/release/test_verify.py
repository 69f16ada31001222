import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from service.errors import ModelCorrupt
from service.files import sha256
from service.model.manifest import Manifest
from tests.sources import ROOT, files
from tests.training.model_run import Run
from training.fit.dataset import load_splits, load_tensors
from training.fit.train import load_network
from training.release.export import export_float, graph_path
from training.release.measures import run_graph
from training.release.verify import (
    check_golden,
    check_heatmap,
    check_logits,
    check_quantisation,
    check_weights,
    grad_cam,
    table,
    verify,
)


@pytest.fixture
def copy(packaged: Run, tmp_path: Path) -> Run:
    shutil.copytree(packaged.folder, tmp_path / "run")
    shutil.copytree(packaged.model, tmp_path / "model")
    return Run(packaged.config, packaged.toml, tmp_path / "run", tmp_path / "model")


def images_of(run: Run) -> np.ndarray:
    frame = load_splits(run.config)["validation"].head(8)
    return load_tensors(frame, run.config.dataset.folder, run.config.input)[0]


def reseal(model: Path, name: str) -> None:
    """Make the manifest agree with a file that was changed, as a forger would."""
    path = model / "manifest.json"
    fields = json.loads(path.read_text())
    fields["sha256"][name] = sha256(model / name)
    path.write_text(json.dumps(fields))


class TestVerify:
    def test_untouched_run_passes_what_holds_for_any_weights(self, packaged: Run) -> None:
        checks = verify(packaged.config, packaged.folder, packaged.model)
        assert len(checks) == 7
        # Random weights rank at random: AUROC after rounding is the one thing that may differ.
        assert [c.name for c in checks if not c.passed and "AUROC" not in c.name] == []

    def test_weights_other_than_the_exported_ones_fail(self, copy: Run) -> None:
        state = torch.load(copy.folder / "weights.pt", weights_only=True)
        state["model"]["backbone.fc.bias"] += 0.01
        torch.save(state, copy.folder / "weights.pt")
        failed = [c.name for c in verify(copy.config, copy.folder, copy.model) if not c.passed]
        assert any("float logits" in name for name in failed)

    def test_a_packaged_graph_that_was_not_exported_here_fails(self, copy: Run) -> None:
        shutil.copyfile(graph_path(copy.folder, "float"), copy.model / "model.onnx")
        reseal(copy.model, "model.onnx")
        failed = [c.name for c in verify(copy.config, copy.folder, copy.model) if not c.passed]
        assert any("packaged graph" in name for name in failed)

    def test_a_packaged_file_that_its_manifest_does_not_know_raises(self, copy: Run) -> None:
        data = bytearray((copy.model / "model.onnx").read_bytes())
        data[len(data) // 2] ^= 1
        (copy.model / "model.onnx").write_bytes(data)
        with pytest.raises(ModelCorrupt):
            check_golden(copy.model)


class TestHeatmap:
    def test_grad_cam_by_gradient_equals_the_networks_own_map(self, packaged: Run) -> None:
        network = load_network(packaged.folder, packaged.config)
        images = images_of(packaged)
        with torch.inference_mode():
            own = network(torch.from_numpy(images)).heatmap.numpy()
        reference = grad_cam(network, images)
        assert reference.max() > 0
        # In float64 a pixel on the edge of a grey bin may fall into the next one.
        np.testing.assert_allclose(own, reference, atol=1e-5)

    def test_gradients_leave_the_network_as_it_was(self, packaged: Run) -> None:
        network = load_network(packaged.folder, packaged.config)
        grad_cam(network, images_of(packaged))
        assert all(parameter.grad is None for parameter in network.parameters())
        assert network.mean.dtype == torch.float32

    def test_maps_of_another_classifier_fail(self, packaged: Run) -> None:
        network = load_network(packaged.folder, packaged.config)
        with torch.no_grad():
            network.backbone.fc.weight[0, :8] += 0.05
        graph = graph_path(packaged.folder, "float").read_bytes()
        assert not check_heatmap(network, graph, images_of(packaged)).passed

    def test_no_evidence_in_any_map_proves_nothing_and_fails(
        self, packaged: Run, tmp_path: Path
    ) -> None:
        network = load_network(packaged.folder, packaged.config)
        with torch.no_grad():
            network.backbone.fc.weight.abs_().neg_()  # pooled maps are not negative
        export_float(network, packaged.config.input.size, tmp_path / "blind.onnx")
        blind = (tmp_path / "blind.onnx").read_bytes()
        assert run_graph(blind, images_of(packaged)).heatmap.max() == 0
        assert not check_heatmap(network, blind, images_of(packaged)).passed


class TestGraphs:
    def test_logits_pass_for_their_own_weights(self, packaged: Run) -> None:
        network = load_network(packaged.folder, packaged.config)
        graph = graph_path(packaged.folder, "float").read_bytes()
        assert check_logits(network, graph, images_of(packaged)).passed

    def test_auroc_lost_is_float_minus_int8(self, packaged: Run) -> None:
        float_graph, int8_graph = (
            graph_path(packaged.folder, precision).read_bytes() for precision in ("float", "int8")
        )
        images = images_of(packaged)
        # Labels that float ranks perfectly: against itself nothing is lost, reversed nothing is
        # gained.
        logits = run_graph(float_graph, images).logit
        labels = (logits > np.median(logits)).astype(np.int64)
        assert check_quantisation(float_graph, float_graph, images, labels).measured == 0
        assert check_quantisation(float_graph, int8_graph, images, labels).measured >= 0


class TestWeights:
    def test_of_a_packaged_model_cannot_saturate(self, packaged: Run) -> None:
        assert check_weights(packaged.model).passed

    def test_beyond_seven_bits_fail(self, copy: Run) -> None:
        model = onnx.load(copy.model / "model.onnx")
        tensor = next(
            tensor
            for tensor in model.graph.initializer
            if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4
        )
        wider = onnx.numpy_helper.to_array(tensor).copy()
        wider.flat[0] = -65
        tensor.CopyFrom(onnx.numpy_helper.from_array(wider, tensor.name))
        onnx.save(model, copy.model / "model.onnx")
        check = check_weights(copy.model)
        assert (check.measured, check.passed) == (1, False)


class TestGolden:
    def test_of_every_shipped_model_replays_on_any_processor(self) -> None:
        for manifest in files(ROOT / "models", "manifest.json"):
            model = manifest.parent
            assert all(check.passed for check in check_golden(model))

    def test_replays(self, packaged: Run) -> None:
        assert all(check.passed for check in check_golden(packaged.model))

    @pytest.mark.parametrize("field", ["probability", "heatmap"])
    def test_a_changed_expectation_fails(self, copy: Run, field: str) -> None:
        path = copy.model / "golden.json"
        golden = json.loads(path.read_text())
        entry = golden["readings"][0]
        entry[field] = (np.array(entry[field]) + 0.01).tolist()
        path.write_text(json.dumps(golden))
        reseal(copy.model, "golden.json")
        failed = [check.name for check in check_golden(copy.model) if not check.passed]
        assert len(failed) == 1
        assert field in failed[0]

    def test_another_calibration_fails(self, copy: Run) -> None:
        path = copy.model / "manifest.json"
        fields = json.loads(path.read_text())
        fields["calibration"]["bias"] = 1.0
        path.write_text(json.dumps(fields))
        assert Manifest.load(path).calibration.bias == 1.0
        assert not check_golden(copy.model)[0].passed


def test_table_shows_asked_measured_and_verdict(packaged: Run) -> None:
    lines = table(check_golden(packaged.model)).splitlines()
    assert lines[0].split() == ["asked", "measured"]
    assert all(line.endswith("ok") and "1e-03" in line for line in lines[1:])

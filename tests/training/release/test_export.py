import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from service.files import sha256
from service.model.session import Session, session_options
from tests.sources import ROOT
from tests.training.model_run import Run, write_weights
from training.fit.train import load_network
from training.release.export import (
    LARGEST_WEIGHT,
    export,
    graph_path,
    quantise,
    range_images,
    saturating_weights,
)

IMAGES = np.random.default_rng(1).random((5, 1, 64, 64), dtype=np.float32)


class TestFloatGraph:
    def test_equals_torch_for_any_batch(self, packaged: Run) -> None:
        network = load_network(packaged.folder, packaged.config)
        session = Session(graph_path(packaged.folder, "float").read_bytes(), threads=1)
        for batch in (1, 5):
            outputs = session.run(IMAGES[:batch])
            with torch.inference_mode():
                expected = network(torch.from_numpy(IMAGES[:batch]))
            np.testing.assert_allclose(outputs.logit, expected.logit, atol=1e-4)
            np.testing.assert_allclose(outputs.heatmap, expected.heatmap, atol=1e-4)
            np.testing.assert_allclose(outputs.embedding, expected.embedding, atol=1e-4)

    def test_batch_normalisation_is_folded(self, packaged: Run) -> None:
        model = onnx.load(graph_path(packaged.folder, "float"))
        assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


class TestInt8Graph:
    def test_same_graph_and_images_give_the_same_bytes(self, packaged: Run, tmp_path: Path) -> None:
        source = graph_path(packaged.folder, "float")
        quantise(source, range_images(packaged.config), tmp_path / "again.onnx")
        again = (tmp_path / "again.onnx").read_bytes()
        assert again == graph_path(packaged.folder, "int8").read_bytes()

    def test_every_convolution_has_int8_weights_per_channel(self, packaged: Run) -> None:
        graph = onnx.load(graph_path(packaged.folder, "int8")).graph
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        producers = {name: node for node in graph.node for name in node.output}
        convolutions = [node for node in graph.node if node.op_type == "Conv"]
        assert len(convolutions) == 20
        for node in convolutions:
            weights, scale, *_ = producers[node.input[1]].input
            assert arrays[weights].dtype == np.int8
            assert arrays[scale].shape == (arrays[weights].shape[0],)

    def test_weights_cannot_saturate_and_use_their_whole_range(self, packaged: Run) -> None:
        model = onnx.load(graph_path(packaged.folder, "int8"))
        assert saturating_weights(model) == 0
        arrays = [
            onnx.numpy_helper.to_array(tensor)
            for tensor in model.graph.initializer
            if tensor.data_type == onnx.TensorProto.INT8
        ]
        weights = [array.astype(int) for array in arrays if array.ndim == 4]
        assert len(weights) == 20
        assert {int(np.abs(array).max()) for array in weights} == {LARGEST_WEIGHT}

    @pytest.mark.parametrize("sign", [1, -1])
    def test_channels_of_one_sign_cannot_saturate(
        self, packaged: Run, tmp_path: Path, sign: int
    ) -> None:
        """A range that starts at 0 would use every bit if the zero point could move."""
        model = onnx.load(graph_path(packaged.folder, "float"))
        for tensor in model.graph.initializer:
            array = onnx.numpy_helper.to_array(tensor)
            if array.ndim == 4:
                tensor.CopyFrom(onnx.numpy_helper.from_array(sign * np.abs(array), tensor.name))
        onnx.save(model, tmp_path / "float.onnx")
        quantise(tmp_path / "float.onnx", IMAGES, tmp_path / "int8.onnx")
        assert saturating_weights(onnx.load(tmp_path / "int8.onnx")) == 0

    def test_weights_that_can_saturate_are_counted(self, packaged: Run) -> None:
        model = onnx.load(graph_path(packaged.folder, "int8"))
        widened = 0
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4:
                array = onnx.numpy_helper.to_array(tensor).copy()
                array.flat[:2] = (-128, 65)
                tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
                widened += 2
        assert saturating_weights(model) == widened == 40

    def test_option_for_exact_kernels_changes_nothing(self, packaged: Run) -> None:
        graph = graph_path(packaged.folder, "int8").read_bytes()
        plain, exact = (
            onnxruntime.InferenceSession(graph, session_options(1, exact=exact)).run(
                ["logit"], {"image": IMAGES}
            )[0]
            for exact in (False, True)
        )
        np.testing.assert_array_equal(plain, exact)

    def test_logit_and_heatmap_are_computed_in_float(self, packaged: Run) -> None:
        graph = onnx.load(graph_path(packaged.folder, "int8")).graph
        producers = {name: node.op_type for node in graph.node for name in node.output}
        assert {producers[output.name] for output in graph.output} <= {
            "Squeeze",
            "Div",
            "ReduceMean",
        }

    def test_is_close_to_float(self, packaged: Run) -> None:
        images = range_images(packaged.config)
        float32, int8 = (
            Session(graph_path(packaged.folder, precision).read_bytes(), threads=1).run(images)
            for precision in ("float", "int8")
        )
        assert np.corrcoef(float32.logit, int8.logit)[0, 1] > 0.98
        assert np.abs(float32.embedding - int8.embedding).max() < 0.1 * float32.embedding.max()


@pytest.mark.parametrize("precision", ["float", "int8"])
def test_graph_tells_nothing_about_this_computer(packaged: Run, precision: str) -> None:
    model = onnx.load(graph_path(packaged.folder, precision))
    for weights in model.graph.initializer:  # among so many bytes any word comes up by chance
        weights.ClearField("raw_data")
    data = model.SerializeToString()
    root = str(ROOT).encode()
    for trace in (root, b"site-packages", b".py", b"stack_trace", str(packaged.folder).encode()):
        assert trace not in data


class TestExport:
    def test_is_skipped_for_the_same_weights_and_redone_for_others(
        self, packaged: Run, tmp_path: Path
    ) -> None:
        run = Path(shutil.copytree(packaged.folder, tmp_path / "run"))
        int8 = graph_path(run, "int8")
        before, digest = int8.stat().st_mtime_ns, sha256(int8)
        export(packaged.config, run)
        assert int8.stat().st_mtime_ns == before
        write_weights(run, packaged.config, seed=1)
        export(packaged.config, run)
        assert sha256(int8) != digest

    def test_is_redone_for_a_graph_of_wider_weights(self, packaged: Run, tmp_path: Path) -> None:
        run = Path(shutil.copytree(packaged.folder, tmp_path / "run"))
        record = run / "export" / "export.json"
        fields = json.loads(record.read_text())
        del fields["largest_weight"]  # as exports of eight bits have it
        record.write_text(json.dumps(fields))
        before = graph_path(run, "int8").stat().st_mtime_ns
        export(packaged.config, run)
        assert graph_path(run, "int8").stat().st_mtime_ns > before

    def test_restores_a_damaged_graph_to_the_byte(self, packaged: Run, tmp_path: Path) -> None:
        run = Path(shutil.copytree(packaged.folder, tmp_path / "run"))
        graph = graph_path(run, "float")
        whole = graph.read_bytes()
        graph.write_bytes(whole[:-1000])
        export(packaged.config, run)
        assert graph.read_bytes() == whole

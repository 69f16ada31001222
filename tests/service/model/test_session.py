import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from service.errors import InvalidManifest, ModelUnavailable
from service.model.session import (
    EXACT_INT8,
    PRODUCT,
    GateSession,
    Session,
    saturates,
    session_options,
)
from service.model.shipped import default_model
from service.settings import PROVIDERS
from tests.tiny_model import SPEC

IMAGES = np.random.default_rng(0).random((3, 1, SPEC.size, SPEC.size), dtype=np.float32)


@pytest.fixture(scope="module")
def shipped() -> Path:
    return default_model()


@pytest.fixture(scope="module")
def graph(tiny_model: Path) -> bytes:
    return (tiny_model / "model.onnx").read_bytes()


def renamed(graph: bytes, old: str, new: str) -> bytes:
    """The graph with another name for one input or output."""
    model = onnx.load_from_string(graph)
    for value in (*model.graph.input, *model.graph.output):
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    return bytes(model.SerializeToString())


def identity_graph(shape: list[str | int], element: int = TensorProto.FLOAT) -> bytes:
    """A graph with input ``image`` of this shape that is also its output ``logit``."""
    values = [helper.make_tensor_value_info(name, element, shape) for name in ("image", "logit")]
    node = helper.make_node("Identity", ["image"], ["logit"])
    model = helper.make_model(
        helper.make_graph([node], "identity", values[:1], values[1:]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    return bytes(model.SerializeToString())


class TestRun:
    def test_shapes_and_types(self, graph: bytes) -> None:
        outputs = Session(graph, threads=1).run(IMAGES)
        assert outputs.logit.shape == (3,)
        assert outputs.heatmap.shape == (3, 4, 4)  # stride 16
        assert outputs.embedding.shape == (3, 512)  # of a ResNet-18
        assert {a.dtype for a in (outputs.logit, outputs.heatmap, outputs.embedding)} == {
            np.dtype(np.float32)
        }

    def test_batch_equals_one_by_one(self, graph: bytes) -> None:
        session = Session(graph, threads=1)
        together = session.run(IMAGES).logit
        alone = [session.run(IMAGES[i : i + 1]).logit[0] for i in range(3)]
        np.testing.assert_allclose(together, alone, atol=1e-5)

    def test_number_of_threads_does_not_change_the_logit(self, graph: bytes) -> None:
        one, all_ = (Session(graph, threads=threads).run(IMAGES).logit for threads in (1, 0))
        np.testing.assert_allclose(one, all_, atol=1e-5)

    def test_heatmap_is_not_negative(self, graph: bytes) -> None:
        assert Session(graph, threads=1).run(IMAGES).heatmap.min() >= 0


class TestOpening:
    def test_size_and_provider_are_reported(self, graph: bytes) -> None:
        session = Session(graph, threads=1)
        assert session.size == SPEC.size
        assert session.provider in {"CPUExecutionProvider", "CUDAExecutionProvider"}

    @pytest.mark.parametrize("provider", [name for name in PROVIDERS if name != "auto"])
    def test_provider_that_is_asked_for_is_used_or_refused(
        self, graph: bytes, provider: str
    ) -> None:
        offered = onnxruntime.get_available_providers()
        name = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[provider]
        try:
            session = Session(graph, threads=1, provider=provider)
        except ModelUnavailable as error:
            assert provider in str(error).lower()
            assert provider == "cuda"
        else:
            assert name in offered
            assert session.provider == name

    def test_bytes_that_are_no_graph_are_refused(self) -> None:
        with pytest.raises(InvalidManifest, match="cannot load the graph"):
            Session(b"not a graph", threads=1)

    @pytest.mark.parametrize("name", ["image", "logit", "heatmap", "embedding"])
    def test_other_names_are_refused(self, graph: bytes, name: str) -> None:
        with pytest.raises(InvalidManifest, match=f"{name}_2"):
            Session(renamed(graph, name, f"{name}_2"), threads=1)

    @pytest.mark.parametrize(
        "shape",
        [["n", 3, 64, 64], ["n", 1, 64, 32], [1, 1, 64, 64], ["n", 64, 64], ["n", 1, "s", "s"]],
    )
    def test_other_input_shapes_are_refused(self, shape: list[str | int]) -> None:
        with pytest.raises(InvalidManifest, match="is due"):
            Session(identity_graph(shape), threads=1)

    def test_other_input_type_is_refused(self) -> None:
        graph = identity_graph(["n", 1, 64, 64], TensorProto.DOUBLE)
        with pytest.raises(InvalidManifest, match="float32"):
            Session(graph, threads=1)


def logits_of(graph: bytes, *, exact: bool) -> np.ndarray:
    """Of random images, with or without the kernels that cannot saturate."""
    session = onnxruntime.InferenceSession(
        graph, session_options(1, exact=exact), providers=["CPUExecutionProvider"]
    )
    images = np.random.default_rng(0).random((4, 1, *session.get_inputs()[0].shape[2:]))
    return np.asarray(session.run(["logit"], {"image": images.astype(np.float32)})[0])


class TestExactKernels:
    def test_product_that_is_asked_for_is_what_the_comment_says(self) -> None:
        shapes = {"a": ["m", "k"], "b": ["k", "n"], "sums": ["m", "n"]}
        types = {"a": TensorProto.UINT8, "b": TensorProto.INT8, "sums": TensorProto.INT32}
        a, b, sums = (
            helper.make_tensor_value_info(name, types[name], shape)
            for name, shape in shapes.items()
        )
        node = helper.make_node("MatMulInteger", ["a", "b"], ["sums"])
        model = helper.make_model(
            helper.make_graph([node], "sums", [a, b], [sums]),
            opset_imports=[helper.make_opsetid("", 20)],
            ir_version=10,
        )
        assert model.SerializeToString(deterministic=True) == PRODUCT

    @pytest.mark.parametrize("exact", [False, True])
    def test_option_is_that_of_onnxruntime(self, *, exact: bool) -> None:
        options = session_options(1, exact=exact)
        assert options.get_session_config_entry("session.x64quantprecision") == str(int(exact))

    def test_every_graph_asks_for_them_where_the_processor_saturates(
        self, graph: bytes, shipped: Path
    ) -> None:
        gate = (shipped / "gate.onnx").read_bytes()
        for session in (Session(graph, threads=1), GateSession(gate)):
            options = session._session.get_session_options()
            assert options.get_session_config_entry(EXACT_INT8) == str(int(saturates()))

    def test_processor_saturates_where_the_shipped_graph_says_so(self, shipped: Path) -> None:
        """The shipped graph has weights beyond [-64, 64]."""
        graph = (shipped / "model.onnx").read_bytes()
        plain, exact = (logits_of(graph, exact=exact) for exact in (False, True))
        assert (np.abs(plain - exact).max() > 1e-3) == saturates()


def test_onnxruntime_keeps_no_identifier_to_report_with(tiny_model: Path, tmp_path: Path) -> None:
    load = """if True:
        import sys
        from pathlib import Path
        from service.model.reader import Reader
        Reader.open(Path(sys.argv[1]))
    """
    kept = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    subprocess.run(
        [sys.executable, "-c", load, str(tiny_model)],
        env={k: v for k, v in kept.items() if not k.startswith("XDG_")} | {"HOME": str(tmp_path)},
        check=True,
    )
    assert list(tmp_path.rglob("*")) == []

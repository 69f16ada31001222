"""PneumoniaNet -> ONNX, in float32 and in int8.

fit -> [export] -> calibrate -> package
The graph takes ``image`` (N, 1, S, S) in [0, 1] and returns ``logit``, ``heatmap`` and
``embedding``.

int8 is static QDQ quantisation with one scale per output channel, activations unsigned and weights
signed: on x86 the only pair for which ONNX Runtime has fused VNNI kernels (with signed activations
the same ResNet-50 ran slower than in float). Weights use seven of the eight bits, [-64, 64]: x86
without VNNI adds two products in 16 bits, and 255 x (64 + 64) is the most that never saturates.
What makes the channels stays in float, and so does the tail that turns the last feature maps into
logit and heatmap: both outputs are read as numbers.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from service.files import sha256
from service.imaging.radiograph import FloatImage
from training.config import Config
from training.fit.dataset import load_splits, load_tensors
from training.fit.train import load_network
from training.fit.weights import as_trained

OPSET = 20
OUTPUTS = ("logit", "heatmap", "embedding")
QUANTISED_OPERATORS = ["Conv", "Relu", "Clip", "MaxPool", "Add"]  # ReLU6 is a Clip
LARGEST_WEIGHT = 64
# Convolutions, the stem and two blocks, that stay in float where a network filters maps one by one:
# they are cheap, and in int8 made most of the error of EfficientNet-Lite0.
FLOAT_BEFORE_DEPTHWISE = 6
RANGE_IMAGES = 256  # of the training split; more did not move the ranges of activations
RANGE_BATCH = 4  # every activation of a batch is held at once: 0.3 GB an image at 224 px
PRECISIONS = ("float", "int8")


def graph_path(run: Path, precision: str) -> Path:
    """Where a run keeps its graph of one precision, ``"float"`` or ``"int8"``."""
    return run / "export" / f"model.{precision}.onnx"


def export(config: Config, run: Path) -> list[Path]:
    """Write both graphs of every network of a run, unless they are there for these very weights.

    Parameters
    ----------
    config
        Of the run; its training split gives the ranges of activations for int8.
    run
        Run folder; ``export/`` is written in it, and in those of its other members, beside
        ``weights.pt``.

    Returns
    -------
    list
        The files.

    Raises
    ------
    ValueError
        If another configuration or data set trained a network.
    """
    config = as_trained(config, run)
    return [graph for own, folder in config.networks(run) for graph in _export(own, folder)]


def _export(config: Config, run: Path) -> list[Path]:
    graphs = {precision: graph_path(run, precision) for precision in PRECISIONS}
    record = run / "export" / "export.json"
    weights = sha256(run / "weights.pt")
    if _is_current(record, weights, graphs):
        return list(graphs.values())
    record.parent.mkdir(exist_ok=True)
    export_float(load_network(run, config), config.input.size, graphs["float"])
    images = range_images(config)
    quantise(graphs["float"], images, graphs["int8"])
    record.write_text(json.dumps(_state(weights, graphs), indent=2) + "\n")
    return list(graphs.values())


def _is_current(record: Path, weights: str, graphs: dict[str, Path]) -> bool:
    if not record.exists() or not all(path.exists() for path in graphs.values()):
        return False
    return bool(json.loads(record.read_text()) == _state(weights, graphs))


def _state(weights: str, graphs: dict[str, Path]) -> dict[str, str | int]:
    """What was exported from what; graphs of wider weights are not current."""
    digests = {precision: sha256(path) for precision, path in graphs.items()}
    return {"weights": weights, "largest_weight": LARGEST_WEIGHT, **digests}


def range_images(config: Config) -> FloatImage:
    """At most 256 standardised synthetic images (N, 1, S, S) of the training split."""
    train: pd.DataFrame = load_splits(config)["train"]
    sample = train.sample(n=min(RANGE_IMAGES, len(train)), random_state=config.seed)
    images, _ = load_tensors(sample, config.dataset.folder, config.input)
    return images


def export_float(
    network: nn.Module, size: int, path: Path, outputs: Sequence[str] = OUTPUTS
) -> None:
    """Write the float32 graph with a free batch dimension.

    The exporter folds batch normalisation into the convolutions. Names of modules, source lines and
    paths of this computer, which it stores with every node, are removed: the same weights give the
    same bytes.

    Parameters
    ----------
    network
        In eval mode; it takes images (N, 1, S, S).
    size
        Side S of the input in pixels.
    path
        File to write.
    outputs
        Names of what it puts out.
    """
    save_clean(to_onnx(network, size, outputs), path)


def to_onnx(network: nn.Module, size: int, outputs: Sequence[str]) -> onnx.ModelProto:
    """The graph of a network in eval mode that takes ``image`` (N, 1, S, S), N free."""
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 1, size, size),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=list(outputs),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return program.model_proto


def quantise(source: Path, images: FloatImage, path: Path) -> None:
    """Write the int8 graph of a float graph.

    Parameters
    ----------
    source
        Float graph of :func:`export_float`.
    images
        Shape (N, 1, S, S) in [0, 1]: the smallest and largest activation over them set the scales.
    path
        File to write.

    References
    ----------
    ONNX Runtime documentation, "Quantize ONNX models" (static quantisation, QDQ format).
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantised = Path(folder, "prepared.onnx"), Path(folder, "quantised.onnx")
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        quantize_static(
            prepared,
            quantised,
            _Batches(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTISED_OPERATORS,
            nodes_to_exclude=[*_channels_and_tail(model), *_first_of_depthwise(model)],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,
        )
        save_clean(onnx.load(quantised), path)


def saturating_weights(model: onnx.ModelProto) -> int:
    """How many int8 weights lie beyond [-64, 64].

    Where there is none, no kernel can saturate, whichever two products it adds in 16 bits:
    255 x (64 + 64) is below 32,767. onnxruntime's option for exact kernels changes nothing then.
    """
    weights = [
        onnx.numpy_helper.to_array(tensor).astype(np.int16)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8
    ]
    return sum(int((np.abs(array) > LARGEST_WEIGHT).sum()) for array in weights)


def _channels_and_tail(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes before the first convolution and after the last feature maps.

    Before it the channels are made; after them pooling, linear layer and heatmap.
    """
    nodes = list(model.graph.node)  # ONNX keeps them in topological order
    first = next(i for i, node in enumerate(nodes) if node.op_type == "Conv")
    pooling = next(node for node in nodes[first:] if node.op_type == "ReduceMean")
    maps = pooling.input[0]
    reached, names = {maps}, [node.name for node in nodes[:first]]
    for node in nodes[first:]:
        if reached & set(node.input):
            reached |= set(node.output)
            names.append(node.name)
    return names


def _first_of_depthwise(model: onnx.ModelProto) -> list[str]:
    """Names of the first convolutions, where a network has depthwise ones."""
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    groups = (a.i for node in convolutions for a in node.attribute if a.name == "group")
    depthwise = any(group > 1 for group in groups)
    return [node.name for node in convolutions[:FLOAT_BEFORE_DEPTHWISE] if depthwise]


def save_clean(model: onnx.ModelProto, path: Path) -> None:
    """Write a checked model without anything that tells where it was made."""
    graph = model.graph
    used = {node.domain for node in graph.node}
    opsets = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    entries = (graph.node, graph.input, graph.output, graph.value_info, graph.initializer)
    for holder in (model, graph, *(item for field in entries for item in field)):
        holder.ClearField("doc_string")
        holder.ClearField("metadata_props")
    del graph.value_info[:]  # inferred again by whoever loads it
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Hands images to the quantiser, a batch at a time."""

    def __init__(self, images: FloatImage) -> None:
        starts = range(0, len(images), RANGE_BATCH)
        self._batches = ({"image": images[i : i + RANGE_BATCH]} for i in starts)

    def get_next(self) -> dict[str, FloatImage] | None:
        return next(self._batches, None)

"""Join networks and lung detail: one ONNX file with the input and outputs of a network's own.

export, lungs -> [graft] -> calibrate -> package

              +-> network ----------------> logit, heatmap, embedding
    image ----+-> reduced -> companions --> logits, heatmaps         -> sums: logit, heatmap
              +-> U-Net -> lung detail -> gain x (centre - detail) -> added to the logit

Networks keep their precision; the rest is float. The heatmap is the sum of the networks' Grad-CAMs,
weighted like their logits, on the cells of the first: what the lung detail adds has no place in the
image. The embedding is that of the first network.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper
from torch import Tensor, nn

from service.imaging.radiograph import FloatImage
from training.config import Config
from training.export import OUTPUTS, graph_path, save_clean, to_onnx
from training.lungs import LungNet, lung_detail
from training.measures import run_graph
from training.views import resampling, resize

BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """How the parts add up to the logit.

    Attributes
    ----------
    weights
        Of the networks' logits, the first network's first.
    gain, centre
        The lung detail's term is ``gain * (centre - detail)``.
    """

    weights: tuple[float, ...]
    gain: float
    centre: float

    def logit(self, logits: Sequence[NDArray[np.float32]], detail: FloatImage) -> FloatImage:
        """The joined logit (N,) of the networks' logits (N,) and the lung detail (N,)."""
        committee = sum(w * logit for w, logit in zip(self.weights, logits, strict=True))
        return np.asarray(committee + self.gain * (self.centre - detail), np.float32)


class Part(NamedTuple):
    """A network that is joined."""

    graph: bytes  # ONNX, float or int8
    size: int  # side of its input in pixels

    def logit(self, images: FloatImage) -> NDArray[np.float32]:
        """Its logits (N,) of the joined graph's images (N, 1, S, S)."""
        return run_graph(self.graph, resize(torch.from_numpy(images), self.size).numpy()).logit


def parts(config: Config, run: Path, precision: str) -> list[Part]:
    """The exported networks of a run, the first one first."""
    return [
        Part(graph_path(folder, precision).read_bytes(), own.input.size)
        for own, folder in config.networks(run)
    ]


class Head(nn.Module):
    """Radiographs (N, 1, S, S) -> the lung detail's share of the logit (N,); reduced images."""

    def __init__(self, lungs: LungNet, scales: Scales, sizes: Sequence[int]) -> None:
        super().__init__()
        self.lungs, self.scales, self.sizes = lungs, scales, sizes

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """``gain * (centre - detail)``, and an image for each size."""
        term = self.scales.gain * (self.scales.centre - lung_detail(image, self.lungs(image)))
        return term, *(resize(image, size) for size in self.sizes)


def detail_of(lungs: LungNet, images: FloatImage) -> FloatImage:
    """Lung detail (N,) of (N, 1, S, S) images, a batch at a time."""
    with torch.inference_mode():
        batches = torch.split(torch.from_numpy(images), BATCH)
        return torch.cat([lung_detail(batch, lungs(batch)) for batch in batches]).numpy()


def fit_scales(
    lungs: LungNet, networks: Sequence[Part], images: FloatImage, *, weight: float
) -> Scales:
    """Give all networks the same say, and the detail as much as all of them, times a weight.

    A say is a standard deviation on synthetic images; nothing is fitted to labels. The networks'
    part keeps the unit of the first one's logit.

    Parameters
    ----------
    networks
        The first one first.
    images
        Shape (N, 1, S, S), as the joined graph will be given them.
    """
    logits = [network.logit(images) for network in networks]
    spreads = [float(np.std(logit)) for logit in logits]
    detail = detail_of(lungs, images)
    deviation = float(np.std(detail))
    if deviation == 0:
        raise ValueError("the lung detail is the same in every image: no lungs were found")
    if not all(spreads):
        raise ValueError("a network's logit is the same for every image: it has learned nothing")
    weights = [spreads[0] / spread / len(spreads) for spread in spreads]
    committee = sum(w * logit for w, logit in zip(weights, logits, strict=True))
    gain = weight * float(np.std(committee)) / deviation
    return Scales(weights=tuple(weights), gain=gain, centre=float(np.mean(detail)))


def graft(lungs: LungNet, scales: Scales, networks: Sequence[Part], path: Path) -> None:
    """Write the joined graph; the same parts give the same bytes.

    Parameters
    ----------
    lungs
        In evaluation mode.
    networks
        The first one first: the joined graph has its heatmap and embedding. Its input is the
        largest of theirs.
    path
        File to write.
    """
    size = max(network.size for network in networks)
    sizes = sorted({network.size for network in networks} - {size})
    reduced = [f"image_{side}" for side in sizes]
    joined = to_onnx(Head(lungs, scales, sizes).eval(), size, ("term", *reduced))
    graph = joined.graph
    outputs: dict[str, onnx.ValueInfoProto] = {}
    for number, network in enumerate(networks):
        own = compose.add_prefix(onnx.load_from_string(network.graph), _prefix(number))
        image = "image" if network.size == size else f"image_{network.size}"
        for node in own.graph.node:
            node.input[:] = [
                image if name == f"{_prefix(number)}image" else name for name in node.input
            ]
        joined.ir_version = max(joined.ir_version, own.ir_version)
        outputs |= {output.name: output for output in own.graph.output}
        graph.node.extend(own.graph.node)
        graph.initializer.extend(own.graph.initializer)

    logits = [_prefix(number) + "logit" for number in range(len(networks))]
    heatmaps = [_prefix(number) + "heatmap" for number in range(len(networks))]
    cells = [outputs[name].type.tensor_type.shape.dim[1].dim_value for name in heatmaps]
    for number, found in enumerate(cells):
        if found != cells[0]:
            heatmaps[number] = _regrid(graph, heatmaps[number], found, cells[0])
    _sum(graph, "logit", logits, scales.weights, ["term"])
    _sum(graph, "heatmap", heatmaps, scales.weights, [])
    graph.node.append(
        helper.make_node("Identity", [_prefix(0) + "embedding"], ["embedding"], "name_embedding")
    )
    del graph.output[:]
    for name in OUTPUTS:
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        output.type.CopyFrom(outputs[_prefix(0) + name].type)
        graph.output.append(output)
    compute_once(graph)
    save_clean(joined, path)


def regridding(cells: int, wanted: int) -> NDArray[np.float32]:
    """The matrix (wanted, cells) that spreads a heatmap's evidence over another number of cells.

    Applied along both sides. A cell's value is its share of the logit, so that smaller cells have
    smaller values.
    """
    return np.array(resampling(cells, wanted), np.float32) * np.float32(cells / wanted)


def _regrid(graph: onnx.GraphProto, name: str, cells: int, wanted: int) -> str:
    """Add nodes that bring the heatmap ``name`` to (N, wanted, wanted); returns its new name."""
    matrix = regridding(cells, wanted)
    for side, values in (("down", matrix), ("across", np.ascontiguousarray(matrix.T))):
        graph.initializer.append(numpy_helper.from_array(values, f"{name}_{side}"))
    halfway, whole = f"{name}_halfway", f"{name}_regridded"
    graph.node.append(
        helper.make_node("MatMul", [f"{name}_down", name], [halfway], f"regrid_down_{name}")
    )
    graph.node.append(
        helper.make_node("MatMul", [halfway, f"{name}_across"], [whole], f"regrid_across_{name}")
    )
    return whole


def compute_once(graph: onnx.GraphProto) -> None:
    """Leave out nodes that do what an earlier one does: the views that networks share."""
    constants = {constant.name: _content(constant) for constant in graph.initializer}
    first: dict[Hashable, Sequence[str]] = {}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:  # in topological order
        node.input[:] = [renamed.get(name, name) for name in node.input]
        attributes = sorted(
            attribute.SerializeToString(deterministic=True) for attribute in node.attribute
        )
        inputs = tuple(constants.get(name, name) for name in node.input)
        task = (node.op_type, node.domain, tuple(attributes), inputs, len(node.output))
        if task in first:
            renamed |= dict(zip(node.output, first[task], strict=True))
        else:
            first[task] = list(node.output)
            kept.append(node)
    used = {name for node in kept for name in node.input}
    constants_kept = [constant for constant in graph.initializer if constant.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(constants_kept)


def _content(constant: onnx.TensorProto) -> bytes:
    """Values, shape and type, however they are stored; not the name."""
    nameless = onnx.TensorProto()
    nameless.CopyFrom(constant)
    nameless.name = ""
    return bytes(nameless.SerializeToString(deterministic=True))


def _prefix(number: int) -> str:
    """Before the names of a network's nodes and outputs."""
    return f"companion_{number}_" if number else "network_"


def _sum(
    graph: onnx.GraphProto,
    name: str,
    parts: Sequence[str],
    weights: Sequence[float],
    others: Sequence[str],
) -> None:
    """Add nodes that make the output ``name``: the weighted ``parts`` and ``others``."""
    terms = list(others)
    for part, weight in zip(parts, weights, strict=True):
        factor = numpy_helper.from_array(np.array(weight, np.float32), f"{part}_weight")
        graph.initializer.append(factor)
        graph.node.append(
            helper.make_node("Mul", [part, factor.name], [f"{part}_share"], f"weigh_{part}")
        )
        terms.append(f"{part}_share")
    graph.node.append(helper.make_node("Sum", terms, [name], f"sum_{name}"))

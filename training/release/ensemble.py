"""Join networks and lung detail to an ensemble: one ONNX file with a network's input and outputs.

export, lungs -> [ensemble] -> calibrate -> package

              +-> network ----------------> logit, heatmap, embedding
    image ----+-> views --> others -------> logits, heatmaps         -> sums: logit, heatmap
              +-> U-Net -> lung detail -> gain x (centre - detail) x child -> added to the logit

where ``child``, the probability that the film is a child's, comes from embeddings of the
networks (:mod:`training.release.age`), or is 1 for all. Views are images of the size that a network
reads; some read a second one of each film, and put out the mean
(:mod:`training.networks.second_view`).

Networks keep their precision; the rest is float. The heatmap is the sum of the networks' Grad-CAMs,
weighted like their logits, on the cells of the first: what the lung detail adds has no place in the
image. The embedding is that of the first network.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, DeduplicateInitializersPass
from torch import Tensor, nn

from service.imaging.radiograph import FloatImage
from service.model.session import Outputs
from training.config import Config
from training.networks.channels import resampling, resize
from training.networks.lungs import LungNet, lung_detail
from training.networks.second_view import placing, second_view
from training.release.age import AgeSign
from training.release.export import OUTPUTS, graph_path, save_clean, to_onnx
from training.release.measures import run_graph

BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """How the parts add up to the logit.

    Attributes
    ----------
    weights
        Of the networks' logits, the first network's first.
    gain, centre
        The lung detail's term is ``gain * (centre - detail)``, times the probability of a child
        where ``age`` tells it.
    age
        What tells children from adults; None where the detail counts in all films.
    """

    weights: tuple[float, ...]
    gain: float
    centre: float
    age: AgeSign | None = None

    def weighted_sum(self, outputs: Sequence[Outputs]) -> FloatImage:
        """The weighted sum of the networks' logits, (N,)."""
        shares = (w * own.logit for w, own in zip(self.weights, outputs, strict=True))
        return np.asarray(sum(shares), np.float32)

    def logit(self, outputs: Sequence[Outputs], detail: FloatImage) -> FloatImage:
        """The joined logit (N,) of what the networks put out and the lung detail (N,)."""
        term = self.gain * (self.centre - detail) * detail_weight(self.age, outputs)
        return self.weighted_sum(outputs) + np.asarray(term, np.float32)


def detail_weight(age: AgeSign | None, outputs: Sequence[Outputs]) -> FloatImage:
    """How much the detail counts in each film, (N,) in [0, 1]; 1 where ``age`` is None."""
    if age is None:
        return np.ones(len(outputs[0].logit), np.float32)
    return age.child([own.embedding for own in outputs])


class Member(NamedTuple):
    """A network of the ensemble."""

    graph: bytes  # ONNX, float or int8
    size: int  # side of its input in pixels
    second_view: float = 0.0  # fraction of each side that it reads once more; 0 for none

    def views(self, image: Tensor) -> Tensor:
        """What it reads of images (N, 1, S, S): the second views after all the first ones."""
        first = resize(image, self.size)
        if not self.second_view:
            return first
        return torch.cat([first, second_view(first, self.second_view)])

    def read(self, images: FloatImage) -> Outputs:
        """What it puts out for the joined graph's images (N, 1, S, S)."""
        outputs = run_graph(self.graph, self.views(torch.from_numpy(images)).numpy())
        if not self.second_view:
            return outputs
        down, across = placing(outputs.heatmap.shape[1], self.second_view)
        half = len(images)
        return Outputs(
            logit=_mean(outputs.logit[:half], outputs.logit[half:]),
            heatmap=_mean(outputs.heatmap[:half], down @ outputs.heatmap[half:] @ across),
            embedding=_mean(outputs.embedding[:half], outputs.embedding[half:]),
        )

    @property
    def image(self) -> str:
        """The name of its views in the joined graph."""
        return f"image_{self.size}" + (f"_and_{self.second_view}" if self.second_view else "")


def _mean(first: FloatImage, second: NDArray[np.floating]) -> FloatImage:
    return np.asarray((first + second) / 2, np.float32)


def members(config: Config, run: Path, precision: str) -> list[Member]:
    """The exported networks of a run, the first one first."""
    return [
        Member(graph_path(folder, precision).read_bytes(), own.input.size, share)
        for (own, folder), share in zip(config.networks(run), config.second_views, strict=True)
    ]


class Head(nn.Module):
    """Radiographs (N, 1, S, S) -> the lung detail's share of the logit (N,); networks' views."""

    def __init__(self, lungs: LungNet, scales: Scales, networks: Iterable[Member]) -> None:
        super().__init__()
        self.lungs, self.scales, self.networks = lungs, scales, networks

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """``gain * (centre - detail)``, and the views of each network."""
        term = self.scales.gain * (self.scales.centre - lung_detail(image, self.lungs(image)))
        return term, *(network.views(image) for network in self.networks)


def detail_of(lungs: LungNet, images: FloatImage) -> FloatImage:
    """Lung detail (N,) of (N, 1, S, S) images, a batch at a time."""
    with torch.inference_mode():
        batches = torch.split(torch.from_numpy(images), BATCH)
        return torch.cat([lung_detail(batch, lungs(batch)) for batch in batches]).numpy()


def fit_scales(
    outputs: Sequence[Outputs],
    detail: FloatImage,
    *,
    counts: Sequence[float],
    weight: float,
    age: AgeSign | None = None,
) -> Scales:
    """Weigh the networks by ``counts``, and the detail like all of them together, times ``weight``.

    What is made alike is the standard deviation on synthetic images, for the detail on those of
    children where ``age`` tells them; nothing is fitted to labels. The networks' part keeps the
    unit of the first one's logit.

    Parameters
    ----------
    outputs
        Of each network for the same N images, the first one's first.
    detail
        The images' lung detail, (N,).
    counts
        How much each network counts, in proportion.
    """
    spreads = [float(np.std(own.logit)) for own in outputs]
    if not all(spreads):
        raise ValueError("a network's logit is the same for every image: it has learned nothing")
    counted = detail_weight(age, outputs)
    deviation = _spread(detail, counted)
    if deviation == 0:
        raise ValueError("the lung detail is the same in every image: no lungs were found")
    shares = [count / sum(counts) for count in counts]
    weights = tuple(
        share * spreads[0] / spread for share, spread in zip(shares, spreads, strict=True)
    )
    logit = Scales(weights=weights, gain=0, centre=0).weighted_sum(outputs)
    return Scales(
        weights=weights,
        gain=weight * _spread(logit, counted) / deviation,
        centre=float(np.average(detail, weights=counted)),
        age=age,
    )


def _spread(values: FloatImage, counted: FloatImage) -> float:
    """Standard deviation, each value as often as it is counted."""
    mean = np.average(values, weights=counted)
    return float(np.sqrt(np.average((values - mean) ** 2, weights=counted)))


def write_ensemble(lungs: LungNet, scales: Scales, networks: Sequence[Member], path: Path) -> None:
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
    made = {own.image: own for own in networks if own.second_view or own.size != size}
    head = Head(lungs, scales, made.values())
    joined = to_onnx(head.eval(), size, ("term", *made))
    graph = joined.graph
    outputs: dict[str, onnx.ValueInfoProto] = {}
    for number, network in enumerate(networks):
        own = compose.add_prefix(onnx.load_from_string(network.graph), _prefix(number))
        image = network.image if network.image in made else "image"
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
    embeddings = [_prefix(number) + "embedding" for number in range(len(networks))]
    cells = [outputs[name].type.tensor_type.shape.dim[1].dim_value for name in heatmaps]
    for number, (network, found) in enumerate(zip(networks, cells, strict=True)):
        if network.second_view:
            logits[number] = _mean_of_views(graph, logits[number])
            embeddings[number] = _mean_of_views(graph, embeddings[number])
            placed = placing(found, network.second_view)
            heatmaps[number] = _mean_of_views(graph, heatmaps[number], placed)
        if found != cells[0]:
            matrix = regridding(found, cells[0])
            both_sides = matrix, np.ascontiguousarray(matrix.T)
            heatmaps[number] = _on_both_sides(graph, heatmaps[number], both_sides, "regridded")
    term = "term" if scales.age is None else _for_children(graph, "term", embeddings, scales.age)
    _sum(graph, "logit", logits, scales.weights, [term])
    _sum(graph, "heatmap", heatmaps, scales.weights, [])
    _node(graph, "Identity", embeddings[:1], "embedding")
    del graph.output[:]
    for name in OUTPUTS:
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        output.type.CopyFrom(outputs[_prefix(0) + name].type)
        graph.output.append(output)
    save_clean(compute_once(joined), path)


def regridding(cells: int, wanted: int) -> NDArray[np.float32]:
    """The matrix (wanted, cells) that spreads a heatmap's evidence over another number of cells.

    Applied along both sides. A cell's value is its share of the logit, so that smaller cells have
    smaller values.
    """
    return np.array(resampling(cells, wanted), np.float32) * np.float32(cells / wanted)


def _for_children(
    graph: onnx.GraphProto, term: str, embeddings: Sequence[str], age: AgeSign
) -> str:
    """Add nodes that multiply ``term`` (N,) by the probability of a child; returns the product."""
    weights = _constant(graph, "age_weights", age.weights[:, np.newaxis])
    bias = _constant(graph, "age_bias", np.array([age.bias]))
    one_column = _constant(graph, "one_column", np.array([-1], np.int64))
    joined = _node(graph, "Concat", embeddings, "embeddings", axis=1)
    column = _node(graph, "Gemm", [joined, weights, bias], "age_column")
    logit = _node(graph, "Reshape", [column, one_column], "age_logit")
    child = _node(graph, "Sigmoid", [logit], "child")
    return _node(graph, "Mul", [term, child], f"{term}_of_children")


Matrices = tuple[NDArray[np.float32], NDArray[np.float32]]


def _mean_of_views(graph: onnx.GraphProto, name: str, placed: Matrices | None = None) -> str:
    """Add nodes that average ``name`` over both views, a second heatmap ``placed`` on the first."""
    first, second = f"{name}_of_first", f"{name}_of_second"
    graph.node.append(helper.make_node("Split", [name], [first, second], num_outputs=2))
    if placed:
        second = _on_both_sides(graph, second, placed, "placed")
    return _node(graph, "Mean", [first, second], f"{name}_of_both")


def _on_both_sides(graph: onnx.GraphProto, name: str, matrices: Matrices, said: str) -> str:
    """Add nodes that multiply ``name`` by a matrix from each side; returns its new name."""
    down, across = matrices
    left = _constant(graph, f"{name}_down", down)
    right = _constant(graph, f"{name}_across", across)
    halfway = _node(graph, "MatMul", [left, name], f"{name}_halfway")
    return _node(graph, "MatMul", [halfway, right], f"{name}_{said}")


def _constant(graph: onnx.GraphProto, name: str, values: NDArray[np.generic]) -> str:
    """Add a constant; returns its name."""
    graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def _node(
    graph: onnx.GraphProto, kind: str, inputs: Sequence[str], output: str, **attributes: Any
) -> str:
    """Add a node; returns the name of its output."""
    graph.node.append(helper.make_node(kind, inputs, [output], f"make_{output}", **attributes))
    return output


def compute_once(model: onnx.ModelProto) -> onnx.ModelProto:
    """Leave out nodes that do what an earlier one does: the channels that networks share."""
    once = ir.passes.Sequential(
        DeduplicateInitializersPass(size_limit=sys.maxsize),
        CommonSubexpressionEliminationPass(size_limit=sys.maxsize),
    )
    return ir.to_proto(once(ir.from_proto(model)).model)


def _prefix(number: int) -> str:
    """Before the names of a network's nodes and outputs, as models have always had them."""
    return f"companion_{number}_" if number else "network_"


def _sum(
    graph: onnx.GraphProto,
    name: str,
    parts: Sequence[str],
    weights: Sequence[float],
    others: Sequence[str],
) -> None:
    """Add nodes that make the output ``name``: the weighted ``parts`` and ``others``."""
    shares = []
    for part, weight in zip(parts, weights, strict=True):
        factor = _constant(graph, f"{part}_weight", np.array(weight, np.float32))
        shares.append(_node(graph, "Mul", [part, factor], f"{part}_share"))
    _node(graph, "Sum", [*others, *shares], name)

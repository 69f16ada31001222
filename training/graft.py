"""Join the lung detail to the network's graph: one ONNX file with the same input and outputs.

export, lungs -> [graft] -> calibrate -> package

    image -> equalise -> network ---------------> heatmap, embedding, logit of the network
      |                                                                      |
      +----> U-Net -> lung detail -> gain x (centre - detail) -------------- + -> logit

The network's part keeps its precision; the rest is float. The heatmap stays Grad-CAM of the
network's logit: what the lung detail adds has no place in the image.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper
from torch import Tensor, nn

from service.imaging.radiograph import FloatImage
from training.export import OUTPUTS, save_clean, to_onnx
from training.lungs import LungNet, equalise, lung_detail
from training.measures import run_graph

INNER = "network_"  # before the names of the network's own nodes and outputs
BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class DetailScale:
    """The term in units of the logit: ``gain * (centre - detail)``."""

    gain: float
    centre: float


class ReadingHead(nn.Module):
    """What comes before and beside the network: (N, 1, S, S) -> network's input, term (N,)."""

    def __init__(self, lungs: LungNet, scale: DetailScale, *, equalised: bool) -> None:
        super().__init__()
        self.lungs, self.scale, self.equalised = lungs, scale, equalised

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Image for the network, and the lung detail's share of the logit."""
        detail = lung_detail(image, self.lungs(image))
        term = self.scale.gain * (self.scale.centre - detail)
        return (equalise(image) if self.equalised else image * 1.0), term


def fit_scale(
    lungs: LungNet, network: bytes, images: FloatImage, *, weight: float, equalised: bool
) -> DetailScale:
    """Bring the detail to the spread of the network's logits on synthetic images, times a weight.

    Parameters
    ----------
    network
        ONNX graph of the network alone.
    images
        Shape (N, 1, S, S) as the joined graph will be given them.
    weight
        1 gives both the same spread; nothing is fitted to labels.
    equalised
        Whether the network takes equalised images.
    """
    with torch.inference_mode():
        parts = torch.split(torch.from_numpy(images), BATCH)
        detail = torch.cat([lung_detail(part, lungs(part)) for part in parts]).numpy()
        inputs = torch.cat([equalise(part) if equalised else part for part in parts]).numpy()
    deviation = float(np.std(detail))
    if deviation == 0:
        raise ValueError("the lung detail is the same in every image: no lungs were found")
    gain = weight * float(np.std(run_graph(network, inputs).logit)) / deviation
    return DetailScale(gain=gain, centre=float(np.mean(detail)))


def graft(head: ReadingHead, network: bytes, size: int, path: Path) -> None:
    """Write the joined graph; the same parts give the same bytes.

    Parameters
    ----------
    head
        In evaluation mode.
    network
        ONNX graph of the network alone, float or int8.
    size
        Side S of the input in pixels.
    path
        File to write.
    """
    first = to_onnx(head.eval(), size, ("equalised", "term"))
    second = compose.add_prefix(onnx.load_from_string(network), INNER)
    second.ir_version = first.ir_version = max(first.ir_version, second.ir_version)
    joined = compose.merge_models(
        first,
        second,
        io_map=[("equalised", f"{INNER}image")],
        outputs=["term", *(INNER + name for name in OUTPUTS)],
    )
    graph = joined.graph
    graph.node.append(helper.make_node("Add", [f"{INNER}logit", "term"], ["logit"], "add_term"))
    for name in OUTPUTS[1:]:
        graph.node.append(helper.make_node("Identity", [INNER + name], [name], f"name_{name}"))
    shapes = {output.name: output for output in graph.output}
    del graph.output[:]
    for name in OUTPUTS:
        shape = shapes[INNER + name].type.tensor_type.shape
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        output.type.tensor_type.shape.CopyFrom(shape)
        graph.output.append(output)
    save_clean(joined, path)

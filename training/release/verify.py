"""Proof that what ships is what was trained.

export -> package -> [verify]
(a) torch and ONNX Runtime agree on float logits; (b) quantisation costs next to no AUROC; (c) the
graph's heatmap is Grad-CAM as pytorch-grad-cam computes it from gradients; (d) the packaged model
is the exported graph, has no int8 weight that saturates on some processor, and its golden readings
replay through the very Reader that serves.
"""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from service.files import sha256
from service.imaging.decode import Limits
from service.imaging.radiograph import FloatImage
from service.model.bundle import Bundle
from service.model.golden import TOLERANCE, golden_readings, replay
from service.model.manifest import Manifest
from service.model.reader import Reader
from training.config import Config
from training.fit.dataset import load_splits, load_tensors
from training.fit.fit_lungs import load_lungs
from training.fit.train import load_network
from training.fit.weights import as_trained
from training.networks.pneumonia import PneumoniaNet
from training.release.age import AgeSign
from training.release.ensemble import Scales, detail_of, members
from training.release.export import LARGEST_WEIGHT, graph_path, saturating_weights
from training.release.measures import auroc, run_graph

LOGIT_TOLERANCE = 1e-4
ENSEMBLE_TOLERANCE = 1e-3
AUROC_LOSS = 0.003
HEATMAP_TOLERANCE = 1e-4  # after dividing each map by its own maximum
COMPARED_IMAGES = 32  # for (a) and (c); (b) uses the whole validation split
# Float64 activations of ResNet-50 at 224 px, kept for the gradient, take 0.2 GB an image.
GRADIENT_BATCH = 4
# A map without a peak has no scale: below this sum over its cells, in units of the logit, dividing
# by the maximum would compare rounding errors.
LEAST_EVIDENCE = 0.01


@dataclass(frozen=True, slots=True)
class Check:
    """One measured figure and the most it may be."""

    name: str
    asked: float
    measured: float

    @property
    def passed(self) -> bool:
        """Whether the figure is within what is asked; NaN never is."""
        return self.measured <= self.asked


def verify(config: Config, run: Path, model: Path) -> list[Check]:
    """Measure everything for a run folder and the model packaged from it.

    Parameters
    ----------
    config, run
        Of the fit; ``run`` holds ``weights.pt`` and ``export/``.
    model
        Folder with ``manifest.json``.

    Raises
    ------
    ReadingError
        If a packaged file is not the one the manifest names.
    ValueError
        If another configuration or data set trained a network.
    """
    config = as_trained(config, run)
    return [
        *(check for own, folder in config.networks(run) for check in check_network(own, folder)),
        check_identity(run, model)
        if config.lung_detail is None
        else check_ensemble(config, run, model),
        check_weights(model),
        *check_golden(model),
    ]


def check_network(config: Config, run: Path) -> list[Check]:
    """Compare one network with its exported graphs, on the validation split."""
    network = load_network(run, config)
    frame = load_splits(config)["validation"]
    images, labels = load_tensors(frame, config.dataset.folder, config.input)
    float_graph = graph_path(run, "float").read_bytes()
    int8_graph = graph_path(run, "int8").read_bytes()
    some = images[_of_both_classes(labels)]
    checks = [
        check_logits(network, float_graph, some),
        check_quantisation(float_graph, int8_graph, images, labels),
        check_heatmap(network, float_graph, some),
    ]
    return [replace(check, name=f"{run.name}: {check.name}") for check in checks]


def _of_both_classes(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """Rows of the first images of each class, 32 in all."""
    rows = [np.flatnonzero(labels == label)[: COMPARED_IMAGES // 2] for label in (0, 1)]
    return np.concatenate(rows)


def check_logits(network: PneumoniaNet, graph: bytes, images: FloatImage) -> Check:
    """Largest difference between torch's and ONNX Runtime's logits on (N, 1, S, S) images."""
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).logit.numpy()
    measured = _largest(expected - run_graph(graph, images).logit)
    name = "torch = ONNX Runtime, float logits, largest difference"
    return Check(name, asked=LOGIT_TOLERANCE, measured=measured)


def check_quantisation(
    float_graph: bytes, int8_graph: bytes, images: FloatImage, labels: NDArray[np.integer]
) -> Check:
    """AUROC that int8 loses against float; negative where it gains."""
    before = auroc(labels, run_graph(float_graph, images).logit)
    lost = before - auroc(labels, run_graph(int8_graph, images).logit)
    return Check("int8 against float, AUROC lost on validation", asked=AUROC_LOSS, measured=lost)


def check_heatmap(network: PneumoniaNet, graph: bytes, images: FloatImage) -> Check:
    """Largest difference between the graph's heatmap and pytorch-grad-cam's.

    Each map is divided by its own maximum. The reference is computed in float64. Maps without
    evidence (sum below 0.01 logit in both) have no scale and are left out; if none remains, nothing
    is proven and the check fails.
    """
    reference = grad_cam(network, images)
    heatmap = run_graph(graph, images).heatmap
    kept = np.maximum(reference.sum(axis=(1, 2)), heatmap.sum(axis=(1, 2))) > LEAST_EVIDENCE
    difference = _to_maximum_one(reference[kept]) - _to_maximum_one(heatmap[kept])
    name = f"graph's heatmap = pytorch-grad-cam, largest difference ({kept.sum()} maps)"
    return Check(name, asked=HEATMAP_TOLERANCE, measured=_largest(difference))


def grad_cam(network: PneumoniaNet, images: FloatImage) -> NDArray[np.float64]:
    """Grad-CAM on the last convolutional layer, by autograd, of shape (N, h, w).

    Before any rescaling: pytorch-grad-cam stretches every map it returns to [0, 1] and to the
    image's size; its ``get_cam_image`` gives the map itself.
    """
    twin = LogitColumn(copy.deepcopy(network).double().eval())
    layer = twin.network.backbone.last
    maps = []
    with GradCAM(model=twin, target_layers=[layer]) as cam:
        for start in range(0, len(images), GRADIENT_BATCH):
            batch = torch.from_numpy(images[start : start + GRADIENT_BATCH]).double()
            targets = [ClassifierOutputTarget(0)] * len(batch)
            cam(input_tensor=batch, targets=targets)
            activations = cam.activations_and_grads.activations[0].numpy()
            gradients = cam.activations_and_grads.gradients[0].numpy()
            maps.append(cam.get_cam_image(batch, layer, targets, activations, gradients))
    positive: NDArray[np.float64] = np.maximum(np.concatenate(maps), 0.0)
    return positive


class LogitColumn(nn.Module):
    """The network as pytorch-grad-cam expects one: scores of shape (N, classes)."""

    def __init__(self, network: PneumoniaNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Logits of shape (N, 1)."""
        logit: Tensor = self.network(image).logit
        return logit[:, None]


def check_identity(run: Path, model: Path) -> Check:
    """Count packaged graphs (0 or 1) that are not the exported one."""
    manifest = Manifest.load(model / "manifest.json")
    exported = sha256(graph_path(run, manifest.precision))
    differ = sha256(model / manifest.graph) != exported
    name = f"packaged graph = exported {manifest.precision} graph, files that differ"
    return Check(name, asked=0, measured=float(differ))


def check_ensemble(config: Config, run: Path, model: Path) -> Check:
    """Largest difference between the packaged logits and those of its parts, put together here."""
    manifest = Manifest.load(model / "manifest.json")
    frame = load_splits(config)["validation"].head(COMPARED_IMAGES)
    images, _ = load_tensors(frame, config.dataset.folder, manifest.input)
    made = manifest.provenance
    scales = Scales(
        weights=tuple(made["network_weights"]),
        gain=made["lung_detail"]["gain"],
        centre=made["lung_detail"]["centre"],
        age=AgeSign.load(run) if "age_sha256" in made["lung_detail"] else None,
    )
    outputs = [member.read(images) for member in members(config, run, manifest.precision)]
    joined = scales.logit(outputs, detail_of(load_lungs(run), images))
    packaged = run_graph((model / manifest.graph).read_bytes(), images)
    name = "packaged graph = exported graphs + lung detail, logits, largest difference"
    return Check(name, asked=ENSEMBLE_TOLERANCE, measured=_largest(packaged.logit - joined))


def check_weights(model: Path) -> Check:
    """Count int8 weights that could saturate the kernels of processors without VNNI."""
    graph = Manifest.load(model / "manifest.json").graph
    beyond = saturating_weights(onnx.load(model / graph))
    name = f"int8 weights beyond {LARGEST_WEIGHT}, which can saturate"
    return Check(name, asked=0, measured=float(beyond))


def check_golden(model: Path) -> list[Check]:
    """Replay ``golden.json`` through the Reader; largest differences of probability and heatmap."""
    bundle = Bundle.open(model)
    reader = Reader(bundle, limits=Limits(), threads=0)
    agreement = replay(reader, golden_readings(bundle))
    measured = {"probability": agreement.probability, "heatmap": agreement.heatmap}
    end = f"largest difference ({agreement.images} images)"
    return [
        Check(f"golden {name}, {end}", asked=TOLERANCE, measured=difference)
        for name, difference in measured.items()
    ]


def table(checks: list[Check]) -> str:
    """Lines of what is asked and what was measured."""
    width = max(len(check.name) for check in checks)
    lines = [f"{'':{width}}  {'asked':>8}  {'measured':>9}"]
    lines += [
        f"{check.name:{width}}  {check.asked:8.0e}  {check.measured:9.2e}  "
        f"{'ok' if check.passed else 'FAILED'}"
        for check in checks
    ]
    return "\n".join(lines)


def _largest(difference: NDArray[np.floating]) -> float:
    """Largest absolute value; NaN where there is nothing to compare."""
    return float(np.abs(difference).max()) if difference.size else float("nan")


def _to_maximum_one(maps: NDArray[np.floating]) -> NDArray[np.floating]:
    """Divide each (h, w) map of (N, h, w) by its maximum; empty maps stay as they are."""
    peaks = maps.max(axis=(1, 2), keepdims=True) if len(maps) else np.ones((0, 1, 1))
    return maps / np.where(peaks > 0, peaks, 1.0)

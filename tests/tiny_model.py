"""A real model folder in a second: ResNet-18 with random weights on 64-pixel images."""

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from service.findings.calibration import Calibration, OperatingPoint
from service.findings.gate import Gate
from service.imaging.standardise import InputSpec
from service.model.manifest import Manifest
from service.model.reader import Reader
from tests.factories import Pixels, png_bytes
from training.networks.pneumonia import PneumoniaNet
from training.release.export import export_float

SPEC = InputSpec(size=64, crop=0.9, equalise=True, mean=0.5, std=0.29)
POINT = OperatingPoint(name="balanced", threshold=0.5, sensitivity=0.9, specificity=0.8)
GATE = Gate(graph="gate.onnx", threshold=0.5)
CARD = "# Tiny\n\nRandom weights. Research use only.\n"


def write_model(folder: Path, *, seed: int = 0) -> None:
    """Write graph, card and manifest; ``folder`` is ``<name>/<version>``."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    network = PneumoniaNet("resnet18", 4, mean=SPEC.mean, std=SPEC.std).eval()
    export_float(network, SPEC.size, folder / "model.onnx")
    (folder / "MODEL_CARD.md").write_text(CARD)
    write_manifest(folder)


class BrighterBelow(nn.Module):
    """A gate for tests: familiar is what is brighter below than above."""

    def forward(self, image: Tensor) -> Tensor:
        half = image.shape[-2] // 2
        return torch.sigmoid(8 * (image[..., half:, :] - image[..., :half, :]).mean(dim=(1, 2, 3)))


def ramp() -> Pixels:
    """Brighter below: familiar to :class:`BrighterBelow`; upside down it is not."""
    return np.tile(np.linspace(10, 240, 90).astype(np.uint8)[:, np.newaxis], 80)


FAMILIAR, UNFAMILIAR = png_bytes(ramp()), png_bytes(ramp()[::-1])


def write_gate(folder: Path, *, size: int = SPEC.size) -> None:
    """Give a model folder a gate, and a manifest that says so."""
    export_float(BrighterBelow().eval(), size, folder / GATE.graph, ["familiarity"])
    write_manifest(folder)


def write_golden(folder: Path, *, off: float = 0.0) -> None:
    """Give a model folder one golden reading whose probability is wrong by ``off``."""
    reading = Reader.open(folder).read(FAMILIAR)
    entry = {
        "image": base64.b64encode(FAMILIAR).decode(),
        "probability": reading.probability + off,
        "heatmap": reading.heatmap.tolist(),
    }
    (folder / "golden.json").write_text(json.dumps({"readings": [entry]}))
    write_manifest(folder)


def write_manifest(folder: Path) -> None:
    """Write a manifest that is true of the files beside it."""
    files = [path for path in sorted(folder.iterdir()) if path.name != "manifest.json"]
    manifest = Manifest(
        name=folder.parent.name,
        version=folder.name,
        graph="model.onnx",
        precision="float",
        input=SPEC,
        calibration=Calibration(temperature=1.5),
        operating_points=(POINT,),
        default_operating_point=POINT.name,
        heatmap_scale=5.0,
        sha256={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        provenance={},
        gate=GATE if (folder / GATE.graph).exists() else None,
    )
    (folder / "manifest.json").write_text(manifest.to_json())

"""How much the gradient-free heatmap saves, and int8 over float.

    python benchmarks/gradcam.py [--threads 2] [--repeats 10]

The same ResNet-50 (random weights: time does not depend on them), 224 px, the same number of
threads, every contender in turn within one process; the fastest of the repeats counts. Ratios are
what carries over to another computer, milliseconds are not.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from service.model.session import Session
from training.networks.pneumonia import PneumoniaNet
from training.release.export import export_float, quantise
from training.release.verify import LogitColumn

SIZE = 224
BATCHES = (1, 8)

Run = Callable[[NDArray[np.float32]], object]


def contenders(threads: int) -> dict[str, Run]:
    """Name -> function that yields logit and heatmap of (N, 1, 224, 224) images."""
    torch.manual_seed(0)
    network = PneumoniaNet("resnet50", 4, mean=0.5, std=0.25).eval()
    ranges = np.random.default_rng(0).random((16, 1, SIZE, SIZE), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        float_graph, int8_graph = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        export_float(network, SIZE, float_graph)
        quantise(float_graph, ranges, int8_graph)
        int8, float32 = (
            Session(p.read_bytes(), threads=threads) for p in (int8_graph, float_graph)
        )
    column = LogitColumn(network)
    cam = GradCAM(model=column, target_layers=[network.backbone.last])

    def torch_gradients(images: NDArray[np.float32]) -> object:
        return cam(torch.from_numpy(images), [ClassifierOutputTarget(0)] * len(images))

    return {"int8": int8.run, "float": float32.run, "pytorch-grad-cam": torch_gradients}


def fastest(run: dict[str, Run], batch: int, repeats: int) -> dict[str, float]:
    """Milliseconds an image, the best of ``repeats`` rounds in which each contender runs once."""
    images = np.random.default_rng(1).random((batch, 1, SIZE, SIZE), dtype=np.float32)
    best = dict.fromkeys(run, float("inf"))
    for _ in range(repeats + 1):  # the first also warms up
        for name, function in run.items():
            start = time.perf_counter()
            function(images)
            best[name] = min(best[name], (time.perf_counter() - start) * 1e3 / batch)
    return best


def main() -> None:
    """Print one line a batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    run = contenders(arguments.threads)
    print(
        f"logit and heatmap, ms an image, {arguments.threads} threads, best of {arguments.repeats}"
    )
    for batch in BATCHES:
        ms = fastest(run, batch, arguments.repeats)
        gradient = ms["pytorch-grad-cam"]
        print(f"batch {batch}: " + ", ".join(f"{name} {value:.1f}" for name, value in ms.items()))
        print(
            f"         pytorch-grad-cam / float {gradient / ms['float']:.1f}, "
            f"pytorch-grad-cam / int8 {gradient / ms['int8']:.1f}, "
            f"float / int8 {ms['float'] / ms['int8']:.1f}"
        )


if __name__ == "__main__":
    main()

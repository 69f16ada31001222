"""What bfloat16 and channels_last save in training, and what loading images costs.

    python benchmarks/train.py [--steps 4]

ResNet-50 at 128 px, batches of 32, forward, backward and optimiser. The contenders take turns in
one process; the fastest step of each counts. Ratios are what carries over to another computer.
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from tests.sources import ROOT
from training.config import Config
from training.fit.dataset import PairedBatches, TrainingImages
from training.fit.distributed import Rank
from training.generate.store import generate
from training.networks.pneumonia import PneumoniaNet

BATCH, SIZE, PAIRS = 32, 128, 16


def stepper(*, bfloat16: bool, channels_last: bool) -> Callable[[], None]:
    """One optimiser step on random images, as ``training.fit.train`` takes it."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = PneumoniaNet("resnet50", 4, mean=0.5, std=0.29).to(memory_format=layout)
    optimiser = torch.optim.AdamW(network.parameters())
    images = torch.rand(BATCH, 1, SIZE, SIZE).to(memory_format=layout)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs, cells = network.forward_with_mask(images)
        optimiser.zero_grad()
        (outputs.logit.float().mean() + cells.float().mean()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def loading(folder: Path) -> Callable[[], None]:
    """Decode, augment and standardise one batch of real training images, in this process."""
    config = Config.load(ROOT / "training" / "configs" / "default.toml")
    frame = pd.read_parquet(generate(folder, pairs=PAIRS, seed=0, workers=1, progress=False))
    dataset = dataclasses.replace(config.dataset, folder=folder)
    images = TrainingImages(frame, dataclasses.replace(config, dataset=dataset))
    fit = dataclasses.replace(config.fit, batch=BATCH)
    alone = Rank(number=0, world=1, device=torch.device("cpu"))
    keys = next(iter(PairedBatches(frame, fit, seed=0, first=0, rank=alone)))

    def load() -> None:
        for key in keys:
            images[key]

    return load


def main() -> None:
    """Print seconds a batch and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        tasks = {
            "bfloat16, channels_last": stepper(bfloat16=True, channels_last=True),
            "bfloat16": stepper(bfloat16=True, channels_last=False),
            "float32, channels_last": stepper(bfloat16=False, channels_last=True),
            "float32": stepper(bfloat16=False, channels_last=False),
            "loading on one core": loading(Path(folder)),
        }
        best = dict.fromkeys(tasks, float("inf"))
        for _ in range(steps + 1):  # the first also warms up
            for name, task in tasks.items():
                start = time.perf_counter()
                task()
                best[name] = min(best[name], time.perf_counter() - start)
    chosen = best["bfloat16, channels_last"]
    for name, seconds in best.items():
        print(f"{name}: {seconds:.2f} s a batch of {BATCH}, {seconds / chosen:.2f} x the default")


if __name__ == "__main__":
    main()

"""A tiny data set, a tiny configuration and a run folder, for the steps after fit.

ResNet-18 with random weights on 64-pixel images: everything downstream of fit is exact for any
weights.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from training.config import Config, LungDetailConfig, MemberConfig
from training.fit.optimisation import Training, new_network
from training.fit.weights import made_by

PAIRS = 40
SIDE = 96

# What a configuration may have besides its first network, small.
DETAIL = LungDetailConfig(crop=0.95, weight=1.0, children=False, phantoms=4, steps=2)
MEMBER = MemberConfig(
    size=32, seed=2, architecture="resnet18", blocks=4, init="random",
    generators=(), channels=("ranks",), drop_channel=0.0, steps=2, learning_rate=1e-3,
    probe_steps=0, freeze=0, pull=0.0, blend=1.0, average=0.9,
)  # fmt: skip

TOML = """\
name = "tiny"
seed = 7

[dataset]
folder = "{folder}"
validation = 0.3
calibration = 0.3

[input]
size = 64
crop = 0.9
equalise = false
mean = 0.5
std = 0.29

[augment]
degrees = 4
shift = 0.04
scale = 0.1
shade = 0.1
gamma = 0.5
blur = 0.8
noise = 0.03
cutout = 0.3

[fit]
seed = 1
architecture = "resnet18"
blocks = 4
init = "random"
generators = []
channels = ["ranks"]
drop_channel = 0.0
steps = 6
batch = 8
probe_steps = 0
freeze = 0
pull = 0.0
blend = 1.0
learning_rate = 1e-3
weight_decay = 0.05
label_smoothing = 0.03
mask_weight = 0.5
average = 0.9
checkpoint_every = 3
"""
# Six blocks of Lite0 have a hundredth of its weights: for what is the same with any network.
LIGHT_TOML = TOML.replace(
    'architecture = "resnet18"\nblocks = 4', 'architecture = "lite0"\nblocks = 6'
)


@contextmanager
def interrupted(
    when: Callable[[Training], object], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Ctrl-C before the step of a training for which ``when`` holds, and it has to get through."""
    advance = Training.advance

    def advance_or_stop(training: Training, *batch: torch.Tensor) -> float:
        if when(training):
            raise KeyboardInterrupt
        return advance(training, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", advance_or_stop)
        with pytest.raises(KeyboardInterrupt):
            yield


@dataclass(frozen=True)
class Run:
    """Where the pieces of one run are."""

    config: Config
    toml: Path
    folder: Path
    model: Path


def write_dataset(folder: Path) -> None:
    """40 pairs of smooth noise; the second of a pair has a bright blob and label 1."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    generator = np.random.default_rng(0)
    rows = []
    for pair in range(PAIRS):
        noise = cv2.GaussianBlur(generator.random((SIDE, SIDE)).astype(np.float32), (0, 0), 4)
        plain = 20 + 160 * (noise - noise.min()) / np.ptp(noise)
        blob = cv2.circle(np.zeros_like(plain), (30, 50), 16, 75.0, -1)
        for label, pixels in ((0, plain), (1, plain + blob)):
            path = f"images/{pair:03d}-{label}.png"
            cv2.imwrite(str(folder / path), pixels.astype(np.uint8))
            mask = f"masks/{pair:03d}.png" if label else ""
            if mask:
                cv2.imwrite(str(folder / mask), np.where(blob > 0, 255, 0).astype(np.uint8))
            rows.append(
                {
                    "path": path,
                    "mask": mask,
                    "label": label,
                    "group": f"pair-{pair}",
                    "seed": pair,
                    "generator": "noise",
                    "sha256": hashlib.sha256((folder / path).read_bytes()).hexdigest(),
                    "age_band": "child" if pair % 2 else "adult",
                    "view": "PA",
                    "pattern": "blob" if label else "",
                }
            )
    pd.DataFrame(rows).to_parquet(folder / "manifest.parquet")


def write_config(path: Path, dataset: Path, toml: str = TOML) -> Config:
    """Write the TOML and load it."""
    path.write_text(toml.format(folder=dataset))
    return Config.load(path)


def write_weights(run: Path, config: Config, seed: int = 0) -> None:
    """What fit leaves behind, with batch norms that have seen something."""
    torch.manual_seed(seed)
    network = new_network(config).train()
    with torch.no_grad():
        for _ in range(4):
            network(torch.rand(16, 1, config.input.size, config.input.size))
    run.mkdir(exist_ok=True)
    state = made_by(config) | {
        "model": network.state_dict(),
        "architecture": config.fit.architecture,
        "start": {"name": "random"},
        "step": 0,
        "precision": "float32",
        "trainings": 1,
    }
    torch.save(state, run / "weights.pt")

"""Train the gate of a packaged model and put it into the model's folder.

examples -> gate network -> threshold -> [gate.onnx + manifest + card]
The model's own graph is not touched. The folder is complete before and after: it is written beside
its place and then renamed.
"""

import shutil
from collections import OrderedDict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from service.files import sha256
from service.findings.gate import Gate
from service.model.bundle import CARD, Bundle
from service.model.manifest import Manifest
from training.config import Config
from training.fit.dataset import load_splits
from training.gate.examples import KINDS, draw_examples
from training.gate.network import GateNetwork, logits, weights
from training.release.card import with_refusals
from training.release.export import export_float
from training.release.package import new_folder, seal

GRAPH = "gate.onnx"
FILM = "film"
REFUSED = 0.99  # of the held-out other images; the threshold is no higher than that needs
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05
SMOOTHING = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How much is drawn and learned.

    Attributes
    ----------
    examples
        Films to learn from, and as many other images.
    held_out
        Films, and as many other images, for the threshold; from patients not learned from.
    steps, batch
        Optimiser steps, and images in each.
    seed
        Determines everything, for any number of workers.
    """

    examples: int = 6000
    held_out: int = 1500
    steps: int = 1500
    batch: int = 128
    seed: int = 1


def add_gate(config: Config, model: Path, recipe: Recipe, workers: int) -> dict[str, Any]:
    """Train a gate and put it into a packaged model, in place of one that is there.

    Parameters
    ----------
    config
        Of the model; names the data set whose films are familiar.
    model
        Folder ``models/<name>/<version>``.
    recipe, workers
        What is drawn and learned; processes that draw.

    Returns
    -------
    dict
        The record that the manifest keeps under ``provenance``, ``gate``.

    Raises
    ------
    ValueError
        If the model's input is not that of the configuration.
    """
    manifest = Bundle.open(model).manifest
    spec = config.served_input
    if manifest.input != spec:
        raise ValueError(f"{model} takes another input than the configuration says")
    splits = load_splits(config)
    held_out = pd.concat([splits["validation"], splits["calibration"]])
    folder = config.dataset.folder
    learned, others = (_paths(folder, part, recipe.seed) for part in (splits["train"], held_out))
    images, kinds = draw_examples(learned, spec, recipe.examples, 2 * recipe.seed, workers)
    network = fit_gate_network(images, kinds == FILM, recipe)
    images, kinds = draw_examples(others, spec, recipe.held_out, 2 * recipe.seed + 1, workers)
    familiarity = torch.sigmoid(logits(network, images)).numpy()
    threshold = choose_threshold(familiarity[kinds != FILM])
    record = {
        "recipe": asdict(recipe),
        "weights": weights(network),
        "refused": REFUSED,
        "dataset": {
            "manifest_sha256": sha256(folder / "manifest.parquet"),
            "generators": sorted(splits["train"]["generator"].unique().tolist()),
        },
        "held_out": refused(familiarity, kinds, threshold),
    }
    _install(model, manifest, network, Gate(graph=GRAPH, threshold=threshold), record)
    return record


def fit_gate_network(images: Tensor, films: NDArray[np.bool_], recipe: Recipe) -> GateNetwork:
    """Train on reduced images (N, 1, 64, 64) and whether each is a film, (N,).

    One thread: more of them cost time on a network as small as this, and sums in another order.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _fit(images, torch.from_numpy(films).float(), recipe)
    finally:
        torch.set_num_threads(threads)


def _fit(images: Tensor, films: Tensor, recipe: Recipe) -> GateNetwork:
    torch.manual_seed(recipe.seed)
    draw = torch.Generator().manual_seed(recipe.seed)
    network = GateNetwork().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    rise = max(0.1, 1.5 / recipe.steps)  # one that ends at the first step divides by zero
    schedule = OneCycleLR(optimiser, LEARNING_RATE, total_steps=recipe.steps, pct_start=rise)
    network.train()
    for _ in range(recipe.steps):
        rows = torch.randint(len(images), (recipe.batch,), generator=draw)
        targets = films[rows] * (1 - SMOOTHING) + SMOOTHING / 2
        loss = nn.functional.binary_cross_entropy_with_logits(network.judge(images[rows]), targets)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return network.eval()


def choose_threshold(others: NDArray[np.floating]) -> float:
    """Lowest threshold that refuses 99 % of other images with these familiarities (N,).

    It is set by what is to be refused and not by the films: real films are less familiar than
    those of the phantom, real other images are not more familiar than drawn ones.
    """
    threshold = float(np.quantile(others, REFUSED, method="higher"))
    return float(np.clip(np.nextafter(np.float32(threshold), np.float32(1)), 1e-3, 0.999))


def refused(
    familiarity: NDArray[np.floating], kinds: NDArray[np.str_], threshold: float
) -> dict[str, dict[str, int]]:
    """Kind -> how many there are and how many are refused."""
    return {
        kind: {
            "images": int((kinds == kind).sum()),
            "refused": int((familiarity[kinds == kind] < threshold).sum()),
        }
        for kind in (FILM, *KINDS)
    }


def _paths(folder: Path, frame: pd.DataFrame, seed: int) -> list[Path]:
    """Files of a split in random order."""
    shuffled = frame.sample(frac=1.0, random_state=seed)
    return [folder / path for path in shuffled["path"]]


def _install(
    model: Path, manifest: Manifest, network: GateNetwork, gate: Gate, record: dict[str, Any]
) -> None:
    with new_folder(model) as folder:
        shutil.copytree(model, folder, dirs_exist_ok=True)
        plain = network.to(memory_format=torch.contiguous_format)
        shipped = nn.Sequential(OrderedDict(network=plain, sigmoid=nn.Sigmoid())).eval()
        export_float(shipped, manifest.input.size, folder / GRAPH, ["familiarity"])
        complete = replace(
            manifest,
            gate=gate,
            sha256=manifest.sha256 | {GRAPH: sha256(folder / GRAPH)},
            provenance=manifest.provenance | {"gate": record},
        )
        card = (folder / CARD).read_text(encoding="utf-8")
        (folder / CARD).write_text(with_refusals(card, complete), encoding="utf-8")
        seal(folder, complete)

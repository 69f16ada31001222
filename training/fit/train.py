"""Train the network; every checkpoint can be resumed, and a resumed run sees the same batches.

dataset -> optimisation -> [fit] -> export -> calibrate -> package
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from service.files import replacing, sha256
from service.processor import cores
from training.config import Config
from training.fit.dataset import PairedBatches, TrainingImages, drawn_by, load_splits, load_tensors
from training.fit.distributed import Rank, join
from training.fit.fit_lungs import fit_lungs
from training.fit.optimisation import Training, new_network
from training.fit.precision import name_of, precision_of
from training.fit.teaching import Teacher
from training.fit.weights import load_weights, mismatch
from training.generate.manifest import append_line
from training.networks.channels import to_channels
from training.networks.pneumonia import PneumoniaNet

LOADERS = 2  # processes that make batches, where the network itself takes the other cores


def fit(config: Config, run: Path, precision: torch.dtype | None = None) -> None:
    """Train by ``config`` into the folder ``run``, going on from its checkpoints if it has any.

    Writes ``metrics.jsonl`` and ``checkpoint.pt`` while it runs, ``weights.pt`` at the end; the
    same in a folder of its own for each other member, and for each training where a network is the
    mean of several; ``lungs.pt`` where the configuration has ``[lung_detail]``. Started by
    torchrun, it is one of many processes that share every batch.

    Parameters
    ----------
    config, run
        What to train, and where.
    precision
        Of forward and backward passes, bfloat16 or float32; None for the faster one, measured for
        each network, and for float32 where there are fewer than 100 steps to save time on. A
        network with a checkpoint goes on in that of the checkpoint.

    Raises
    ------
    ValueError
        If ``run`` holds weights or a checkpoint of another configuration, another data set or with
        other teachers, or the data set has no image by a generator that a network learns from.
    FileNotFoundError
        If a network starts from a file that is not there.
    """
    first, *others = config.networks(run)
    teachers = config.teachers(run)
    for own, folder in (first, *others):
        if not (folder / "weights.pt").exists():
            _check_sources(own)
    with join() as rank:
        for own, folder in (*others, first) if teachers else (first, *others):
            folder.mkdir(parents=True, exist_ok=True)
            taught_by = teachers if own is first[0] else []
            if not _finished(own, folder, taught_by):
                _fit_network(own, folder, rank, precision, taught_by)
            rank.wait()  # until the first of them has written what the others are taught by
        if rank.first:
            fit_lungs(config, run, rank.device)


def _check_sources(config: Config) -> None:
    """Raise before anything is trained where a start file or a generator's images are missing."""
    drawn_by(load_splits(config)["train"], config.fit.generators)
    init = config.fit.init
    if init not in ("random", "imagenet") and not Path(init).exists():
        raise FileNotFoundError(f"there are no start weights {init}: train them first")


Networks = Sequence[tuple[Config, Path]]


def _fit_network(
    config: Config, run: Path, rank: Rank, precision: torch.dtype | None, taught_by: Networks
) -> None:
    """Train a network once, or as often as it is asked for, and keep the mean."""
    if config.fit.trainings == 1:
        _fit(config, run, rank, precision, taught_by)
        return
    trainings = config.each_training(run)
    for own, folder in trainings:
        folder.mkdir(exist_ok=True)
        if not _finished(own, folder, taught_by):
            _fit(own, folder, rank, precision, taught_by)
    if rank.first:
        mean = mean_of([load_weights(folder) for _, folder in trainings])
        _save(run / "weights.pt", mean | {"trainings": len(trainings)})


def _finished(config: Config, run: Path, taught_by: Networks) -> bool:
    """Whether a run has its weights; a ValueError where they were made otherwise."""
    if not (run / "weights.pt").exists():
        return False
    state = load_weights(run)
    found = mismatch(state, config)
    if found:
        raise ValueError(f"{run} was made {found}; take another run folder")
    digests = [sha256(path / "weights.pt") for _, path in taught_by]
    if state.get("teachers", digests) != digests:
        raise ValueError(f"{run} has other teachers; take another run folder")
    return True


def mean_of(trained: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Weights that started alike, averaged; what is said of them, and counters, as of the first.

    The precisions of all are named: each was measured.
    """
    first = trained[0]
    precisions = sorted({own["precision"] for own in trained})
    model = {
        name: torch.stack([own["model"][name] for own in trained]).mean(dim=0)
        if value.is_floating_point()
        else value
        for name, value in first["model"].items()
    }
    return first | {"model": model, "precision": ", ".join(precisions)}


def _fit(
    config: Config, run: Path, rank: Rank, precision: torch.dtype | None, taught_by: Networks
) -> None:
    splits = load_splits(config)
    teachers = [
        Teacher(load_network(path, own), own.input.size, sha256(path / "weights.pt"))
        for own, path in taught_by
    ]
    shown = _channels(config, splits["calibration"]) if teachers else None
    checkpoint = run / "checkpoint.pt"
    precision = precision_of(checkpoint) or precision
    training = Training(config, rank, precision, teachers=teachers, shown=shown)
    training.resume(checkpoint)
    train = drawn_by(splits["train"], config.fit.generators)
    batches = PairedBatches(train, config.fit, config.fit.seed, first=training.step, rank=rank)
    images, on_gpu = TrainingImages(train, config), rank.device.type == "cuda"
    loader = DataLoader(images, batch_sampler=batches, num_workers=loaders(rank), pin_memory=on_gpu)
    held_out = load_tensors(splits["validation"], config.dataset.folder, config.input)
    with tqdm(
        loader,
        name_of(training.precision),
        initial=training.step,
        total=config.fit.all_steps,
        unit="step",
        disable=not rank.first,
    ) as progress:
        for channels, label, mask in progress:
            loss = training.advance(channels, label, mask)
            progress.set_postfix(loss=f"{loss:.3f}")
            if rank.first and training.step % config.fit.checkpoint_every == 0:
                _record(run, training, loss, held_out)
    if rank.first:
        _save(run / "weights.pt", training.final())


def _channels(config: Config, frame: pd.DataFrame) -> Tensor:
    """What a network of ``config`` is shown of the images of a split, (N, C, S, S)."""
    images, _ = load_tensors(frame, config.dataset.folder, config.input)
    spec = config.input
    return to_channels(torch.from_numpy(images), config.fit.channels, spec.mean, spec.std)


def loaders(rank: Rank) -> int:
    """Processes that make batches: where a GPU computes, all cores are theirs."""
    if rank.device.type == "cpu":
        return LOADERS
    return max(LOADERS, cores() // rank.world)


def load_network(run: Path, config: Config) -> PneumoniaNet:
    """The trained network of a run in evaluation mode."""
    network = new_network(config)
    network.load_state_dict(load_weights(run)["model"])
    return network.eval()


@torch.no_grad()
def _validation_auroc(network: nn.Module, images: Any, labels: Any) -> float:
    network.eval()
    device = next(network.parameters()).device
    logits = [
        network(torch.from_numpy(images[start : start + 64]).to(device)).logit
        for start in range(0, len(images), 64)
    ]
    return float(roc_auc_score(labels, torch.cat(logits).cpu().numpy()))


def _record(run: Path, training: Training, loss: float, held_out: tuple[Any, Any]) -> None:
    auroc = _validation_auroc(training.average.module, *held_out)
    _save(run / "checkpoint.pt", training.state())
    line = {
        "step": training.step,
        "loss": loss,
        "validation_auroc": auroc,
        "precision": name_of(training.precision),
    }
    append_line(run / "metrics.jsonl", line)


def _save(path: Path, state: dict[str, Any]) -> None:
    # A file, not its name: torch writes the name into it, and the digest would change.
    with replacing(path) as part, part.open("wb") as file:
        torch.save(state, file)

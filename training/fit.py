"""Train the network; every checkpoint can be resumed, and a resumed run sees the same batches.

dataset -> [fit] -> export -> calibrate -> package
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
import torchvision
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from training.config import Config, FitConfig
from training.dataset import PairedBatches, TrainingImages, load_splits, load_tensors
from training.lungs import fit_lungs
from training.network import ARCHITECTURES, PneumoniaNet
from training.precision import autocast, choose_precision, name_of
from training.ranks import Rank, join

WARM_UP = 0.05  # of all steps
LOADERS = 2
LONG = 100  # steps from which it is worth measuring which precision is faster


def fit(config: Config, run: Path, precision: torch.dtype | None = None) -> None:
    """Train by ``config`` into the folder ``run``, going on from its checkpoints if it has any.

    Writes ``metrics.jsonl`` and ``checkpoint.pt`` while it runs, ``weights.pt`` at the end, the
    same in a folder of its own for each companion, and ``lungs.pt`` where the configuration has
    ``[reading]``. Started by torchrun, it is one of many processes that share every batch.

    Parameters
    ----------
    config, run
        What to train, and where.
    precision
        Of forward and backward passes, bfloat16 or float32; None for the faster one, measured for
        each network, and for float32 where there are fewer than 100 steps to save time on.
    """
    with join() as rank:
        for own, folder in config.networks(run):
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "weights.pt").exists():
                _fit(own, folder, rank, precision)
        if rank.first:
            fit_lungs(config, run)


def _fit(config: Config, run: Path, rank: Rank, precision: torch.dtype | None) -> None:
    splits = load_splits(config)
    training = Training(config, rank, precision)
    training.resume(run / "checkpoint.pt")
    batches = PairedBatches(
        splits["train"], config.fit, config.fit.seed, first=training.step, rank=rank
    )
    images = TrainingImages(splits["train"], config)
    loader = DataLoader(images, batch_sampler=batches, num_workers=LOADERS)
    held_out = load_tensors(splits["validation"], config.dataset.folder, config.input)
    with tqdm(
        loader,
        name_of(training.precision),
        initial=training.step,
        total=config.fit.steps,
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


def new_network(config: Config) -> PneumoniaNet:
    """The network that ``config`` trains, with random weights."""
    fit, spec = config.fit, config.input
    return PneumoniaNet(fit.architecture, mean=spec.mean, std=spec.std, views=fit.views)


def load_network(run: Path, config: Config) -> PneumoniaNet:
    """The trained network of a run in evaluation mode."""
    state = torch.load(run / "weights.pt", weights_only=True, map_location="cpu")
    network = new_network(config)
    network.load_state_dict(state["model"])
    return network.eval()


class Training:
    """Network, optimiser and average of weights, and how one step changes them.

    ``precision`` is that of :func:`fit`.
    """

    def __init__(self, config: Config, rank: Rank, precision: torch.dtype | None = None) -> None:
        torch.manual_seed(config.fit.seed)
        self.whole, self.config, self.rank = config, config.fit, rank
        self.step = 0
        network = new_network(config)
        _initialise(network, config.fit)
        self.network = network.to(rank.device).to(memory_format=torch.channels_last)
        fit, size = config.fit, config.input.size
        shape = (fit.batch // rank.world, len(fit.views), size, size)
        if precision is None and config.fit.steps >= LONG:
            precision = choose_precision(self.network, shape, rank)
        self.precision = precision or torch.float32
        both = _WithMask(self.network)
        self._forward: nn.Module = DistributedDataParallel(both) if rank.world > 1 else both
        averaging = get_ema_multi_avg_fn(config.fit.average)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.network, multi_avg_fn=averaging, use_buffers=True)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            config.fit.learning_rate,
            weight_decay=config.fit.weight_decay,
        )

    def advance(self, channels: Tensor, label: Tensor, mask: Tensor) -> float:
        """One optimiser step; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, self.step)
        self.network.train()
        device = self.rank.device
        channels = channels.to(device, memory_format=torch.channels_last)
        with autocast(device, self.precision):
            logit, cells = self._forward(channels)
        loss = self._loss(logit.float(), label.to(device), cells.float(), mask.to(device))
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return float(loss.detach())

    def _loss(self, logit: Tensor, label: Tensor, cells: Tensor, mask: Tensor) -> Tensor:
        cross_entropy = nn.functional.binary_cross_entropy_with_logits
        smoothing = self.config.label_smoothing
        loss = cross_entropy(logit, label * (1 - smoothing) + smoothing / 2)
        known = ~torch.isnan(mask)
        if not known.any():
            return loss
        return loss + self.config.mask_weight * cross_entropy(cells[known], mask[known])

    def state(self) -> dict[str, Any]:
        """Everything that :meth:`resume` needs."""
        return {
            "step": self.step,
            "config": repr(self.whole),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint where there is one.

        Raises
        ------
        ValueError
            If the checkpoint was made by another configuration.
        """
        if not checkpoint.exists():
            return
        state = torch.load(checkpoint, weights_only=True, map_location=self.rank.device)
        if state["config"] != repr(self.whole):
            raise ValueError(
                f"{checkpoint} was made by another configuration; take another run folder"
            )
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])

    def final(self) -> dict[str, Any]:
        """What ``weights.pt`` holds: the average of weights."""
        return {
            "model": self.average.module.state_dict(),
            "architecture": self.config.architecture,
            "step": self.step,
            "precision": name_of(self.precision),
        }


class _WithMask(nn.Module):
    """Logit and cells of the mask as a module's own forward pass, where DDP can see it."""

    def __init__(self, network: PneumoniaNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        outputs, cells = self.network.forward_with_mask(channels)
        return outputs.logit, cells


def learning_rate(config: FitConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to 0 at the last step."""
    warm = max(1, round(WARM_UP * config.steps))
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    done = (step - warm) / max(1, config.steps - warm)
    return config.learning_rate * (1 + math.cos(math.pi * done)) / 2


def _initialise(network: PneumoniaNet, config: FitConfig) -> None:
    if config.init == "random":
        return
    if config.init == "imagenet":
        weights = torchvision.models.get_model_weights(ARCHITECTURES[config.architecture]).DEFAULT
        try:
            network.load_imagenet(weights.get_state_dict(progress=True, weights_only=True))
        except OSError as error:
            raise ValueError(
                "the ImageNet weights could not be downloaded; on a machine with a network save "
                f"{weights.url.rsplit('/', 1)[-1]} and pass its path as init"
            ) from error
        return
    state = torch.load(config.init, weights_only=True, map_location="cpu")
    if "model" in state:
        network.load_state_dict(state["model"])
    else:
        network.load_imagenet(state)


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
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def _save(path: Path, state: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)

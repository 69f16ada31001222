"""Network, optimiser and average of weights, and how one step changes them.

dataset -> [optimisation] -> fit

A run has two phases. In the first, which may have no step, the linear layer learns alone (Kumar et
al. 2022, "Fine-tuning can distort pretrained features", arXiv 2202.10054); in the second all that
is not frozen does. Where the second one starts is what weights can be pulled back to (Li et al.
2018, "Explicit inductive bias for transfer learning", arXiv 1802.01483) and blended with in the end
(Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv 2109.01903).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.config import Config, FitConfig
from training.fit.distributed import Rank
from training.fit.precision import autocast, choose_precision, name_of
from training.fit.teaching import Teacher, Teaching
from training.fit.weights import made_by, mismatch
from training.networks.pneumonia import PneumoniaNet
from training.networks.start import initialise

WARM_UP = 0.05  # of the steps of a phase
PROBE_RATE = 1e-3  # of the linear layer alone: it is small, and nothing else moves
LONG = 100  # steps from which it is worth measuring which precision is faster


def faster_precision(config: Config, network: PneumoniaNet, rank: Rank) -> torch.dtype:
    """The one to train ``network`` in here; float32 where there are few steps to save time on."""
    fit, size = config.fit, config.input.size
    if fit.steps < LONG:
        return torch.float32
    shape = (fit.batch // rank.world, len(fit.channels), size, size)
    return choose_precision(network, shape, rank)


class Training:
    """The state of a run.

    Parameters
    ----------
    config, rank
        What is trained, and where.
    precision
        Of forward and backward passes; None for the faster one, measured, and for float32 where
        there are fewer than 100 steps to save time on.
    teachers, shown
        Networks that teach it, and channels (N, C, S, S) to scale by what they say of them.
    """

    def __init__(
        self,
        config: Config,
        rank: Rank,
        precision: torch.dtype | None = None,
        *,
        teachers: Sequence[Teacher] = (),
        shown: Tensor | None = None,
    ) -> None:
        torch.manual_seed(config.fit.seed)
        self.whole, self.config, self.rank = config, config.fit, rank
        self.made = made_by(config)  # now: the data set may be another one when this is done
        self.step = 0
        network = new_network(config)
        self.origin = initialise(network, config.fit)
        self.network = network.to(rank.device).to(memory_format=torch.channels_last)
        self.teaching = None
        if shown is not None:
            self.teaching = Teaching(teachers, self.network, shown.to(rank.device))
        for part in self._frozen():
            part.requires_grad_(requires_grad=False)
        fit = config.fit
        self.precision = precision or faster_precision(config, self.network, rank)
        self.average = AveragedModel(
            self.network, multi_avg_fn=moving_average(fit.average), use_buffers=True
        )
        learning = [weights for weights in self.network.parameters() if weights.requires_grad]
        learning += self.teaching.parameters() if self.teaching else []
        self.optimiser = torch.optim.AdamW(
            learning, fit.learning_rate, weight_decay=fit.weight_decay
        )
        self._begin_phase()

    def advance(self, channels: Tensor, label: Tensor, mask: Tensor) -> float:
        """One optimiser step; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, self.step)
        self._set_modes()
        device = self.rank.device
        channels = channels.to(device, memory_format=torch.channels_last, non_blocking=True)
        label, mask = (part.to(device, non_blocking=True) for part in (label, mask))
        with autocast(device, self.precision):
            logit, cells, evidence, guessed = self._forward(channels)
            lesson = self.teaching.lesson(channels, cells.shape[-1]) if self.teaching else None
        loss = self._loss(logit.float(), label, cells.float(), mask)
        if lesson is not None:
            loss = Teaching.loss(lesson, evidence.float(), guessed, loss)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.average.update_parameters(self.network)
        self.step += 1
        if self.step == self.config.probe_steps:
            self.average.n_averaged.zero_()  # what the second phase makes is averaged
            self._begin_phase()
        return float(loss.detach())

    def _frozen(self) -> list[nn.Module]:
        return self.network.backbone.first(self.config.freeze)

    @property
    def _probes(self) -> bool:
        return self.step < self.config.probe_steps

    def _begin_phase(self) -> None:
        """Let learn what the phase of this step lets learn, and remember where it started."""
        taught = self.teaching.parameters() if self.teaching else ()
        head = {id(parameter) for parameter in (*self.network.head(), *taught)}
        for group in self.optimiser.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(not self._probes or id(parameter) in head)
        whole = _Learner(self.network, self.teaching)
        self._forward: nn.Module = DistributedDataParallel(whole) if self.rank.world > 1 else whole
        kept = self.network.state_dict() if self.config.keeps_start else {}
        self.start = {name: value.detach().clone() for name, value in kept.items()}

    def _set_modes(self) -> None:
        """Batch norms that are not trained, or are ImageNet's own, keep their statistics."""
        self.network.train()
        if self._probes or self.config.keeps_statistics:
            self.network.backbone.eval()
        for part in self._frozen():
            part.eval()

    def _loss(self, logit: Tensor, label: Tensor, cells: Tensor, mask: Tensor) -> Tensor:
        cross_entropy = nn.functional.binary_cross_entropy_with_logits
        smoothing = self.config.label_smoothing
        loss = cross_entropy(logit, label * (1 - smoothing) + smoothing / 2)
        known = ~torch.isnan(mask)
        if known.any():
            loss = loss + self.config.mask_weight * cross_entropy(cells[known], mask[known])
        if self.config.pull:
            loss = loss + self.config.pull * sum(self._distances())
        return loss

    def _distances(self) -> Iterator[Tensor]:
        """Squared distance of each array of weights to its start, the linear layer's apart."""
        head = {id(parameter) for parameter in self.network.head()}
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad and id(parameter) not in head:
                yield (parameter - self.start[name]).square().sum()

    def state(self) -> dict[str, Any]:
        """Everything that :meth:`resume` needs."""
        taught = {"teaching": self.teaching.state_dict()} if self.teaching else {}
        return (
            self.made
            | self._teachers()
            | taught
            | {
                "step": self.step,
                "precision": name_of(self.precision),
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "start": self.start,
            }
        )

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint where there is one.

        Raises
        ------
        ValueError
            If the checkpoint was made by another configuration, with another data set, or has
            other teachers.
        """
        if not checkpoint.exists():
            return
        state = torch.load(checkpoint, weights_only=True, map_location=self.rank.device)
        found = mismatch(state, self.whole)
        if found:
            raise ValueError(f"{checkpoint} was made {found}; take another run folder")
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.teaching:
            if state["teachers"] != self.teaching.digests:
                raise ValueError(f"{checkpoint} has other teachers; take another run folder")
            self.teaching.load_state_dict(state["teaching"])
        self._begin_phase()
        self.start = state["start"]

    def final(self) -> dict[str, Any]:
        """What ``weights.pt`` holds: the average of weights, blended with their start."""
        return (
            self.made
            | self._teachers()
            | {
                "model": self._blended(),
                "architecture": self.config.architecture,
                "start": self.origin,
                "step": self.step,
                "precision": name_of(self.precision),
                "trainings": 1,
            }
        )

    def _teachers(self) -> dict[str, Any]:
        """SHA-256 of the weights of those that teach, where there are any."""
        return {"teachers": self.teaching.digests} if self.teaching else {}

    def _blended(self) -> dict[str, Tensor]:
        end: dict[str, Tensor] = self.average.module.state_dict()
        if self.config.blend == 1:
            return end
        return {
            name: torch.lerp(self.start[name], value, self.config.blend)
            if value.is_floating_point()
            else value
            for name, value in end.items()
        }


Tensors = tuple[Tensor, ...] | list[Tensor]


def moving_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """How the average of weights takes in one step's weights, in place.

    The decay rises to ``decay`` as (1 + n) / (10 + n) of the steps n so far: random start weights
    are soon forgotten, and a long average can be asked of a short run.
    """

    def update(averages: Tensors, weights: Tensors, steps: Tensor | int) -> None:
        now = min(decay, (1 + int(steps)) / (10 + int(steps)))
        get_ema_multi_avg_fn(now)(averages, weights, steps)  # type: ignore[no-untyped-call]

    return update


class _Learner(nn.Module):
    """All that a step learns from as a module's own forward pass, where DDP can see it."""

    def __init__(self, network: PneumoniaNet, teaching: Teaching | None) -> None:
        super().__init__()
        self.network, self.teaching = network, teaching

    def forward(self, channels: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Logit, cells of the mask, evidence with its bias, and features as teachers have them."""
        seen = self.network.see(channels)
        guessed = self.teaching(seen.maps) if self.teaching else []
        evidence = seen.evidence + self.network.backbone.fc.bias
        return seen.outputs.logit, self.network.mask(seen.evidence), evidence, guessed


def new_network(config: Config) -> PneumoniaNet:
    """The network that ``config`` trains, with random weights."""
    fit, spec = config.fit, config.input
    return PneumoniaNet(
        fit.architecture, fit.blocks, mean=spec.mean, std=spec.std, channels=fit.channels
    )


def learning_rate(config: FitConfig, step: int) -> float:
    """In each phase a linear warm-up, then a cosine down to 0 at the last step."""
    if step < config.probe_steps:
        return PROBE_RATE * _schedule(step, config.probe_steps)
    return config.learning_rate * _schedule(step - config.probe_steps, config.steps)


def _schedule(step: int, steps: int) -> float:
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return (1 + math.cos(math.pi * done)) / 2

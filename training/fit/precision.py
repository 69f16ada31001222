"""The precision in which a training step is faster on this computer.

network, shape of a batch -> [precision] -> fit
bfloat16 halves a step on processors that multiply it in hardware and makes it many times as slow
on others, so both are measured. A run ends in the one that it began in.
"""

import copy
import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import distributed

from training.fit.distributed import Rank
from training.networks.pneumonia import PneumoniaNet

PRECISIONS = (torch.bfloat16, torch.float32)
ROUNDS = 2  # after one that warms up

Shape = tuple[int, int, int, int]
Step = Callable[[torch.dtype], object]

log = logging.getLogger(__name__)


def choose_precision(network: PneumoniaNet, shape: Shape, rank: Rank) -> torch.dtype:
    """The faster of bfloat16 and float32 for forward and backward pass; all ranks choose alike.

    On a GPU that has bfloat16 it is that, without a measurement.

    The network, its batch norms and the random numbers to come stay as they are, so that a run
    sees the same with or without the measurement.

    Parameters
    ----------
    network
        On the rank's device.
    shape
        Of a rank's batch of channels, (N, C, S, S).
    """
    if rank.device.type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has else torch.float32
    seconds = torch.tensor(measure(trial(network, shape), time.perf_counter), device=rank.device)
    if rank.world > 1:
        distributed.all_reduce(seconds)
    chosen = faster(seconds.tolist())
    if rank.first:
        log.info("a step takes %s s in %s: %s", seconds.tolist(), PRECISIONS, chosen)
    return chosen


def trial(network: PneumoniaNet, shape: Shape) -> Step:
    """A forward and backward pass of a copy of the network, by precision."""
    twin = copy.deepcopy(network).train()
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    channels = noise.to(memory_format=torch.channels_last)

    def step(precision: torch.dtype) -> None:
        with autocast(channels.device, precision):
            outputs, cells = twin.forward_with_mask(channels)
        loss = outputs.logit.float().mean() + cells.float().mean()
        loss.backward()  # type: ignore[no-untyped-call]

    return step


def measure(step: Step, clock: Callable[[], float]) -> list[float]:
    """Seconds of the fastest of two steps in each of PRECISIONS, after one to warm up."""
    taken: list[list[float]] = [[] for _ in PRECISIONS]
    for _ in range(1 + ROUNDS):
        for times, precision in zip(taken, PRECISIONS, strict=True):
            start = clock()
            step(precision)
            times.append(clock() - start)
    return [min(times[1:]) for times in taken]


def faster(seconds: list[float]) -> torch.dtype:
    """The one of PRECISIONS that took fewer seconds."""
    return PRECISIONS[seconds.index(min(seconds))]


def precision_of(checkpoint: Path) -> torch.dtype | None:
    """The precision that a checkpoint was trained in; None where there is none that says it."""
    if not checkpoint.exists():
        return None
    # Mapped into memory, so that the arrays beside it are not read.
    state = torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)
    return precision_called(state.get("precision"))


def precision_called(name: str | None) -> torch.dtype | None:
    """The one of PRECISIONS with this name, as :func:`name_of` gives it; None if none has it."""
    return next((precision for precision in PRECISIONS if name_of(precision) == name), None)


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Context of a forward pass in this precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16)


def name_of(precision: torch.dtype) -> str:
    """Its name as runs record it: ``"bfloat16"`` or ``"float32"``."""
    return str(precision).removeprefix("torch.")

"""Where one process trains: alone, or as one rank of a job that torchrun started.

Ranks share every batch: each computes its part of it, and the gradients are averaged.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One process of ``world`` that train one network together.

    Attributes
    ----------
    number
        0 writes checkpoints and measures; the others only compute.
    device
        A GPU of its own where there is CUDA, else the CPU.
    """

    number: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.number == 0

    def wait(self) -> None:
        """Until every process has come here: what the first one writes is then there for all."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def join() -> Iterator[Rank]:
    """Join the other ranks (torchrun sets RANK, WORLD_SIZE, LOCAL_RANK), or be alone.

    References
    ----------
    https://docs.pytorch.org/docs/stable/elastic/run.html
    """
    cuda = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Rank(number=0, world=1, device=device)
        return
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Rank(number=distributed.get_rank(), world=world, device=device)
    finally:
        distributed.destroy_process_group()

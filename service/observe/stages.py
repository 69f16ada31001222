"""How long each stage of a reading takes, measured wherever it runs.

A stage that ran in another process comes back as a :class:`Stage` with its result: both clocks are
the machine's. Histograms and spans are made from stages when the request ends.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, get_args

StageName = Literal["upload", "wait", "decode", "standardise", "infer", "render"]
NAMES = get_args(StageName)
LATEST = 2**63


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of one request; times in ns since the epoch."""

    name: StageName
    start: int
    end: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end - self.start) / 1e9


_STAGES: ContextVar[list[Stage] | None] = ContextVar("nanocxr_stages", default=None)


@contextmanager
def collecting(into: list[Stage]) -> Iterator[None]:
    """Put the stages that end inside into this list."""
    token = _STAGES.set(into)
    try:
        yield
    finally:
        _STAGES.reset(token)


@contextmanager
def stage(name: StageName) -> Iterator[None]:
    """Time what happens inside, also where it fails; nothing is kept where nobody collects."""
    start = time.time_ns()
    try:
        yield
    finally:
        add([Stage(name, start, time.time_ns())])


def add(stages: list[Stage]) -> None:
    """Keep stages that were measured elsewhere, perhaps by a process that a file has taken over."""
    kept = _STAGES.get()
    if kept is not None:
        kept += [stage for stage in stages if _is_sound(stage)]


def _is_sound(stage: object) -> bool:
    return (
        isinstance(stage, Stage)
        and stage.name in NAMES
        and isinstance(stage.start, int)
        and isinstance(stage.end, int)
        and 0 <= stage.start <= stage.end < LATEST
    )

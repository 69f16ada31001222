"""Tasks for decoding processes, which import them by name."""

import sys
from collections.abc import Iterable

from service.imaging.claim import MIB, claim_inflation


def claim_and_allocate(claimed: int, allocated: int) -> int:
    """Claim MiB, thrice as many as decoders do for what they inflate, then allocate MiB."""
    claim_inflation(claimed * MIB // 3)
    return len(bytes(allocated * MIB))


def imported(names: Iterable[str]) -> list[str]:
    """Which of these modules the process holds."""
    return [name for name in names if sys.modules.get(name) is not None]


def claim_for_ever() -> None:
    """As a process may that a file has taken over."""
    while True:
        claim_inflation(1)

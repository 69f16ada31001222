"""Tasks for decoding processes, which import them by name."""

from service.imaging.claim import MIB, claim_inflation


def claim_and_allocate(claimed: int, allocated: int) -> int:
    """Claim MiB, thrice as many as decoders do for what they inflate, then allocate MiB."""
    claim_inflation(claimed * MIB // 3)
    return len(bytes(allocated * MIB))


def claim_for_ever() -> None:
    """As a process may that a file has taken over."""
    while True:
        claim_inflation(1)

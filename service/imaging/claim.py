"""Ask for memory before pixels are decoded.

header -> [claim] -> pixels
Who decodes says what the image may take at most; whoever runs it may wait, grant or refuse. Nobody
is asked where nobody keeps account: in training, and where a single file is read.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

MIB = 2**20
# Bytes a pixel of all copies at once, measured for each format (tests/service/imaging/test_claim.py
# holds them to it): the samples as stored and as decoded, float32, and the copy that is resized.
GREY_BYTES = 16
COLOUR_BYTES = 26
FILE_COPIES = 2
TABLES = 32 * MIB  # of codecs, and of all values that a pixel can have


@dataclass(frozen=True, slots=True)
class Claim:
    """What decoding one image takes: its pixels, and bytes at the most."""

    pixels: int
    size: int


# What is answered; "never" where even an idle service has less.
Verdict = Literal["granted", "busy", "never"]

_ASK: ContextVar[Callable[[Claim], None] | None] = ContextVar("nanocxr_claim", default=None)


@contextmanager
def asking(ask: Callable[[Claim], None]) -> Iterator[None]:
    """Have ``ask`` called with every claim inside; it raises where the claim is not granted."""
    token = _ASK.set(ask)
    try:
        yield
    finally:
        _ASK.reset(token)


def claim(pixels: int, *, samples: int, file: int) -> None:
    """Ask for the memory of an image whose header has been read.

    Parameters
    ----------
    pixels
        Rows x columns.
    samples
        A pixel, alpha included.
    file
        Bytes of the file, inflated where it was deflated.

    Raises
    ------
    ServiceBusy, TooManyPixels
        What the one who is asked raises.
    """
    _ask_for(Claim(pixels, needed(pixels, samples=samples, file=file)))


def claim_inflation(size: int) -> None:
    """Ask for the memory of inflating a file to ``size`` bytes; errors as :func:`claim`."""
    _ask_for(Claim(0, 3 * size))  # the buffer doubles as it grows


def needed(pixels: int, *, samples: int, file: int) -> int:
    """Bytes that decoding such an image takes at most; arguments as for :func:`claim`."""
    return pixels * (GREY_BYTES if samples == 1 else COLOUR_BYTES) + FILE_COPIES * file + TABLES


def _ask_for(claim: Claim) -> None:
    ask = _ASK.get()
    if ask is not None:
        ask(claim)

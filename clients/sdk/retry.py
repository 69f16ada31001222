"""When a request is sent again: 429, 503 of a busy service, and failed connections. No other is."""

import random
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from clients.sdk.errors import is_busy

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a busy or unreachable service is asked again, and after how long.

    Raises
    ------
    ValueError
        If ``retries`` is negative.
    """

    retries: int

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ValueError(f"retries is {self.retries}; it must be at least 0")

    def wait(self, attempt: int, outcome: httpx.Response | httpx.HTTPError) -> float | None:
        """Seconds to wait after an attempt (0 is the first); None where it was the last."""
        if attempt >= self.retries:
            return None
        if isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout):
            return wait_seconds(attempt)
        if isinstance(outcome, httpx.HTTPError) or not is_busy(outcome):
            return None
        asked = asked_seconds(outcome.headers.get("Retry-After"))
        return wait_seconds(attempt, asked) if asked <= LONGEST_WAIT_SECONDS else None


def wait_seconds(attempt: int, asked: float = 0.0) -> float:
    """Seconds to wait after the given attempt (0 is the first), at most 60.

    They double from 0.5 s, less a random part, on top of the seconds that the service asked for:
    many that it turned away at once must not come back at once.
    """
    doubled = FIRST_WAIT_SECONDS * 2.0**attempt
    spread = doubled * random.uniform(0.5, 1.0)  # noqa: S311  spreads clients, hides nothing
    return min(LONGEST_WAIT_SECONDS, asked + spread)


def asked_seconds(retry_after: str | None) -> float:
    """Seconds that a Retry-After asks for, a number or an HTTP date (RFC 9110, 10.2.3).

    0 where there is none, or none that can be understood.
    """
    if retry_after is None:
        return 0.0
    if retry_after.strip().isdecimal():
        return float(retry_after)
    with suppress(ValueError):
        when = parsedate_to_datetime(retry_after)
        return max(0.0, (when.astimezone(UTC) - datetime.now(UTC)).total_seconds())
    return 0.0

"""When a request is sent again: 429, 503 and failed connections. Nothing else is sent twice."""

import random
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from clients.sdk.errors import BUSY

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
            return wait_seconds(attempt, None)
        if isinstance(outcome, httpx.HTTPError) or outcome.status_code not in BUSY:
            return None
        seconds = wait_seconds(attempt, outcome.headers.get("Retry-After"))
        return seconds if seconds <= LONGEST_WAIT_SECONDS else None


def wait_seconds(attempt: int, retry_after: str | None) -> float:
    """Seconds to wait after the given attempt (0 is the first).

    ``retry_after`` is the header's value, seconds or an HTTP date (RFC 9110, 10.2.3); without a
    usable one the wait doubles from 0.5 s, cut to 60 s, of which a random part is taken off.
    """
    if retry_after is not None:
        if retry_after.strip().isdecimal():
            return float(retry_after)
        with suppress(ValueError):
            when = parsedate_to_datetime(retry_after)
            return max(0.0, (when.astimezone(UTC) - datetime.now(UTC)).total_seconds())
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0**attempt)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  spreads clients, hides nothing

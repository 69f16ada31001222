"""What can go wrong on the way to an image, and how often what passes is tried again.

::

    ServiceFailed    nothing can be had until something is put right; ends the run
    └── Transient    a fault that passes: the same attempt is repeated, so many times
    Refused          the service draws no image for this wording; asked again in another
    └── Unusable     an answer that is of no use and says nothing of the wording
    Stopped          the user, the budget or the brake ends the run
"""

import random
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from threading import Event, Lock
from typing import Any, TypeVar

Result = TypeVar("Result")

LONGEST_PAUSE = 60.0  # seconds; of our own backoff, not of what the server asks for
LONGEST_WAIT = 600.0  # seconds; a server that asks for more has a quota of the day


class ServiceFailed(ConnectionError):
    """The service says that asking again is pointless, or stays away."""


class Transient(ServiceFailed):
    """A fault that passes.

    Attributes
    ----------
    pause
        What the server asks for, in seconds; 0 if it does not.
    accepted
        Whether the request was taken, unlike one that the service turns away with an error.
    paid
        Whether an image may have been drawn, and be billed, that never came.
    """

    def __init__(
        self, reason: str, pause: float = 0.0, *, accepted: bool = False, paid: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pause = pause
        self.accepted = accepted or paid
        self.paid = paid


class Refused(Exception):
    """The service draws no image for this wording, by its rules."""

    paid = False

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unusable(Refused):
    """An answer of no use, which the same words may not get again.

    ``content`` is what was delivered, and is paid for; empty where nothing was.
    """

    def __init__(self, reason: str, content: bytes = b"") -> None:
        super().__init__(reason)
        self.content = content
        self.paid = bool(content)


class Stopped(Exception):
    """The run is to end; the reason is for people."""


class RetryPolicy:
    """Repeats calls after faults that pass: exponential backoff with jitter, shared by threads.

    A pause that the server asks for (google.rpc.RetryInfo, Retry-After) holds all threads back:
    it is the account's quota that is used up.
    """

    def __init__(self, retries: int, backoff: float, stop: Event) -> None:
        self._retries, self._backoff, self._stop = retries, backoff, stop
        self._lock = Lock()
        self._resume = 0.0  # of time.monotonic
        self.faults = 0

    def call(self, action: Callable[[], Result]) -> Result:
        """Return what ``action`` returns; raises the last :class:`Transient`, or Stopped.

        Raises :class:`ServiceFailed` where the server asks for a pause that nobody sits out.
        """
        for attempt in range(self._retries + 1):
            self.sleep(self._resume - time.monotonic())
            try:
                return action()
            except Transient as fault:
                self._note(fault)
                if fault.pause > LONGEST_WAIT:
                    raise ServiceFailed(
                        f"{fault.reason}. The service asks to wait {fault.pause / 60:.0f} minutes: "
                        "run the same command again then."
                    ) from None
                if attempt == self._retries:
                    raise
            pause = min(self._backoff * 2.0**attempt, LONGEST_PAUSE)
            self.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - not for secrets
        raise AssertionError("unreachable: the last attempt returns or raises")

    def sleep(self, seconds: float) -> None:
        """Wait; raises :class:`Stopped` as soon as the run is to end."""
        if self._stop.wait(max(seconds, 0.0)):
            raise Stopped("interrupted")

    def _note(self, fault: Transient) -> None:
        with self._lock:
            self.faults += 1
            if fault.pause:
                self._resume = max(self._resume, time.monotonic() + fault.pause)


def pause_asked_for(details: Any, headers: Any) -> float:
    """Seconds that an error answer asks to wait, 0 where it does not say.

    Parameters
    ----------
    details
        The JSON body: ``{"error": {"details": [...]}}`` with a google.rpc.RetryInfo, or anything.
    headers
        The answer's headers, for Retry-After in seconds or as a date (RFC 9110, 10.2.3).
    """
    body = details.get("error", {}) if isinstance(details, dict) else {}
    entries = body.get("details", []) if isinstance(body, dict) else []
    pauses = [
        _number(str(entry.get("retryDelay", "")).removesuffix("s"))
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and str(entry.get("@type", "")).endswith("google.rpc.RetryInfo")
    ]
    return max(0.0, _retry_after(str(headers.get("retry-after", ""))), *pauses)


def _retry_after(text: str) -> float:
    try:
        return parsedate_to_datetime(text).timestamp() - time.time()
    except ValueError:
        return _number(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0

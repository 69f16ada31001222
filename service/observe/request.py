"""What is known about the request that is being served: the log and the metrics are made of it.

Nothing in here identifies a patient: no name of a file, no address, no query, no probability.
"""

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass, field

from service.observe.stages import Stage

# What nginx, Envoy and other proxies make up: a UUID, or at least as many hexadecimal digits.
# Letters beyond f could spell a name; digits alone, and what is shorter, be a patient's number.
INBOUND_ID = re.compile(
    r"(?=.*[a-f])(?:[0-9a-f]{32,64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE
)


@dataclass(slots=True)
class RequestFacts:
    """One request on its way through the service.

    Attributes
    ----------
    id
        The caller's ``X-Request-Id`` where it can be taken, else a new one.
    method, route
        Each one of a fixed number; whoever calls may invent some.
    trace_id
        Hexadecimal, where the trace is sampled.
    code
        Code of the problem that is answered; ``ok`` where none is.
    bytes_in
        Bytes of the body that were received.
    images
        How many files are read.
    format, rows, columns
        Of the one image that was read.
    stages
        What took time, in the order in which it ended.
    ended
        Whether it is answered. What uvicorn calls for the next request of a connection may still
        run in the context of the last one.
    """

    id: str
    method: str = ""
    route: str = ""
    trace_id: str | None = None
    code: str = "ok"
    bytes_in: int = 0
    images: int | None = None
    format: str | None = None
    rows: int | None = None
    columns: int | None = None
    stages: list[Stage] = field(default_factory=list)
    ended: bool = False


CURRENT: ContextVar[RequestFacts | None] = ContextVar("nanocxr_request", default=None)


def under_way() -> RequestFacts | None:
    """Facts of the request that this code runs for, if it runs for one."""
    facts = CURRENT.get()
    return None if facts is None or facts.ended else facts


def current() -> RequestFacts:
    """Facts of the request that this code runs for; outside of one, facts that nobody reads."""
    return under_way() or RequestFacts(id="")


def choose_id(offered: str) -> str:
    """Take the caller's request id, or make one of 32 hexadecimal digits."""
    return offered if INBOUND_ID.fullmatch(offered) else secrets.token_hex(16)

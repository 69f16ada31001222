"""A light load generator: one process, one event loop, connections that stay open.

It shares the cores with the service it measures, so it does as little as it can: a request is made
once, answers are read by their Content-Length and thrown away.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

BOUNDARY = "radiograph"
REFUSED = (429, 503)
ANSWER_BYTES = 2**24  # held back by nothing, so that the reader is not paused


@dataclass(slots=True)
class Load:
    """What came back.

    Attributes
    ----------
    latencies
        Seconds of each answer with status 200.
    statuses
        Answers of each status.
    broken
        Requests whose connection ended before the answer did.
    rude
        Refusals (429, 503) that do not say when to try again.
    seconds
        From the first request to the last answer.
    """

    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    rude: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Answers with status 200 in a second."""
        return self.statuses[200] / self.seconds

    def percentile(self, percent: float) -> float:
        """Seconds within which this share of the answers with status 200 came."""
        ranked = sorted(self.latencies)
        return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]


def upload(url: str, path: str, content: bytes) -> bytes:
    """One request, ready to be sent: a form with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="image"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: {urlsplit(url).netloc}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "\r\n")).encode() + body


def send(
    url: str, request: bytes, *, clients: int, requests: int | None = None, seconds: float = 3600
) -> Load:
    """Keep ``clients`` requests under way until all are answered, or no more are begun.

    Each client sends its next request when its last is answered, whatever the answer is.
    """
    return asyncio.run(_send(url, request, clients, requests, seconds))


async def _send(
    url: str, request: bytes, clients: int, requests: int | None, seconds: float
) -> Load:
    load, start = Load(), time.perf_counter()
    numbers = itertools.count() if requests is None else iter(range(requests))
    turns = itertools.takewhile(lambda _: time.perf_counter() < start + seconds, numbers)
    await asyncio.gather(*(_client(url, request, load, turns) for _ in range(clients)))
    load.seconds = time.perf_counter() - start
    return load


async def _client(url: str, request: bytes, load: Load, turns: Iterator[int]) -> None:
    address = urlsplit(url)
    connection = None
    for _ in turns:
        if connection is None:
            connection = await asyncio.open_connection(
                address.hostname, address.port, limit=ANSWER_BYTES
            )
        start = time.perf_counter()
        try:
            status, headers = await _exchange(*connection, request)
        except (OSError, asyncio.IncompleteReadError):
            load.broken += 1
            connection = None
            continue
        load.statuses[status] += 1
        if status == 200:
            load.latencies.append(time.perf_counter() - start)
        load.rude += status in REFUSED and "retry-after" not in headers
        if headers.get("connection") == "close":
            connection[1].close()
            connection = None
    if connection is not None:
        connection[1].close()


async def _exchange(
    answers: asyncio.StreamReader, requests: asyncio.StreamWriter, request: bytes
) -> tuple[int, dict[str, str]]:
    requests.write(request)
    first, *lines = (await answers.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = (line.partition(": ")[::2] for line in lines if line)
    headers = {name.lower(): value for name, value in pairs}
    await answers.readexactly(int(headers["content-length"]))
    return int(first.split()[1]), headers

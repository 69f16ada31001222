"""What is left of the service for its users while strangers send bodies of a byte a second.

    python -m benchmarks.strangers [--slow 50] [--clients 16] [--seconds 20] [--rounds 3]

Users send a 1024 x 1024 8-bit PNG as soon as their last request is answered; strangers come back as
soon as they are refused. Rounds with and without strangers take turns on one service; the medians
of the ratios are printed.
"""

import argparse
import asyncio
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.load import send, upload
from benchmarks.serving import CLIENTS, running
from service.model.shipped import default_model
from tests.factories import chest, png_bytes

BODY_BYTES = 50_000_000
TURN_SECONDS = 1.0
UNDER_WAY_SECONDS = 60.0


class Strangers:
    """Clients that announce a large body and send a little of it, again and again.

    Attributes
    ----------
    begun
        Requests whose head was sent.
    """

    def __init__(self, url: str, clients: int, source: str | None, bytes_a_turn: int) -> None:
        self._address = urlsplit(url)
        self._clients = clients
        self._source = None if source is None else (source, 0)
        self._bytes_a_turn = bytes_a_turn
        self._over = threading.Event()
        self.begun = 0

    def wait_until_under_way(self) -> None:
        """Return when each has begun its first request."""
        deadline = time.monotonic() + UNDER_WAY_SECONDS
        while self.begun < self._clients:
            if time.monotonic() > deadline:
                raise TimeoutError("the strangers do not get through")
            time.sleep(0.05)

    def run(self) -> None:
        """Send until told to end."""
        asyncio.run(self._run())

    def end(self) -> None:
        """Make :meth:`run` return."""
        self._over.set()

    async def _run(self) -> None:
        clients = [asyncio.create_task(self._client()) for _ in range(self._clients)]
        while not self._over.is_set():
            await asyncio.sleep(0.05)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    async def _client(self) -> None:
        while True:
            try:
                await self._drip()
            except OSError:  # refused
                await asyncio.sleep(0.05)

    async def _drip(self) -> None:
        answers, body = await asyncio.open_connection(
            self._address.hostname, self._address.port, local_addr=self._source
        )
        try:
            body.write(
                f"POST /predict HTTP/1.1\r\nHost: {self._address.netloc}\r\n"
                f"Content-Length: {BODY_BYTES}\r\n"
                "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
                '--x\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'.encode()
            )
            await body.drain()
            self.begun += 1
            answered = False
            while not answered:
                body.write(bytes(self._bytes_a_turn))
                await body.drain()
                with suppress(TimeoutError):
                    await asyncio.wait_for(answers.read(1), TURN_SECONDS)
                    answered = True
        finally:
            body.close()


@contextmanager
def dripping(
    url: str, clients: int, *, source: str | None = None, bytes_a_turn: int = 1
) -> Iterator[Strangers]:
    """Have strangers send, from this address, so many bytes a second."""
    strangers = Strangers(url, clients, source, bytes_a_turn)
    thread = threading.Thread(target=strangers.run)
    thread.start()
    try:
        yield strangers
    finally:
        strangers.end()
        thread.join()


def main() -> None:
    """Print rates and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--slow", type=int, default=50)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    load = {"clients": arguments.clients, "seconds": arguments.seconds}
    ratios = []
    with running(arguments.model.resolve()) as (url, _):
        request = upload(url, "/predict", png_bytes(chest(1024, 1024, bits=8)))
        send(url, request, clients=arguments.clients, seconds=5)
        for _ in range(arguments.rounds):
            alone = send(url, request, **load)
            with dripping(url, arguments.slow) as slow:
                slow.wait_until_under_way()
                beside = send(url, request, **load)
            ratios.append(beside.rate / alone.rate)
            print(
                f"alone {alone.rate:.1f} images/s, answers {dict(alone.statuses)}; beside "
                f"{arguments.slow} slow bodies ({slow.begun} begun) {beside.rate:.1f} images/s, "
                f"answers {dict(beside.statuses)}; ratio {ratios[-1]:.2f}"
            )
    print(f"median of the ratios {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()

"""What metrics, logs and spans cost: images per second with them over images per second without.

    python -m benchmarks.observing [--model models/default/1] [--pairs 12] [--images 64]

Two services run side by side, one as it ships and one without the middleware of service.observe,
and so without lines in the log (benchmarks/unobserved.py). They are asked in turns, with 16
requests at once for a PNG of 1024 x 1024; each pair of turns gives one ratio. The processor time of
the service's processes, over the same turns, leaves the client out.

Turns differ by more than what is measured. So the middleware is also timed alone, around an app
that does nothing but pass through the stages of a reading, and set against the processor time of an
image.
"""

import argparse
import asyncio
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import httpx
import psutil
from opentelemetry.trace import NoOpTracerProvider
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.model.shipped import default_model
from service.observe import logs
from service.observe.middleware import ObserveMiddleware
from service.observe.stages import NAMES, stage
from tests.e2e.conftest import wait_until_ready
from tests.factories import chest, png_bytes
from tests.ports import free_port
from tests.sources import ROOT

AT_ONCE = 16
ALONE = "from benchmarks.observing import alone; print(alone() * 1e6)"
IMAGE = png_bytes(chest(1024, 1024, bits=8))


@dataclass
class Running:
    """One service that answers."""

    http: httpx.Client
    process: "subprocess.Popen[bytes]"

    def turn(self, images: int) -> tuple[float, float]:
        """Images per second, and seconds of processor time an image."""
        before, start = self.cpu(), time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.ask, range(images)))
        seconds = time.perf_counter() - start
        return images / seconds, (self.cpu() - before) / images

    def ask(self, _: int) -> None:
        """Have one image read."""
        self.http.post("/predict", files={"image": IMAGE}).raise_for_status()

    def cpu(self) -> float:
        """Processor time of all its processes so far."""
        family = psutil.Process(self.process.pid)
        times = [p.cpu_times() for p in (family, *family.children(recursive=True))]
        return float(sum(t.user + t.system for t in times))


@contextmanager
def running(target: str, model: Path) -> Iterator[Running]:
    """Start `bentoml serve` with this service."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("bentoml")), "serve", target]
    with tempfile.TemporaryDirectory() as home, (Path(home) / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env=os.environ
            | {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": home, "CXR_MODEL": str(model)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            limits = httpx.Limits(max_connections=AT_ONCE, keepalive_expiry=1)  # uvicorn waits 5 s
            url = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=url, timeout=60, limits=limits) as http:
                wait_until_ready(process, url, Path(home) / "log")
                yield Running(http, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def alone(requests: int = 5000) -> float:
    """Seconds that the middleware takes for a request, line of the log and metrics included."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        for name in NAMES:
            with stage(name):
                pass
        await PlainTextResponse("read")(scope, receive, send)

    wrapped = Starlette(routes=[Mount("/predict", app)])
    wrapped.add_middleware(
        ObserveMiddleware,
        tracer_provider=NoOpTracerProvider(),
        excluded=lambda _: False,
        service=("", "", ""),
    )
    plain = Starlette(routes=[Mount("/predict", app)])
    with Path(os.devnull).open("w") as log:
        logging.getLogger().addHandler(logging.StreamHandler(log))
        logs.configure({})
        seconds = [asyncio.run(timed(app, requests)) for _ in range(3) for app in (plain, wrapped)]
    return min(seconds[1::2]) - min(seconds[::2])


async def timed(app: ASGIApp, requests: int) -> float:
    """Seconds of processor time for one request of twenty pieces."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "query_string": b"",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"multipart/form-data"),
            (b"content-length", b"9"),
        ],
        "client": None,
        "server": ("localhost", 80),
        "scheme": "http",
        "http_version": "1.1",
    }

    async def send(_: Message) -> None:
        pass

    start = time.process_time()
    for _ in range(requests):
        pieces = iter(range(19, -1, -1))

        async def receive(pieces: Iterator[int] = pieces) -> Message:
            return {"type": "http.request", "body": b"", "more_body": next(pieces) > 0}

        await app(dict(scope), receive, send)
    return (time.process_time() - start) / requests


def main() -> None:
    """Print both ratios: their medians, and the middle half of the pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--images", type=int, default=64)
    arguments = parser.parse_args()
    model = arguments.model.resolve()
    rates, costs, processor = [], [], []
    with (
        running("service.app:service", model) as observed,
        running("benchmarks.unobserved:service", model) as bare,
    ):
        for side in (observed, bare):
            side.turn(arguments.images)
        for pair in range(arguments.pairs):
            turns = {}
            for side in (observed, bare) if pair % 2 else (bare, observed):
                turns[side is observed] = side.turn(arguments.images)
            rates.append(turns[True][0] / turns[False][0])
            costs.append(turns[True][1] / turns[False][1])
            processor.append(turns[True][1])
    print(f"images/s, with over without: {spread(rates)}")
    print(f"processor time an image, with over without: {spread(costs)}")
    microseconds = float(
        subprocess.run(
            [sys.executable, "-c", ALONE], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
    )
    print(
        f"alone: {microseconds:.0f} us a request, "
        f"{microseconds / 1e6 / median(processor):.4f} of the processor time of an image"
    )


def spread(ratios: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = quantiles(ratios, n=4)
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()

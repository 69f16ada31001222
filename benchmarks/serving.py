"""How long the service takes to start, and what it costs over bare inference.

    python -m benchmarks.serving [--model models/default/1] [--requests 160] [--rounds 3]

Start-up: seconds from the start of the process (`bentoml serve`, warm environment) to the first 200
from /readyz; the best of three.

Throughput: images per second of 16 clients at once, each with a 1024 x 1024 8-bit PNG, over the
images per second of a bare loop: `InferenceSession.run` of onnxruntime with its default options on
a ready tensor, one image at a time, nothing else running. Both take turns in one run, the loop
before and after each load, and the medians of the ratios are printed. Clients, one process with one
event loop, and service share the cores that the loop has for itself. Ratios are what carries over
to another computer. Beside them stands the CPU time of a request, of service and clients together,
over that of /predict: where others use the computer too, it is the steadier of the two. A loop over
batches of 8 is printed for comparison: it is what no service can reach that answers one image at a
time.
"""

import argparse
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import psutil

from benchmarks.load import Load, send, upload
from service.model.bundle import Bundle
from service.model.shipped import default_model
from service.processor import this_processor
from tests.factories import chest, png_bytes
from tests.sources import ROOT

CLIENTS = 16
BATCH = 8
PATHS = (
    "/predict",
    "/predict?heatmap=array",
    "/explain",
    "/explain?format=jpeg",
    "/explain?bare=true",
)


@contextmanager
def running(model: Path, **variables: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Start the service; yield its address, once it is ready, and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("bentoml")), "serve", "service.app:ChestXray"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=ROOT,
        env=os.environ | {"BENTOML_DO_NOT_TRACK": "True", "CXR_MODEL": str(model)} | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not is_ready(url):
            if process.poll() is not None:
                raise SystemExit("the service ended at start; run `make serve` to see why")
            time.sleep(0.02)
        yield url, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def is_ready(url: str) -> bool:
    """Whether /readyz answers 200."""
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def bare_loop(model: Path) -> Callable[[int, int], float]:
    """Images per second of onnxruntime alone, for a number of images and a size of batch."""
    bundle = Bundle.open(model)
    size = bundle.manifest.input.size
    tensor = np.random.default_rng(0).random((BATCH, 1, size, size), dtype=np.float32)
    session = onnxruntime.InferenceSession(bundle.graph, providers=["CPUExecutionProvider"])
    outputs = ["logit", "heatmap", "embedding"]

    def rate(images: int, batch: int) -> float:
        ready = {"image": tensor[:batch]}
        session.run(outputs, ready)
        start = time.perf_counter()
        for _ in range(images // batch):
            session.run(outputs, ready)
        return images // batch * batch / (time.perf_counter() - start)

    return rate


def cpu_seconds(process: "subprocess.Popen[bytes]") -> float:
    """What the service and this process have taken of the cores until now."""
    service = psutil.Process(process.pid)
    times = [one.cpu_times() for one in (service, *service.children(recursive=True))]
    return math.fsum(one.user + one.system for one in times) + time.process_time()


def measure(
    model: Path, url: str, process: "subprocess.Popen[bytes]", requests: int, rounds: int
) -> None:
    """Print rates, ratios and latencies of each path."""
    content = png_bytes(chest(1024, 1024, bits=8))
    bare = bare_loop(model)
    print(f"{this_processor()}; bare, 8 at a time: {bare(requests, BATCH):.1f} images/s")
    of_predict = math.nan
    for path in PATHS:
        request = upload(url, path, content)
        send(url, request, clients=CLIENTS, requests=2 * CLIENTS)
        before, loads, bares, taken = bare(requests, 1), list[Load](), list[float](), list[float]()
        for _ in range(rounds):
            start = cpu_seconds(process)
            loads.append(send(url, request, clients=CLIENTS, requests=requests))
            taken.append(cpu_seconds(process) - start)
            after = bare(requests, 1)
            bares.append((before + after) / 2)
            before = after
        if any(set(load.statuses) != {200} for load in loads):
            raise SystemExit(f"{path}: {[load.statuses for load in loads]}")
        ratios = [load.rate / rate for load, rate in zip(loads, bares, strict=True)]
        p50, p99 = (
            statistics.median(load.percentile(percent) for load in loads) for percent in (50, 99)
        )
        seconds = statistics.median(taken)
        of_predict = seconds if path == PATHS[0] else of_predict
        print(
            f"{path}: {statistics.median(load.rate for load in loads):.1f} images/s, "
            f"{statistics.median(ratios):.2f} of bare ({min(ratios):.2f} to {max(ratios):.2f}; "
            f"bare {statistics.median(bares):.1f} images/s); CPU {seconds / of_predict:.2f}; "
            f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, p99/p50 {p99 / p50:.2f}"
        )


def main() -> None:
    """Print seconds to /readyz, and what serving costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--requests", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    model = arguments.model.resolve()
    if not (model / "manifest.json").is_file():
        raise SystemExit(f"no model in {arguments.model}; train one, or name it with --model")
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        with running(model):
            seconds.append(time.perf_counter() - start)
    print(f"process start to /readyz: {min(seconds):.2f} s")
    with running(model) as (url, process):
        measure(model, url, process, arguments.requests, arguments.rounds)


if __name__ == "__main__":
    main()

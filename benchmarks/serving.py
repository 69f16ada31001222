"""How long the service takes to start, and what it costs over bare inference.

    python -m benchmarks.serving [--model models/default/1] [--images 100]

Start-up: seconds from the start of the process (`bentoml serve`, warm environment) to the first 200
from /readyz; the best of three. Throughput: /predict images per second, one request at a time and
four, divided by images per second of a bare ONNX Runtime loop over a ready tensor, for a file that
costs next to nothing to decode and for one of the size of a computed radiograph. Client and service
share the cores. Ratios are what carries over to another computer.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from service.model.bundle import Bundle
from service.model.session import Session
from tests.factories import chest, dicom_bytes, png_bytes

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "PNG 256 x 240": png_bytes(),
    "DICOM 2000 x 2000, 16 bit": dicom_bytes(chest(2000, 2000, bits=16)),
}


@contextmanager
def running(model: Path) -> Iterator[tuple[str, float]]:
    """Start the service; yield its address and the seconds until it was ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("bentoml")), "serve", "service.app:ChestXray"]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=ROOT,
        env=os.environ | {"BENTOML_DO_NOT_TRACK": "True", "CXR_MODEL": str(model)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not is_ready(url):
            if process.poll() is not None:
                raise SystemExit("the service ended at start; run `make serve` to see why")
            time.sleep(0.02)
        yield url, time.perf_counter() - start
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def is_ready(url: str) -> bool:
    """Whether /readyz answers 200."""
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def per_second(task: Callable[[int], object], images: int, at_once: int = 1) -> float:
    """How often ``task`` is done in a second."""
    task(0)
    start = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(task, range(images)))
    return images / (time.perf_counter() - start)


def bare_loop(model: Path, images: int) -> float:
    """Images per second of ONNX Runtime alone, one at a time."""
    bundle = Bundle.open(model)
    size = bundle.manifest.input.size
    tensor = np.random.default_rng(0).random((1, 1, size, size), dtype=np.float32)
    session = Session(bundle.graph, threads=0)
    return per_second(lambda _: session.run(tensor), images)


def main() -> None:
    """Print seconds to /readyz and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "default" / "1")
    parser.add_argument("--images", type=int, default=100)
    arguments = parser.parse_args()
    model = arguments.model.resolve()
    if not (model / "manifest.json").is_file():
        raise SystemExit(f"no model in {arguments.model}; train one, or name it with --model")
    seconds = []
    for _ in range(3):
        with running(model) as (_, until_ready):
            seconds.append(until_ready)
    print(f"process start to /readyz: {min(seconds):.2f} s")
    bare = bare_loop(model, arguments.images)
    print(f"bare ONNX Runtime: {bare:.1f} images/s")
    with running(model) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        for name, content in FILES.items():
            for at_once in (1, 4):
                rate = per_second(
                    lambda _, content=content: client.post("/predict", files={"image": content}),  # type: ignore[misc]
                    arguments.images,
                    at_once,
                )
                print(
                    f"/predict {name}, {at_once} at once: {rate:.1f} images/s, "
                    f"{rate / bare:.2f} of bare ONNX Runtime"
                )


if __name__ == "__main__":
    main()

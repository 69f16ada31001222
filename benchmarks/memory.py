"""How much memory the service takes: idle, and with the worst films, on 1, 2 and 4 cores.

    python -m benchmarks.memory [--clients 64]

The worst film has 40 million pixels and takes most to decode; each of the clients sends it to
/explain as soon as its last one is answered. Memory is the sum of the proportional set sizes of all
processes. On more cores than this machine has, what is needed is calculated, and not measured.
"""

import argparse
import base64
import json
import os
from pathlib import Path

import psutil

from benchmarks.load import send, upload
from benchmarks.overload import watched
from benchmarks.serving import running
from service.imaging.claim import MIB
from service.imaging.decode import Limits
from service.memory import needed
from service.model.shipped import default_model
from tests.factories import largest_film

CORES = (1, 2, 4)


def main() -> None:
    """Print a line for each number of cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--clients", type=int, default=64)
    arguments = parser.parse_args()
    golden = json.loads((arguments.model / "golden.json").read_text())["readings"]
    film = largest_film(base64.b64decode(golden[-1]["image"]))
    here = sorted(os.sched_getaffinity(0))
    for cores in CORES:
        due = needed(Limits().decoding_memory, cores)
        measured = ""
        if cores <= len(here):
            os.sched_setaffinity(0, here[:cores])  # the service inherits it
            idle, peak, answers = measure(arguments.model.resolve(), film, due, arguments.clients)
            measured = f"idle {idle / MIB:.0f}, peak {peak / MIB:.0f}, answers {answers}; "
            os.sched_setaffinity(0, here)
        print(f"{cores} cores, MiB: {measured}needed {due / MIB:.0f}", flush=True)


def measure(model: Path, film: bytes, memory: int, clients: int) -> tuple[int, int, dict[int, int]]:
    """Bytes when idle and at the peak, and answers of each status; each client sends one film."""
    with running(model, CXR_MEMORY=str(memory)) as (url, process):
        service = psutil.Process(process.pid)
        processes = (service, *service.children(recursive=True))
        idle = sum(one.memory_full_info().pss for one in processes)
        with watched(process.pid) as peak:
            load = send(url, upload(url, "/explain", film), clients=clients, requests=clients)
    return idle, peak.bytes, dict(load.statuses)


if __name__ == "__main__":
    main()

"""Every metric of the service, for BentoML's own /metrics; docs/operations.md lists them.

BentoML serves what all workers write to PROMETHEUS_MULTIPROC_DIR, which it sets before a worker
starts. So importing this module is enough; gauges need a mode, and Info is a gauge that is 1.
No label takes a value from outside that is not in a fixed list: series do not grow for ever, and a
patient's name in a path is not kept.
"""

import os
import re
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.multiprocess import mark_process_dead

SECONDS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
TENTHS = tuple(tenth / 10 for tenth in range(1, 11))

REQUESTS = Counter(
    "nanocxr_requests",
    "Requests answered. `code` is that of the problem, or ok.",
    ["route", "method", "status", "code"],
)
REQUEST_SECONDS = Histogram(
    "nanocxr_request_seconds",
    "From the head of a request to its answer.",
    ["route"],
    buckets=SECONDS,
)
STAGE_SECONDS = Histogram(
    "nanocxr_stage_seconds", "Time of one stage of a reading.", ["stage"], buckets=SECONDS
)
REQUESTS_UNDER_WAY = Gauge(
    "nanocxr_requests_under_way",
    "Requests that are not answered yet, probes left out.",
    multiprocess_mode="livesum",
)
QUEUE_LENGTH = Gauge(
    "nanocxr_queue_length",
    "Images that wait to be decoded or read.",
    multiprocess_mode="livesum",
)
BATCH_IMAGES = Histogram(
    "nanocxr_batch_images", "Images in one inference.", buckets=(1, 2, 4, 8, 16, 32)
)
PROBABILITY = Histogram(
    "nanocxr_probability", "Calibrated probabilities that were answered.", buckets=TENTHS
)
PROBLEMS = Counter(
    "nanocxr_problems", "Problems answered, by code; one for each image of a batch.", ["code"]
)
FAMILIARITY = Histogram(
    "nanocxr_input_familiarity",
    "How much images look like those of training; drifts where the input does.",
    buckets=TENTHS,
)
MODEL_INFO = Gauge(
    "nanocxr_model_info",
    "Always 1; the labels say which model is served, and where it runs.",
    ["name", "version", "sha256", "provider"],
    multiprocess_mode="livemax",
)


def forget_dead_workers() -> None:
    """Take the gauges of workers that were killed out of the sums.

    A worker cannot do it for itself, and BentoML does not do it for others.
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    for path in Path(folder).glob("gauge_live*.db"):
        pid = int(re.sub(r"\D", "", path.stem))
        if not _alive(pid):
            mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

"""Every metric of the service, for BentoML's own /metrics; docs/operations.md lists them.

They are kept in the memory of the one process that serves. BentoML would keep them in files that
are mapped into memory, to sum up several processes: where their disk is full, counting a request
ends the process by SIGBUS. Info is a gauge that is 1.
No label takes a value from outside that is not in a fixed list: series do not grow for ever, and a
patient's name in a path is not kept.
"""

import os
from contextlib import suppress
from pathlib import Path

# BentoML's supervisor sets it for the process that serves; prometheus_client chooses files where it
# is set when it is first imported.
FILES = os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics  # noqa: E402

# A second series for each of a counter, with the time of its start.
disable_created_metrics()  # type: ignore[no-untyped-call]

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
    "nanocxr_requests_under_way", "Requests that are not answered yet, probes left out."
)
QUEUE_LENGTH = Gauge("nanocxr_queue_length", "Images that wait to be decoded or read.")
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
)


# BentoML's own, under its names and with its buckets.
SERVICE = ("runner_name", "service_name", "service_version")
ENDPOINT = (*SERVICE, "endpoint")
SERVICE_REQUESTS = Counter(
    "bentoml_service_request", "Requests answered.", (*ENDPOINT, "http_response_code")
)
SERVICE_SECONDS = Histogram(
    "bentoml_service_request_duration_seconds",
    "From the head of a request to its answer.",
    (*ENDPOINT, "http_response_code"),
    buckets=(
        0.005,
        0.01,
        0.025,
        0.05,
        0.1,
        0.25,
        0.5,
        1.0,
        2.5,
        5.0,
        10.0,
        30.0,
        60.0,
        120.0,
        180.0,
    ),
)
SERVICE_UNDER_WAY = Gauge(
    "bentoml_service_request_in_progress", "Requests that are not answered yet.", ENDPOINT
)
SERVICE_LATEST = Gauge(
    "bentoml_service_last_request_timestamp_seconds", "When the latest request came.", SERVICE
)


def remove_unused_folder() -> None:
    """Remove the folder that BentoML made for the files; of a temporary one nobody else would."""
    if FILES is not None:
        with suppress(OSError):  # gone since the last process, or on a disk that is read only
            Path(FILES).rmdir()

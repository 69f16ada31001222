"""What a decoding process does with files: read, decode, standardise.

files -> [decode_files] -> inference
Runs in processes of its own, so it imports no model, no onnxruntime and no table library.
"""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from clients.demographics import sex_and_age_band
from service.errors import ReadingError
from service.imaging.decode import Limits
from service.imaging.prepare import Prepared, prepare
from service.imaging.standardise import InputSpec

# Codes beside those of service.errors: what can befall a file before or while it is decoded.
UNREADABLE_FILE = "unreadable_file"
DECODER_CRASHED = "decoder_crashed"  # the process died of it, or was killed
DECODER_FAILED = "decoder_failed"  # an exception that is no refusal

ORPHAN_SECONDS = 0.5  # between two looks for the parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """One file: ready for inference, or with an error code.

    Attributes
    ----------
    sha256
        Of the file; None where it could not be read.
    milliseconds
        From the bytes to the tensor.
    """

    sha256: str | None = None
    prepared: Prepared | None = None
    error: str | None = None
    milliseconds: float = 0.0
    patient_sex: str | None = None
    age_band: str | None = None


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def decode_files(files: Sequence[str], limits: Limits, spec: InputSpec) -> list[Decoded]:
    """Decode several files, one after the other: handing a task over costs as much as a file."""
    return [decode_file(file, limits, spec) for file in files]


def decode_file(file: str, limits: Limits, spec: InputSpec) -> Decoded:
    """Read one file and make it the network's input; never raises for what the file holds."""
    try:
        with open(file, "rb") as stream:  # noqa: PTH123  a string, not a Path, came here
            content = stream.read()
    except OSError:
        return Decoded(error=UNREADABLE_FILE)
    sha256 = digest(content)
    start = time.perf_counter()
    try:
        prepared = prepare(content, limits, spec)
    except ReadingError as refusal:
        return Decoded(sha256=sha256, error=refusal.code)
    except Exception:  # noqa: BLE001  one file in 100,000 must not stop the run
        return Decoded(sha256=sha256, error=DECODER_FAILED)
    milliseconds = (time.perf_counter() - start) * 1000
    sex, band = sex_and_age_band(content)
    return Decoded(
        sha256=sha256,
        prepared=prepared,
        milliseconds=milliseconds,
        patient_sex=sex,
        age_band=band,
    )


def start_worker(parent: int) -> None:
    """Prepare a decoding process: it leaves Ctrl-C to its parent, and ends when that is gone.

    A parent that was killed cannot end its workers, and they hold the writing end of the pipe they
    wait at, so they would wait for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(ORPHAN_SECONDS)
    os._exit(1)

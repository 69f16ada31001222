"""What a decoding process does with files: read, decode, standardise.

files -> [decode_files] -> inference
Such a process is one of service.inference.worker_pool. It imports no model, no onnxruntime and no
table library.
"""

import time
from dataclasses import dataclass

from clients.datasets.demographics import sex_and_age_band
from service.errors import ReadingError
from service.files import sha256
from service.imaging.decode import Limits
from service.imaging.prepare import Prepared, prepare
from service.imaging.standardise import InputSpec

# Codes beside those of service.errors: what can befall a file before or while it is decoded.
UNREADABLE_FILE = "unreadable_file"
DECODER_FAILED = "decoder_failed"  # an exception that is no refusal


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


def decode_file(file: str, limits: Limits, spec: InputSpec) -> Decoded:
    """Read one file and make it the network's input; never raises for what the file holds."""
    try:
        with open(file, "rb") as stream:  # noqa: PTH123  a string, not a Path, came here
            content = stream.read()
    except OSError:
        return Decoded(error=UNREADABLE_FILE)
    digest = sha256(content)
    start = time.perf_counter()
    try:
        prepared = prepare(content, limits, spec)
    except ReadingError as refusal:
        return Decoded(sha256=digest, error=refusal.code)
    except Exception:  # noqa: BLE001  one file in 100,000 must not stop the run
        return Decoded(sha256=digest, error=DECODER_FAILED)
    milliseconds = (time.perf_counter() - start) * 1000
    sex, band = sex_and_age_band(content)
    return Decoded(
        sha256=digest,
        prepared=prepared,
        milliseconds=milliseconds,
        patient_sex=sex,
        age_band=band,
    )


def decode_files(files: list[str], limits: Limits, spec: InputSpec) -> list[Decoded]:
    """Do as :func:`decode_file` for each."""
    return [decode_file(file, limits, spec) for file in files]

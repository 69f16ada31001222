"""Prove that a model reads on this machine as it did where it was packaged.

``python -m service.doctor [MODEL]``, where only what serving needs is installed; ``cxr doctor`` is
the same. The report is made to be published: it names no computer, user or folder.

Exit status: 0 it does; 1 it does not, or there is no model to ask; 2 wrong usage.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from service.errors import ReadingError
from service.imaging.prepare import Prepared
from service.model.bundle import Bundle
from service.model.golden import TOLERANCE, Agreement, golden_readings, replay
from service.model.manifest import ModelIdentity
from service.model.reader import Reader
from service.processor import cores, this_processor
from service.schemas import INTENDED_USE
from service.settings import SettingError, Settings, unknown_variables
from service.version import VERSION

FAILED, WRONG_USAGE = 1, 2
SPEED_SECONDS = 1.0
# Whatever turns bytes into numbers; a model is served with one of the two packages of onnxruntime.
PACKAGES = (
    "onnxruntime", "onnxruntime-gpu", "numpy", "pillow", "isal", "simplejpeg", "imagecodecs",
    "pydicom", "pylibjpeg-rle",
)  # fmt: skip
AGREES = "The model reads on this machine as it did where it was packaged."
DISAGREES = (
    "The model does NOT read on this machine as it did where it was packaged: probabilities and "
    "heatmaps from here are not those that were measured, so do not use them. Install the versions "
    "in requirements/serve.txt; if the difference stays, this processor computes the network "
    "otherwise: report it with all of this text."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found out about a model on this machine."""

    model: ModelIdentity
    provider: str
    agreement: Agreement
    images_per_second: float


def examine(model: Path, settings: Settings) -> Examination:
    """Load a model as the service does, replay its golden readings and time its inference.

    Raises
    ------
    ModelUnavailable
        If there is no model, it is not the one it claims to be, or it has no golden readings.
    """
    bundle = Bundle.open(model, settings.model_key)
    golden = golden_readings(bundle)
    reader = Reader(
        bundle, limits=settings.limits, threads=settings.threads, provider=settings.provider
    )
    return Examination(
        model=reader.model,
        provider=reader.provider,
        agreement=replay(reader, golden),
        images_per_second=speed(reader, reader.prepare(golden[0].image)),
    )


def speed(reader: Reader, prepared: Prepared) -> float:
    """Images inferred a second, one at a time, over a short while."""
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < SPEED_SECONDS:
        reader.infer([prepared])
        count += 1
    return count / elapsed


def report(found: Examination) -> str:
    """All that a report of an error should say about the machine, and nothing that names it."""
    agreement = found.agreement
    facts = [
        ("nanocxr", VERSION),
        ("model", f"{found.model.name} {found.model.version}, SHA-256 {found.model.sha256}"),
        ("provider", found.provider),
        ("processor", str(this_processor())),
        ("cores", str(cores())),
        ("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"),
        *versions(),
        ("golden", f"{agreement.images} images, largest difference (at most {TOLERANCE:g}):"),
        ("", f"probability {agreement.probability:.2g}, heatmap {agreement.heatmap:.2g}"),
        ("speed", f"{found.images_per_second:.1f} images/s, inference alone, one at a time"),
    ]
    lines = [f"{name:20}{fact}" for name, fact in facts]
    return "\n".join([*lines, AGREES if agreement.holds else DISAGREES, INTENDED_USE])


def versions() -> Iterator[tuple[str, str]]:
    """Versions of the installed packages that a reading goes through."""
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def run(model: Path | None) -> int:
    """Print the report on a model, by default the one that is served; return the exit status."""
    for sentence in unknown_variables(os.environ):
        print(f"Warning: {sentence}", file=sys.stderr)  # noqa: T201
    try:
        settings = Settings.from_env()
    except SettingError as error:
        return _failed(error, WRONG_USAGE)
    try:
        found = examine(model or settings.model, settings)
    except ReadingError as error:
        return _failed(error, FAILED)
    print(report(found))  # noqa: T201
    return 0 if found.agreement.holds else FAILED


def _failed(error: Exception, status: int) -> int:
    print(f"Error: {error}", file=sys.stderr)  # noqa: T201
    return status


def main() -> None:
    """Prove that a model reads on this machine as it did where it was packaged."""
    parser = argparse.ArgumentParser(
        prog="python -m service.doctor", description=main.__doc__, epilog=INTENDED_USE
    )
    parser.add_argument(
        "model", nargs="?", type=Path, help="its folder [default: CXR_MODEL, or the one of nanocxr]"
    )
    sys.exit(run(parser.parse_args().model))


if __name__ == "__main__":
    main()

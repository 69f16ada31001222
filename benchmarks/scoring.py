"""What `cxr score` on this computer costs over bare inference, and what a large run needs.

    python -m benchmarks.scoring [--model models/default/1] [--images 160] [--rounds 3]
    python -m benchmarks.scoring --run 20000

Throughput: images per second of the local engine, from files of 1024 x 1024 pixels to rows, divided
by those of a bare onnxruntime loop over ready tensors, one at a time and in batches, in the same
process and round. All contenders have the same cores and take turns, so that what else the computer
does meets all of them; ratios are what carries over.

--run: a folder like that of RSNA 2018, a few hundred DICOM files and hard links to them, is scored
by `cxr score`, killed with -9 three times and resumed; then the peak memory of that run's whole
process tree, uninterrupted, is divided by that of a run of 2,000 images.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from clients.datasets import rsna
from clients.datasets.items import Item
from clients.datasets.open import open_dataset
from clients.scoring.local import BATCH, LocalEngine
from clients.scoring.score import done_names, parts_folder
from service.model.bundle import Bundle
from service.model.session import Session
from service.model.shipped import default_model
from service.settings import Settings
from tests.factories import chest, dicom_bytes, png_bytes

SMALL_RUN = 2_000
DISTINCT = 300  # files that are written; the others are links to them
KILLED_AT = (0.2, 0.45, 0.7)  # of the images
ASKED = {"throughput": 0.85, "memory": 1.2}


def files_of(folder: Path) -> dict[str, Path]:
    """Write the two kinds of file that are timed."""
    contents = {
        "PNG 1024 x 1024, 8 bit": png_bytes(chest(1024, 1024, bits=8)),
        "DICOM 1024 x 1024, 12 of 16 bit, uncompressed": dicom_bytes(
            chest(1024, 1024), bits_stored=12, WindowCenter=2048, WindowWidth=4096
        ),
    }
    files = {}
    for number, (name, content) in enumerate(contents.items()):
        files[name] = folder / str(number)
        files[name].write_bytes(content)
    return files


def per_second(task: Callable[[], object], images: int) -> float:
    """Images per second of a task that reads ``images``."""
    start = time.perf_counter()
    task()
    return images / (time.perf_counter() - start)


def contenders(
    bundle: Bundle, engine: LocalEngine, files: dict[str, Path], images: int
) -> dict[str, Callable[[], object]]:
    """Name -> what reads ``images`` images."""
    size = bundle.manifest.input.size
    tensors = np.random.default_rng(0).random((images, 1, size, size), dtype=np.float32)
    session = Session(bundle.graph, threads=0)

    def bare(batch: int) -> None:
        for start in range(0, images, batch):
            session.run(tensors[start : start + batch])

    def local(file: Path) -> None:
        items = [Item(name=str(number), file=file, label=None) for number in range(images)]
        errors = [found.error for _, found in engine.score(items) if found.error]
        if errors:
            raise SystemExit(f"not every image was read: {errors[0]}")

    tasks: dict[str, Callable[[], object]] = {
        "bare, one at a time": lambda: bare(1),
        f"bare, batches of {BATCH}": lambda: bare(BATCH),
    }
    return tasks | {name: lambda file=file: local(file) for name, file in files.items()}


def throughput(model: Path, images: int, rounds: int) -> None:
    """Print images per second and, for each kind of file, the ratios to both bare loops."""
    bundle = Bundle.open(model)
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalEngine(bundle, Settings(model=model)) as engine,
    ):
        files = files_of(Path(folder))
        tasks = contenders(bundle, engine, files, images)
        rates: dict[str, list[float]] = {name: [] for name in tasks}
        for number in range(rounds + 1):  # the first also warms up
            for name, task in tasks.items():
                rate = per_second(task, images)
                if number:
                    rates[name].append(rate)
    for name, found in rates.items():
        print(f"{name}: {statistics.median(found):.1f} images/s")
    for name in files:
        for bare in [contender for contender in rates if contender not in files]:
            ratios = [one / other for one, other in zip(rates[name], rates[bare], strict=True)]
            print(
                f"{name} / {bare}: {statistics.median(ratios):.2f} "
                f"({min(ratios):.2f} to {max(ratios):.2f}), asked: {ASKED['throughput']}"
            )


def write_rsna(folder: Path, images: int) -> Path:
    """Make the layout of RSNA 2018 with DICOM files of 256 to 1024 pixels a side."""
    pixels = folder / rsna.IMAGES
    pixels.mkdir(parents=True)
    sides = (256, 384, 512, 1024)
    for number in range(images):
        file = pixels / f"patient-{number:06d}.dcm"
        if number < DISTINCT:
            side = sides[number % len(sides)]
            content = dicom_bytes(chest(side, side, seed=number), PatientSex="F", PatientAge="51")
            file.write_bytes(content)
        else:
            file.hardlink_to(pixels / f"patient-{number % DISTINCT:06d}.dcm")
    names = [file.stem for file in sorted(pixels.iterdir())]
    target = [number % 2 for number in range(images)]
    classes = [rsna.OPACITY if positive else rsna.NORMAL for positive in target]
    pd.DataFrame({"patientId": names, "Target": target}).to_csv(folder / rsna.LABELS, index=False)
    pd.DataFrame({"patientId": names, "class": classes}).to_csv(folder / rsna.CLASSES, index=False)
    return folder


def start(dataset: Path, out: Path, model: Path) -> "subprocess.Popen[bytes]":
    """Start `cxr score` as a user does."""
    command = [str(Path(sys.executable).with_name("cxr")), "score", str(dataset)]
    return subprocess.Popen(
        [*command, "--out", str(out), "--model", str(model)], stderr=subprocess.DEVNULL
    )


def interrupted_run(dataset: Path, out: Path, model: Path, images: int) -> None:
    """Kill the run three times, let the fourth finish, and count what it wrote."""
    for share in KILLED_AT:
        run = start(dataset, out, model)
        while run.poll() is None and len(done_names(parts_folder(out))) < share * images:
            time.sleep(0.2)
        run.kill()
        run.wait()
        print(f"killed with {len(done_names(parts_folder(out))):,} of {images:,} rows written")
    start(dataset, out, model).wait()
    table = pd.read_parquet(out, columns=["path", "error"])
    expected = {item.name for item in open_dataset(dataset).items}
    print(
        f"{len(table):,} rows, {table['path'].nunique():,} different, "
        f"{len(expected - set(table['path'])):,} missing, {table['error'].notna().sum():,} errors"
    )


def peak_memory(dataset: Path, out: Path, model: Path) -> int:
    """Peak of the resident memory of all processes of one run, in bytes."""
    run = start(dataset, out, model)
    peak = 0
    while run.poll() is None:
        peak = max(peak, resident(psutil.Process(run.pid)))
        time.sleep(0.05)
    return peak


def resident(root: psutil.Process) -> int:
    """Resident memory of a process and all below it; pages that they share count for each."""
    total = 0
    try:
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def large_run(model: Path, images: int) -> None:
    """Print what three kills cost and how memory grows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = write_rsna(folder / "large", images)
        small = write_rsna(folder / "small", SMALL_RUN)
        interrupted_run(large, folder / "interrupted.parquet", model, images)
        peaks = [
            peak_memory(dataset, folder / f"{dataset.name}.parquet", model)
            for dataset in (small, large)
        ]
    print(
        f"peak memory: {peaks[0] / 2**20:.0f} MiB for {SMALL_RUN:,} images, "
        f"{peaks[1] / 2**20:.0f} MiB for {images:,}: {peaks[1] / peaks[0]:.2f} times, "
        f"asked: at most {ASKED['memory']}"
    )


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", type=int, metavar="IMAGES", help="measure a run of this many")
    arguments = parser.parse_args()
    model = arguments.model.resolve()
    if arguments.run is None:
        throughput(model, arguments.images, arguments.rounds)
    else:
        large_run(model, arguments.run)


if __name__ == "__main__":
    main()

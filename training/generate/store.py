"""Write a data set of synthetic radiographs: PNG files and one manifest, resumable.

request -> image + provenance -> [store] -> curate -> dataset -> fit

::

    <folder>/generation.json     what was asked for; a folder holds one data set only
    <folder>/journal.jsonl       one line a finished pair, in the order of the pairs
    <folder>/images/*.png        grey, 8 bit
    <folder>/masks/*.png         lesion masks of the same field of view, smaller
    <folder>/manifest.parquet    one row an image, written last
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from signal import SIG_IGN, SIGINT, SIGKILL, signal
from typing import TypeVar

import cv2
import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from tqdm import tqdm

from service.files import replace_file, sha256
from service.parent import end_with
from training.generate.manifest import Record, append_line, lock_folder, read_lines, write_manifest
from training.generate.phantom.render import Phantom
from training.generate.request import Generator, GreyImage, Request, SyntheticImage

Item = TypeVar("Item")
Made = TypeVar("Made")

JOURNAL = "journal.jsonl"
# The network's mask output is coarser still; small masks keep the data set small.
MASK_SIZE = 64
PHANTOM = Phantom()

# Fast deflate: a third larger than the best and several times faster.
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What determines every image of a data set; the number of pairs may grow later."""

    generator: str
    version: str
    size: int
    mask_size: int
    seed: int
    lesion: bool


def generate(  # noqa: PLR0913 - one keyword for each option of `cxr-train generate`
    folder: Path,
    *,
    generator: Generator = PHANTOM,
    pairs: int,
    size: int = 256,
    seed: int,
    workers: int,
    lesion: bool = True,
    sources: Mapping[str, object] | None = None,
    progress: bool = True,
) -> Path:
    """Make the data set in ``folder``, or complete it.

    Each pair depends on ``seed`` and its own number alone, so the result is the same for any
    number of workers and interruptions, and a larger ``pairs`` later extends the same data set.

    Parameters
    ----------
    folder
        Made where it does not exist.
    generator
        What draws the images.
    pairs
        Number of pairs, one healthy and one pneumonia image each.
    size
        Side of the images in pixels; masks are stored at 64.
    workers
        Processes; 1 works in this process.
    lesion
        False leaves the lesion out of the images labelled 1, for the leak test.
    sources
        What the images are made from, beside code, for ``generation.json``.
    progress
        Whether to show a bar with the rate on standard error.

    Returns
    -------
    Path
        ``folder / "manifest.parquet"``.

    Raises
    ------
    DatasetMismatch
        (A ValueError.) If ``folder`` was made with other parameters or other generator code.
    ValueError
        If a parameter is out of range.
    """
    _check(pairs=(pairs, 1), size=(size, 32), seed=(seed, 0), workers=(workers, 1))
    generation = Generation(
        generator=generator.name,
        version=generator.version,
        size=size,
        mask_size=MASK_SIZE,
        seed=seed,
        lesion=lesion,
    )
    for part in (folder / "images", folder / "masks"):
        part.mkdir(parents=True, exist_ok=True)
    lock_folder(folder, asdict(generation) | dict(sources or {}))
    done = _read_journal(folder)
    missing = [pair for pair in range(pairs) if pair not in done]
    made = in_processes(partial(make_pair, folder, generation, generator), missing, workers)
    with tqdm(
        total=pairs, initial=pairs - len(missing), unit="pair", disable=not progress
    ) as progressed:
        for pair, rows in zip(missing, made, strict=True):
            append_line(folder / JOURNAL, {"pair": pair, "rows": rows})
            done[pair] = rows
            progressed.update()
    return write_manifest(folder, [row for pair in range(pairs) for row in done[pair]])


def make_pair(
    folder: Path, generation: Generation, generator: Generator, pair: int
) -> list[Record]:
    """Draw pair number ``pair``, write its files and return its manifest rows.

    The seed is drawn from the data set's seed and the pair's number, below 2**63 to fit a column.
    """
    sequence = np.random.SeedSequence((generation.seed, pair))
    seed = int(sequence.generate_state(1, np.uint64)[0] >> 1)
    request = Request(seed=seed, size=generation.size, lesion=generation.lesion)
    return [_store(folder, generation, pair, seed, image) for image in generator.answer(request)]


def _check(**numbers: tuple[int, int]) -> None:
    """Refuse numbers (value, least) that are too small."""
    for name, (value, least) in numbers.items():
        if value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")


def _read_journal(folder: Path) -> dict[int, list[Record]]:
    """Rows of every pair that is recorded and whose files exist."""
    lines = read_lines(folder / JOURNAL)
    return {line["pair"]: line["rows"] for line in lines if _files_exist(folder, line["rows"])}


def _files_exist(folder: Path, rows: list[Record]) -> bool:
    names = [str(row[column]) for row in rows for column in ("path", "mask") if row[column]]
    return all((folder / name).is_file() for name in names)


def in_processes(
    task: Callable[[Item], Made], items: Sequence[Item], workers: int, *, chunk: int = 1
) -> Iterator[Made]:
    """What ``task`` makes of every item, in order; one worker is this process."""
    count = min(workers, len(items))
    if count < 2:
        yield from map(task, items)
        return
    # Spawned, not forked: the caller may hold threads (torch, OpenCV) that a fork would break.
    with ProcessPoolExecutor(count, get_context("spawn"), _start_worker, (os.getpid(),)) as pool:
        yield from pool.map(task, items, chunksize=chunk)


def _start_worker(command: int) -> None:
    """One thread a process; Ctrl-C is the command's to answer; no worker outlives the command."""
    signal(SIGINT, SIG_IGN)
    cv2.setNumThreads(1)
    threadpool_limits(1)
    end_with(command, SIGKILL)


def _store(
    folder: Path, generation: Generation, pair: int, seed: int, image: SyntheticImage
) -> Record:
    """Write one image (and its mask) and return its manifest row."""
    name = f"{pair:06d}_{image.label}.png"
    content = encode_png(image.pixels)
    replace_file(folder / "images" / name, content)
    mask = ""
    if image.mask is not None:
        mask = f"masks/{name}"
        size = (generation.mask_size, generation.mask_size)
        small = cv2.resize(image.mask, size, interpolation=cv2.INTER_AREA)
        replace_file(folder / mask, encode_png(np.asarray(small, np.uint8)))
    return image.facts | {
        "path": f"images/{name}",
        "mask": mask,
        "label": image.label,
        "group": f"{generation.generator}-{generation.seed}-{pair:06d}",
        "seed": seed,
        "generator": generation.generator,
        "generator_version": generation.version,
        "sha256": sha256(content),
    }


def encode_png(image: GreyImage) -> bytes:
    """Encode a grey image as PNG, quick rather than small."""
    _, code = cv2.imencode(".png", image, _PNG)
    return code.tobytes()

"""Prepare every CT of a folder once, and hand out chests as patients need them.

files -> [scan -> volume] -> patient -> projection -> film
"""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import overload

from tqdm import tqdm

from training.generate.ct.chest import Chest
from training.generate.ct.series import Provenance, UnusableSeries, find_series, read_scan
from training.generate.ct.volume import load, prepare, save
from training.generate.manifest import replace_file

_HELD = 8  # chests in memory, about 50 MB each


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Where a prepared volume lies, and where it comes from."""

    path: Path
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Chests(Sequence[Chest]):
    """Prepared volumes on a device, loaded when they are asked for."""

    prepared: tuple[Prepared, ...]
    device: str

    def __len__(self) -> int:
        return len(self.prepared)

    @overload
    def __getitem__(self, index: int) -> Chest: ...
    @overload
    def __getitem__(self, index: slice) -> "Chests": ...
    def __getitem__(self, index: int | slice) -> "Chest | Chests":
        if isinstance(index, slice):
            return Chests(self.prepared[index], self.device)
        return _load(self.prepared[index], self.device)


@lru_cache(maxsize=_HELD)
def _load(prepared: Prepared, device: str) -> Chest:
    return Chest.of(load(prepared.path, prepared.provenance), device)


def prepare_all(volumes: Path, cache: Path, workers: int, *, progress: bool) -> list[Prepared]:
    """Prepare every series of ``volumes`` into ``cache``; one that is there already is kept.

    Raises
    ------
    VolumeError
        If there is no series, or one cannot be used.
    """
    paths = find_series(volumes)
    cache.mkdir(parents=True, exist_ok=True)
    task = partial(_prepare, cache=cache)
    missing = [path for path in paths if not _is_ready(path, cache)]
    with tqdm(total=len(missing), unit="volume", disable=not progress or not missing) as bar:
        if workers == 1 or len(missing) < 2:
            for path in missing:
                task(path)
                bar.update()
        else:
            with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
                for _ in pool.map(task, missing):
                    bar.update()
    return [_recall(path, cache) for path in paths]


def _is_ready(source: Path, cache: Path) -> bool:
    """Whether the source is older than what was made of it."""
    kept = cache / f"{source.name}.json"
    if not kept.exists() or not kept.with_suffix(".npz").exists():
        return False
    files = source.iterdir() if source.is_dir() else iter([source])
    return max(file.stat().st_mtime for file in files) <= kept.stat().st_mtime


def _prepare(source: Path, cache: Path) -> None:
    scan = read_scan(source)
    try:
        volume = prepare(scan)
    except UnusableSeries as error:
        raise UnusableSeries(f"{error} ({source}: take it out of the folder.)") from None
    kept = cache / f"{source.name}.json"
    save(volume, kept.with_suffix(".npz"))
    replace_file(kept, (json.dumps(volume.provenance.record(), indent=2) + "\n").encode())


def _recall(source: Path, cache: Path) -> Prepared:
    kept = cache / f"{source.name}.json"
    provenance = Provenance(**json.loads(kept.read_text(encoding="utf-8")))
    return Prepared(path=kept.with_suffix(".npz"), provenance=provenance)

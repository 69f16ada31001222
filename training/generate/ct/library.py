"""Prepare every CT of a folder once, and hand out chests as patients need them.

files -> [scan -> volume] -> patient -> projection -> film
"""

import hashlib
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
_READING = ("series.py", "segment.py", "volume.py")  # the code that a prepared volume depends on


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
    """Whether what is kept was made of this very source, by this very code."""
    kept = cache / f"{source.name}.json"
    if not kept.exists() or not kept.with_suffix(".npz").exists():
        return False
    return bool(json.loads(kept.read_text(encoding="utf-8"))["source"] == _fingerprint(source))


def _fingerprint(source: Path) -> str:
    """SHA-256 of place, names, sizes and times of the files, and of the code that reads them."""
    sidecar = source.with_name(source.name.split(".nii", maxsplit=1)[0] + ".json")
    files = sorted(source.iterdir()) if source.is_dir() else [source, sidecar]
    facts = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()]
    code = [Path(__file__).with_name(name).read_bytes() for name in _READING]
    return hashlib.sha256(repr((str(source.resolve()), facts, code)).encode()).hexdigest()


def _prepare(source: Path, cache: Path) -> None:
    try:
        volume = prepare(read_scan(source))
    except UnusableSeries as error:
        told = str(error)
        if str(source) not in told:
            told = f"{told} ({source}: take it out of the folder.)"
        raise UnusableSeries(told) from None
    except Exception as error:  # whatever broken files raise; their text may be quoted in it
        raise UnusableSeries(
            f"{UnusableSeries.code}: {source} cannot be read ({type(error).__name__}). "
            "Copy it anew, or take it out of the folder."
        ) from error
    kept = cache / f"{source.name}.json"
    save(volume, kept.with_suffix(".npz"))
    record = {"source": _fingerprint(source), "provenance": volume.provenance.record()}
    replace_file(kept, (json.dumps(record, indent=2) + "\n").encode())


def _recall(source: Path, cache: Path) -> Prepared:
    kept = cache / f"{source.name}.json"
    provenance = Provenance(**json.loads(kept.read_text(encoding="utf-8"))["provenance"])
    return Prepared(path=kept.with_suffix(".npz"), provenance=provenance)

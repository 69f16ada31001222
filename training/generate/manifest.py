"""What every data set of synthetic radiographs has in common: its folder, whoever draws.

::

    <folder>/generation.json     what was asked for; a folder holds one data set only
    <folder>/images/             the images
    <folder>/manifest.parquet    one row an image, written last
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

# Exported as well: `training.generate.ct` imports it from here, and its text is its version.
from service.files import replace_file as replace_file  # noqa: PLC0414
from training.generate.request import Fact

MANIFEST = "manifest.parquet"
GENERATION = "generation.json"
# Every manifest starts with these columns; the generator's other facts follow by name.
COLUMNS = (
    "path",
    "mask",
    "label",
    "group",
    "seed",
    "generator",
    "sha256",
    "age_band",
    "view",
    "pattern",
)

Record = dict[str, Fact]  # what is known of one image: its row of the manifest


class DatasetMismatch(ValueError):
    """The folder holds a data set that was made with other parameters."""


def generations(folder: Path) -> list[dict[str, Any]]:
    """What was asked for, of a data set's generator; of each part where it joins several.

    Of a curated set it is that of its source, with the rules it was curated by under ``curated``.
    """
    asked = generation(folder)
    if "joined" not in asked:
        return _asked_first(asked)
    return [own for part in asked["joined"] for own in generations(folder / part)]


def generation(folder: Path) -> dict[str, Any]:
    """What a data set's folder is locked to; nothing where it is not."""
    path = folder / GENERATION
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _asked_first(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Parameters of the generators behind those of a data set that joins no others."""
    if "curated" not in asked:
        return [asked] if asked else []
    rules = dict(asked)
    source = rules.pop("curated")
    # Folders curated of a joined set before these were kept only know its parts' names.
    first = rules.pop("generations", None) or _asked_first(source) or [{}]
    return [own | {"curated": rules} for own in first]


def check_lock(folder: Path, wanted: Mapping[str, object]) -> None:
    """Refuse a folder that is locked to other parameters; an empty one passes."""
    path = folder / GENERATION
    if not path.exists():
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    if found != wanted:
        differing = "; ".join(
            f"{name} is {found.get(name)!r}, asked for {wanted.get(name)!r}"
            for name in sorted(found.keys() | wanted.keys())
            if found.get(name) != wanted.get(name)
        )
        raise DatasetMismatch(
            f"{folder} holds another data set ({differing}). "
            "Choose another folder, or delete this one to make it anew."
        )


def lock_folder(folder: Path, wanted: Mapping[str, object]) -> None:
    """Lock a folder to its parameters, and make it where there is none; refuse one with others."""
    check_lock(folder, wanted)
    path = folder / GENERATION
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(wanted, indent=2) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Records of a JSON-lines file, none if it does not exist.

    A line torn by a kill is cut off, so that the next one starts on a line of its own.
    """
    if not path.exists():
        return []
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def append_line(path: Path, record: Mapping[str, object]) -> None:
    """Add a record to a JSON-lines file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def manifest_of(folder: Path) -> Path:
    """The manifest of a data set.

    Raises
    ------
    FileNotFoundError
        If there is none; the message says what may be the reason.
    """
    path = folder / MANIFEST
    if path.is_file():
        return path
    reason = "it holds no data set; make one by `cxr-train generate` or `cxr-train import`"
    if (folder / GENERATION).exists():
        reason = "its data set is not complete; give the command that makes it again"
    raise FileNotFoundError(f"{folder} has no {MANIFEST}: {reason}")


def write_manifest(folder: Path, rows: list[Record]) -> Path:
    """Write ``manifest.parquet``, the agreed columns first."""
    table: Any = pd.DataFrame.from_records(rows)
    table = table[[*COLUMNS, *sorted(set(table.columns) - set(COLUMNS))]]
    path = folder / MANIFEST
    replace_file(path, table.to_parquet(index=False))
    return path

"""Where images, labels and strata come from: a manifest or a folder.

[open_dataset] -> score -> evaluate
A dataset is a list of names, never of pixels: images are read when they are scored.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

MANIFESTS = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
PREAMBLE = 128  # bytes before "DICM"
# A DICOM file without preamble starts with an element of group 0002 or 0008, little endian.
BARE_DICOM = (b"\x02\x00\x00\x00", b"\x02\x00\x10\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00")


class DatasetError(ValueError):
    """The dataset cannot be read as it is; the message names the column or the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One image of a dataset.

    Attributes
    ----------
    name
        Path relative to the dataset, with ``/``; unique, so a resumed run knows what it has done.
    label
        1 pneumonia, 0 not, None unknown.
    strata
        Other facts of the dataset, as text; the same keys for every item.
    """

    name: str
    file: Path
    label: int | None
    strata: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Images in a fixed order."""

    items: tuple[Item, ...]

    @property
    def strata(self) -> tuple[str, ...]:
        """Names of the strata columns."""
        return tuple(self.items[0].strata)

    @property
    def sha256(self) -> str:
        """Digest of names, labels and strata: what ties a run to this list."""
        lines = [json.dumps([item.name, item.label, item.strata]) for item in self.items]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def open_dataset(source: Path) -> Dataset:
    """List the images of a manifest or of a folder.

    Parameters
    ----------
    source
        A CSV or Parquet file with a column ``path`` (relative to the file), optionally ``label``
        (0, 1 or nothing), every other column being a stratum; or a folder, searched through, of
        which every file that is DICOM, PNG or JPEG by content is taken, whatever its name.

    Raises
    ------
    DatasetError
        If there is no image, a column is missing or a label is not 0, 1 or nothing.
    """
    items = tuple(_folder(source) if source.is_dir() else _manifest(source))
    if not items:
        raise DatasetError(f"no DICOM, PNG or JPEG image in {source.name!r}")
    return Dataset(items=items)


def _folder(folder: Path) -> Iterator[Item]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and is_image(file):
            yield Item(name=file.relative_to(folder).as_posix(), file=file, label=None)


def is_image(file: Path) -> bool:
    """Whether the first bytes are those of DICOM (with or without preamble), PNG or JPEG."""
    with file.open("rb") as stream:
        head = stream.read(PREAMBLE + 4)
    return head.startswith(SIGNATURES + BARE_DICOM) or head[PREAMBLE:] == b"DICM"


def _manifest(source: Path) -> Iterator[Item]:
    read = MANIFESTS.get(source.suffix.lower())
    if read is None:
        raise DatasetError(f"{source.name!r} is not a folder, a .csv or a .parquet file")
    table = read(source)
    if "path" not in table.columns:
        raise DatasetError(f"{source.name!r} has no column 'path'")
    repeated = table["path"].duplicated()
    if repeated.any():
        raise DatasetError(f"row {int(repeated.argmax()) + 1} repeats a path")
    strata = [str(column) for column in table.columns if column not in ("path", "label")]
    for number, row in enumerate(table.to_dict("records"), start=1):
        if not isinstance(row["path"], str) or not row["path"]:
            raise DatasetError(f"row {number} has no path")
        yield Item(
            name=row["path"],
            file=source.parent / row["path"],
            label=_label(row.get("label"), number),
            strata={name: None if pd.isna(row[name]) else str(row[name]) for name in strata},
        )


def _label(value: object, number: int) -> int | None:
    if value is None or pd.isna(value):
        return None
    if value not in (0, 1):
        raise DatasetError(f"label {value!r} of row {number} is not 0, 1 or empty")
    return int(value)

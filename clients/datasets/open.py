"""Where images, labels and strata come from: RSNA 2018, Kermany, a manifest or any folder.

[open_dataset] -> score -> evaluate
A dataset is a list of names, never of pixels: images are read when they are scored.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from clients.datasets.items import Dataset, DatasetError, Item
from clients.datasets.kermany import list_kermany, root_of
from clients.datasets.rsna import is_rsna, list_rsna
from service.imaging.decode import HEAD_BYTES, format_of

__all__ = ["LAYOUTS", "Dataset", "DatasetError", "Item", "Layout", "layout_of", "open_dataset"]

Layout = Literal["rsna", "kermany", "manifest", "folder"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

MANIFESTS = {".csv": pd.read_csv, ".parquet": pd.read_parquet}


def open_dataset(
    source: Path, *, layout: Layout | None = None, all_classes: bool = False
) -> Dataset:
    """List the images of a dataset.

    Parameters
    ----------
    source
        A CSV or Parquet file with a column ``path`` (relative to the file), optionally ``label``
        (0, 1 or nothing), every other column being a stratum; the folder of RSNA 2018 or of
        Kermany; or any folder, searched through, of which every file that is DICOM, PNG or JPEG by
        content is taken, whatever its name.
    layout
        What ``source`` is; by default what it looks like.
    all_classes
        Of RSNA 2018 take all three classes, not only Lung Opacity and Normal.

    Raises
    ------
    DatasetError
        If there is no image, ``source`` is not of that layout, a table or column is missing, or a
        label is not 0, 1 or nothing.
    """
    layout = layout or layout_of(source)
    if all_classes and layout != "rsna":
        raise DatasetError(f"{source.name!r} is read as {layout}; only rsna has classes to add")
    items, warnings = _listed(source, layout, all_classes=all_classes)
    if not items:
        raise DatasetError(f"no DICOM, PNG or JPEG image in {source.name!r}")
    return Dataset(items=tuple(items), warnings=tuple(warnings))


def layout_of(source: Path) -> Layout:
    """Tell the layout by the names of folders; a file is a manifest."""
    if not source.is_dir():
        return "manifest"
    if is_rsna(source):
        return "rsna"
    return "folder" if root_of(source) is None else "kermany"


def _listed(source: Path, layout: Layout, *, all_classes: bool) -> tuple[list[Item], list[str]]:
    if layout == "manifest":
        return list(_manifest(source)), []
    if not source.is_dir():
        raise DatasetError(f"{source.name!r} is no folder, so it is not of the layout {layout}")
    if layout == "rsna":
        if not is_rsna(source):
            raise DatasetError(f"{source.name!r} has no folder stage_2_train_images")
        return list_rsna(source, all_classes=all_classes)
    if layout == "kermany":
        root = root_of(source)
        if root is None:
            raise DatasetError(f"{source.name!r} has no folder train/NORMAL or the like")
        return list_kermany(source, root)
    return list(_folder(source)), []


def _folder(folder: Path) -> Iterator[Item]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and is_image(file):
            yield Item(name=file.relative_to(folder).as_posix(), file=file, label=None)


def is_image(file: Path) -> bool:
    """Whether the service takes the file for DICOM (with or without preamble), PNG or JPEG."""
    with file.open("rb") as stream:
        return format_of(stream.read(HEAD_BYTES)) is not None


def _manifest(source: Path) -> Iterator[Item]:
    read = MANIFESTS.get(source.suffix.lower())
    if read is None or source.is_dir():
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

"""Where images, labels and strata come from: RSNA 2018, Kermany, a manifest or any folder.

[open_dataset] -> score -> evaluate
A dataset is a list of names, never of pixels: images are read when they are scored.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from clients.datasets.items import Dataset, DatasetError, Item
from clients.datasets.kermany import CLASSES, list_kermany, root_of
from clients.datasets.manifest import Columns, list_manifest
from clients.datasets.rsna import is_rsna, list_rsna
from clients.datasets.tables import TABLES, quoted
from service.imaging.decode import HEAD_BYTES, format_of

__all__ = [
    "AS_NAMED", "LAYOUTS", "Columns", "Dataset", "DatasetError", "Item", "Layout", "check_present",
    "layout_of", "open_dataset",
]  # fmt: skip

Layout = Literal["rsna", "kermany", "manifest", "folder"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

AS_NAMED = Columns()  # a table with this project's own names and labels


def open_dataset(
    source: Path,
    *,
    layout: Layout | None = None,
    all_classes: bool = False,
    columns: Columns = AS_NAMED,
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
    columns
        Other names and labels of a CSV or Parquet file.

    Raises
    ------
    DatasetError
        If there is no image, ``source`` is not of that layout, a table or column is missing, or a
        label has no meaning.
    """
    guessed = layout is None
    layout = layout or layout_of(source)
    if all_classes and layout != "rsna":
        raise DatasetError(f"{source.name!r} is read as {layout}; only rsna has classes to add")
    if layout == "manifest":
        if source.is_file() and is_image(source):
            raise DatasetError(
                f"{source.name!r} is one image; `cxr predict` reads one, and a dataset is a folder "
                "or a table"
            )
        items, warnings = list_manifest(source, columns)
    elif columns != AS_NAMED:
        raise DatasetError(f"{source.name!r} is read as {layout}; only a manifest has columns")
    else:
        items, warnings = _listed(source, layout, all_classes=all_classes)
        if guessed and layout == "folder":
            warnings = list(_unused_labels(source, items))
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


def check_present(dataset: Dataset) -> None:
    """Raise DatasetError where not one file of a dataset is there: its paths start elsewhere."""
    if not any(item.file.is_file() for item in dataset.items):
        raise DatasetError(
            f"none of the {len(dataset.items):,} files that the dataset names is there; paths "
            "count from the folder of the table that names them, so move it there or correct them"
        )


def _unused_labels(folder: Path, items: list[Item]) -> Iterator[str]:
    """What beside the images may hold labels, which a folder has none of."""
    tables = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in TABLES)
    if tables:
        yield f"{quoted(tables)} was not read: for its labels give it instead of the folder"
    above = {part for item in items for part in Path(item.name).parent.parts}
    classes = sorted(part for part in above if part.upper() in CLASSES)
    if classes:
        yield f"folders are no labels, not even {quoted(classes)}: write a table of path and label"


def _folder(folder: Path) -> Iterator[Item]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and is_image(file):
            yield Item(name=file.relative_to(folder).as_posix(), file=file, label=None)


def is_image(file: Path) -> bool:
    """Whether the service takes the file for DICOM (with or without preamble), PNG or JPEG."""
    with file.open("rb") as stream:
        return format_of(stream.read(HEAD_BYTES)) is not None

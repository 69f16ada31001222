"""The RSNA Pneumonia Detection Challenge of 2018, in the folders Kaggle hands out.

folder -> [rsna] -> items
Nothing is opened but the two tables: 26,684 DICOM files are listed in the time of one folder.

References
----------
Shih et al. 2019, "Augmenting the National Institutes of Health Chest Radiograph Dataset with Expert
Annotations of Possible Pneumonia", doi 10.1148/ryai.2019180041.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from clients.datasets.items import DatasetError, Item
from clients.datasets.tables import read_table

IMAGES = "stage_2_train_images"
LABELS = "stage_2_train_labels.csv"
CLASSES = "stage_2_detailed_class_info.csv"

OPACITY, NORMAL, NEITHER = "Lung Opacity", "Normal", "No Lung Opacity / Not Normal"
KNOWN = {OPACITY: 6_012, NORMAL: 8_851, NEITHER: 11_821}  # images, of stage 2's training part


def is_rsna(folder: Path) -> bool:
    """Whether the folder has the challenge's folder of images."""
    return (folder / IMAGES).is_dir()


def list_rsna(folder: Path, *, all_classes: bool) -> tuple[list[Item], list[str]]:
    """List the images of the two classes that answer the question, or of all three.

    Parameters
    ----------
    folder
        Holds the folder of images and the two tables.
    all_classes
        Take "No Lung Opacity / Not Normal" too, as negatives: 26,684 images instead of 14,863.

    Returns
    -------
    items
        In the order of the table of classes, with the strata ``patient`` and ``class``.
    warnings
        Which table or folder holds fewer images than were published, or others.

    Raises
    ------
    DatasetError
        If a table is missing or lacks a column.
    """
    classes = _column(folder / CLASSES, "class")
    targets = _column(folder / LABELS, "Target")
    files = {entry.name for entry in os.scandir(folder / IMAGES)}
    wanted = {OPACITY, NORMAL, NEITHER} if all_classes else {OPACITY, NORMAL}
    items = [
        Item(
            name=f"{IMAGES}/{patient}.dcm",
            file=folder / IMAGES / f"{patient}.dcm",
            label=_label(targets.get(patient)),
            strata={"patient": patient, "class": name},
        )
        for patient, name in classes.items()
        if name in wanted and f"{patient}.dcm" in files
    ]
    listed = Counter(classes.values())
    present = Counter(name for patient, name in classes.items() if f"{patient}.dcm" in files)
    warnings = [
        *_class_warnings(listed, present, wanted),
        *_other_warnings(sum(item.label is None for item in items), files, classes),
    ]
    return items, warnings


def _column(table: Path, column: str) -> dict[str, str]:
    """Patient -> value; a patient with several boxes has several rows, all with one value."""
    if not table.is_file():
        raise DatasetError(f"{table.name} is missing beside {IMAGES}; it is part of the challenge")
    found = read_table(table)
    patients, values = found.column("patientId"), found.column(column)
    if patients is None or values is None:
        raise DatasetError(
            f"{table.name} has no column patientId or {column}; it has {found.names}"
        )
    return dict(zip(found.rows[patients], found.rows[values], strict=True))


def _label(target: str | None) -> int | None:
    if target not in (None, "0", "1"):
        raise DatasetError(f"a Target of {LABELS} is neither 0 nor 1")
    return None if target is None else int(target)


def _class_warnings(
    listed: "Counter[str]", present: "Counter[str]", wanted: set[str]
) -> Iterator[str]:
    for name, known in KNOWN.items():
        if name not in wanted:
            continue
        if listed[name] != known:
            yield f"{CLASSES} lists {listed[name]:,} images of class {name!r}, not {known:,}"
        if present[name] != listed[name]:
            yield f"{IMAGES} holds {present[name]:,} of {listed[name]:,} images of class {name!r}"


def _other_warnings(without_label: int, files: set[str], classes: dict[str, str]) -> Iterator[str]:
    if without_label:
        yield f"{LABELS} has no row for {without_label:,} images; they are scored without a label"
    unlisted = sum(
        name.endswith(".dcm") and name.removesuffix(".dcm") not in classes for name in files
    )
    if unlisted:
        yield f"{unlisted:,} files of {IMAGES} are not in {CLASSES} and are left out"

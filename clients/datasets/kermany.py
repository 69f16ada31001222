"""Kermany's chest radiographs of children: chest_xray/{train,test,val}/{NORMAL,PNEUMONIA}.

folder -> [kermany] -> items
No file is opened. The name of a file says what caused the pneumonia and, as far as is published,
whose image it is; children of the same number count as one patient, which can only widen intervals.

References
----------
Kermany et al. 2018, "Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep
Learning", doi 10.1016/j.cell.2018.02.010; images doi 10.17632/rscbjbr9sj.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from clients.datasets.items import Item

FOLDER = "chest_xray"
SPLITS = ("train", "test", "val")
CLASSES = {"NORMAL": 0, "PNEUMONIA": 1}
SUFFIXES = (".jpeg", ".jpg", ".png")

Part = tuple[str, str]  # split and class

# 5,856 images either way: Kaggle's copy moved 16 of the training part to `val`.
TEST: dict[Part, int] = {("test", "NORMAL"): 234, ("test", "PNEUMONIA"): 390}
ORIGINAL = TEST | {("train", "NORMAL"): 1_349, ("train", "PNEUMONIA"): 3_883}
KAGGLE = TEST | {
    ("train", "NORMAL"): 1_341, ("train", "PNEUMONIA"): 3_875,
    ("val", "NORMAL"): 8, ("val", "PNEUMONIA"): 8,
}  # fmt: skip

NAMES = (  # group 1 is the patient, "cause" what the name says of it
    re.compile(r"(person\d+)_(?P<cause>bacteria|virus)_\d+"),
    re.compile(r"((?:NORMAL2-)?IM-\d+)-\d+"),
    re.compile(r"((?P<cause>NORMAL|BACTERIA|VIRUS)-\d+)-\d+"),  # of the original release
)


def root_of(folder: Path) -> Path | None:
    """Return the folder that holds the splits, this one or ``chest_xray`` in it; None if neither.

    Kaggle's archive has a ``chest_xray`` within ``chest_xray``.
    """
    for root in (folder, folder / FOLDER, folder / FOLDER / FOLDER):
        if any((root / split / name).is_dir() for split in SPLITS for name in CLASSES):
            return root
    return None


def list_kermany(folder: Path, root: Path) -> tuple[list[Item], list[str]]:
    """List the images by split, class and name.

    Parameters
    ----------
    folder
        What names are relative to.
    root
        The folder of the splits, as :func:`root_of` finds it.

    Returns
    -------
    items
        With the strata ``split``, ``cause`` (``bacteria``, ``virus`` or None) and ``patient``.
    warnings
        Which part has another number of images than was published.
    """
    items = [
        _item(folder, root / split / name / file, split, label)
        for split in SPLITS
        for name, label in CLASSES.items()
        for file in _files(root / split / name)
    ]
    counts: Counter[Part] = Counter((str(i.strata["split"]), i.file.parent.name) for i in items)
    return items, list(_warnings(counts))


def _files(folder: Path) -> list[str]:
    """Images by their names; archives made on a Mac carry hidden companions of each."""
    names = [entry.name for entry in os.scandir(folder)] if folder.is_dir() else []
    return sorted(n for n in names if n.lower().endswith(SUFFIXES) and not n.startswith("."))


def _item(folder: Path, file: Path, split: str, label: int) -> Item:
    patient, cause = patient_and_cause(file.stem)
    return Item(
        name=file.relative_to(folder).as_posix(),
        file=file,
        label=label,
        strata={"split": split, "cause": cause, "patient": patient},
    )


def patient_and_cause(stem: str) -> tuple[str | None, str | None]:
    """Return patient and ``bacteria`` or ``virus`` from a name; None for what it does not say."""
    for pattern in NAMES:
        found = pattern.match(stem)
        if found:
            cause = found.groupdict().get("cause", "").lower()
            return found[1], cause if cause in ("bacteria", "virus") else None
    return None, None


def _warnings(counts: "Counter[Part]") -> Iterator[str]:
    if counts == ORIGINAL:
        return
    for (split, name), known in KAGGLE.items():
        found = counts[split, name]
        if found != known:
            yield f"{split}/{name} holds {found:,} images, not {known:,}"

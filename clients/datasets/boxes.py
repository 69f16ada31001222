"""Boxes that radiologists drew: a table of paths and rectangles, or RSNA's own table of labels.

boxes.csv -> read_table -> [open_boxes] -> pointing game, heat in boxes
"""

from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pandas as pd

from clients.datasets.items import DatasetError
from clients.datasets.tables import MISSING, Table, check_header, read_table

BOX = ("path", "x", "y", "width", "height")
RSNA_PATIENT = "patientId"
RSNA_GRID = 1024  # pixels a side: every film of the challenge, on which its boxes were drawn


def open_boxes(file: Path, scored: pd.DataFrame) -> pd.DataFrame:
    """Read the boxes of scored images.

    Parameters
    ----------
    file
        Columns ``path``, ``x``, ``y`` (upper left corner), ``width``, ``height`` in pixels of the
        image, one row a box; or ``stage_2_train_labels.csv`` of RSNA 2018, whose boxes are brought
        to the pixels of the image. Rows without a box are left out.
    scored
        Rows as ``cxr score`` writes them.

    Returns
    -------
    pandas.DataFrame
        The five columns; RSNA's with the path of the scored image of that patient.

    Raises
    ------
    DatasetError
        If a column is missing, or a box is not made of numbers.
    """
    table = read_table(file)
    patients = table.column(RSNA_PATIENT)
    by_patient = patients is not None and table.column("path") is None
    names = [patients if by_patient else _named(file, table, "path")]
    names += [_named(file, table, name) for name in BOX[1:]]
    boxes = table.rows[names].set_axis(list(BOX), axis=1)
    none = boxes.map(lambda value: str(value).casefold() in MISSING)  # "nan" is what no value is
    boxes = boxes.mask(none).dropna(subset=list(BOX[1:]), how="all")
    numbers = boxes[list(BOX[1:])].apply(pd.to_numeric, errors="coerce").astype(np.float64)
    wrong = ~np.isfinite(numbers).all(axis=1)
    if wrong.any():
        raise DatasetError(
            f"row {wrong.idxmax()} of {file.name!r} holds a box without four numbers"
        )
    boxes = boxes[["path"]].join(numbers)
    if by_patient:
        return _on_the_films(boxes, scored)
    known = set(scored["path"])
    paths = boxes["path"].astype(str)
    return boxes.assign(path=[p if p in known else PureWindowsPath(p).as_posix() for p in paths])


def _named(file: Path, table: Table, name: str) -> str:
    found = table.column(name)
    if found is None:
        check_header(file, table)
        raise DatasetError(
            f"{file.name!r} has no column {name!r}; it has {table.names}. Boxes need "
            f"{', '.join(BOX)}, or are RSNA's stage_2_train_labels.csv"
        )
    return found


def _on_the_films(boxes: pd.DataFrame, scored: pd.DataFrame) -> pd.DataFrame:
    """Give boxes of patients the path of their scored film, which is called as they are."""
    films = scored[["path", "width", "height"]].rename(columns=lambda name: f"film_{name}")
    films["patient"] = [PurePosixPath(path).stem for path in films["film_path"]]
    found = boxes.merge(films, left_on="path", right_on="patient")
    scale = found[["film_width", "film_height"] * 2].to_numpy() / RSNA_GRID
    boxes = found[list(BOX[1:])] * scale
    return boxes.assign(path=found["film_path"])[list(BOX)]

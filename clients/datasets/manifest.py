"""A table of images: which column holds the path, which the label, and what labels mean.

labels.csv -> read_table -> [list_manifest] -> items
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

import pandas as pd

from clients.datasets.items import DatasetError, Item
from clients.datasets.tables import IMAGE, MISSING, Table, check_header, quoted, read_table

PATH, LABEL = "path", "label"
MEANINGS: Mapping[str, int | None] = {
    "0": 0, "1": 1, "false": 0, "true": 1, **dict.fromkeys(MISSING),
}  # fmt: skip
RSNA = {"patientId", "Target"}  # the challenge's own table names patients, not files
MOST_LABELS = 6  # different values; more are no label, and may name patients


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """How to read a table whose names or labels are not this project's.

    Attributes
    ----------
    path, label
        Names of the columns; None: ``path``, and ``label`` where there is one.
    label_map
        What labels other than 0 and 1 mean: 1 pneumonia, 0 not, None unknown. Case does not matter.
    """

    path: str | None = None
    label: str | None = None
    label_map: Mapping[str, int | None] = field(default_factory=dict)


def list_manifest(source: Path, columns: Columns) -> tuple[list[Item], list[str]]:
    """List the images of a table, one a row; every other column is a stratum.

    Returns
    -------
    items, warnings
        The second says what was assumed, and which column may be a label that was not taken.

    Raises
    ------
    DatasetError
        If a column is missing, a row has no path, rows say different things of one image, or a
        label is not 0, 1 or empty and not in the map.
    """
    table = read_table(source)
    path = _path_column(source, table, columns)
    label = _label_column(source, table, columns)
    strata = [name for name in table.rows.columns if name not in (path, label)]
    labels = _labels(source, table.rows, label, columns)
    items: dict[str, Item] = {}
    repeated = 0
    for number, row in zip(table.rows.index, table.rows.to_dict("records"), strict=True):
        name, file = _file(source.parent, row[path], number)
        facts = {stratum: _text(row[stratum]) for stratum in strata}
        item = Item(name=name, file=file, label=labels[number], strata=facts)
        if items.setdefault(name, item) != item:
            raise DatasetError(
                f"row {number} repeats a path and says something else of it; {source.name!r} must "
                "have one row an image"
            )
        repeated += items[name] is not item
    return list(items.values()), [
        *table.warnings,
        *_label_warnings(source, table, label, strata),
        *([f"{repeated:,} rows of {source.name} repeat another and are left out"] * bool(repeated)),
    ]


def _path_column(source: Path, table: Table, columns: Columns) -> str:
    found = table.column(columns.path or PATH)
    if found is not None:
        return found
    check_header(source, table)
    if columns.path is not None:
        raise DatasetError(f"{source.name!r} has no column {columns.path!r}; it has {table.names}")
    names = list(table.rows.columns)
    if set(names) >= RSNA:
        raise DatasetError(
            f"{source.name!r} is a table of RSNA 2018, which names patients; give the folder that "
            "holds it and stage_2_train_images instead"
        )
    cause = f"it has {table.names}. Name the one with the paths of images: --path-column"
    likely = next((name for name in names if _holds_images(table.rows[name])), "NAME")
    if len(names) == 1 and " " in names[0]:
        cause = f"it has one column, {names[0]!r}. Separate columns by a comma, semicolon or tab"
        likely = ""
    raise DatasetError(f"{source.name!r} has no column {PATH!r}; {cause} {likely}".rstrip())


def _holds_images(values: "pd.Series[str]") -> bool:
    return not values.empty and IMAGE.search(str(values.iloc[0])) is not None


def _label_column(source: Path, table: Table, columns: Columns) -> str | None:
    found = table.column(columns.label or LABEL)
    if found is None and columns.label is not None:
        raise DatasetError(f"{source.name!r} has no column {columns.label!r}; it has {table.names}")
    if found is None and columns.label_map:
        raise DatasetError(
            f"{source.name!r} has no column {LABEL!r} to map; it has {table.names}. Name the one "
            "with the labels: --label-column NAME"
        )
    return found


def _label_warnings(
    source: Path, table: Table, label: str | None, strata: list[str]
) -> Iterator[str]:
    if label is None and strata:
        yield (
            f"{source.name} has no column {LABEL!r}, so no image has a label; it also has "
            f"{quoted(strata)}. If one of these is the label, name it with --label-column"
        )
    if label is not None and len(table.rows) and table.rows[label].isna().all():
        yield f"the column {label!r} of {source.name} is empty, so no image has a label"


def _labels(
    source: Path, rows: pd.DataFrame, label: str | None, columns: Columns
) -> dict[int, int | None]:
    """Label of each row by its number."""
    if label is None:
        return dict.fromkeys(rows.index)
    meanings = {**MEANINGS, **{_plain(key): value for key, value in columns.label_map.items()}}
    held = {number: _plain(value) for number, value in rows[label].dropna().items()}
    unknown = sorted({value for value in held.values() if value not in meanings})
    if unknown:
        row = next(number for number, value in held.items() if value in unknown)
        raise DatasetError(f"{_no_label(source, label, unknown, columns)} (first in row {row})")
    return {number: meanings.get(held.get(number, "")) for number in rows.index}


def _no_label(source: Path, label: str, unknown: list[str], columns: Columns) -> str:
    where = f"the column {label!r} of {source.name!r}"
    if len(unknown) > MOST_LABELS:
        return (
            f"{where} holds {len(unknown):,} values other than 0 and 1, so it is no label; name "
            "another with --label-column"
        )
    meanings = ",".join(f"{value}=?" for value in unknown)
    also = " also" if columns.label_map else ""
    return (
        f"{where}{also} holds {quoted(unknown)}, which is not 0, 1 or empty; say with 1, 0 or "
        f"nothing for each whether it is pneumonia: --label-map {meanings}"
    )


def _plain(value: object) -> str:
    """A label as it is looked up: without capitals; 1, 1.0 and True are what they are."""
    text = str(value).strip().casefold()
    whole = re.fullmatch(r"([+-]?\d+)\.0*", text)
    return whole[1] if whole else text


def _file(folder: Path, value: object, number: int) -> tuple[str, Path]:
    """Name and file of a path, which may be one of Windows."""
    if not isinstance(value, str) or not value:
        raise DatasetError(f"row {number} has no path")
    if "\\" in value and not (folder / value).exists():
        value = PureWindowsPath(value).as_posix()
    return value, folder / value


def _text(value: object) -> str | None:
    return None if pd.isna(value) or str(value).casefold() in MISSING else str(value)

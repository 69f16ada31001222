"""Tables of researchers as they come: common encodings and separators, spaces around names.

file -> [read_table] -> manifest, rsna, boxes

What is guessed is decided by rules, not by statistics: on short tables charset-normalizer takes
Latin-1 for Chinese, and ``csv.Sniffer`` gives up where there is one column or a ragged row.
"""

import codecs
import csv
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.errors import ParserError, ParserWarning

from clients.datasets.items import DatasetError

TEXT = (".csv", ".tsv", ".txt")
TABLES = (*TEXT, ".parquet")
SEPARATORS = ",;\t|"
SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)  # Excel's own first line
BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
NO_TEXT = {  # first bytes of what is no text, whatever its name
    b"PK\x03\x04": "an Excel workbook or another ZIP archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x1f\x8b": "a gzip archive",
    b"PAR1": "a Parquet file (call it .parquet)",
}
SAVE_AS_CSV = "Save the table as CSV (in Excel: CSV UTF-8)"
NAMELESS = "\0"  # begins the name of a column without one; no text holds it
MOST_NAMES = 12  # columns that an error lists
MISSING = ("nan", "na", "n/a", "null")  # what programs write where there is no value
IMAGE = re.compile(r"\.(dcm|dicom|png|jpe?g)$", re.IGNORECASE)
NUMBER = re.compile(r"[+-]?[\d.]+")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of a file; columns have names without spaces around them.

    Attributes
    ----------
    rows
        Of a text file all values are text, or NaN where there is none. The index counts the rows
        below the header from 1; rows without any value are left out.
    warnings
        What was assumed of the file, in sentences.
    """

    rows: pd.DataFrame
    warnings: tuple[str, ...] = ()

    def column(self, name: str) -> str | None:
        """Find a column by its name, in capitals or not; None where there is none.

        Raises
        ------
        DatasetError
            If two columns have the name, in different spelling.
        """
        if name in self.rows.columns:
            return name
        alike = [other for other in self.rows.columns if other.casefold() == name.casefold()]
        if len(alike) > 1:
            raise DatasetError(f"the columns {quoted(alike)} have one name; rename one of them")
        return alike[0] if alike else None

    @property
    def names(self) -> str:
        """The columns in words."""
        return quoted(list(self.rows.columns))


def read_table(source: Path) -> Table:
    """Read a CSV or Parquet file.

    Of text the encoding (UTF-8, UTF-16, else Windows-1252, of which Latin-1 is a part) and the
    separator (comma, semicolon, tab or bar, by the header, or as a line ``sep=`` says) are found
    out.

    Raises
    ------
    DatasetError
        If it is no such file, or its rows do not fit its header; the message says what to do.
    """
    suffix = source.suffix.lower()
    if source.is_dir() or suffix not in TABLES:
        raise DatasetError(
            f"{source.name!r} is not a folder, a .csv or a .parquet file. {SAVE_AS_CSV}"
        )
    try:
        if suffix == ".parquet":
            return _parquet(source)
        text, assumed = _decoded(source.read_bytes(), source.name)
    except OSError as error:
        raise DatasetError(f"{source.name!r} cannot be read: {error.strerror}") from error
    return Table(_rows(text, source.name), assumed)


def _parquet(source: Path) -> Table:
    try:
        table = pq.read_table(source, partitioning=None)  # no column of folders like site=north
    except pa.ArrowInvalid as error:
        raise DatasetError(f"{source.name!r} is not a Parquet file. {SAVE_AS_CSV}") from error
    # Else a column of whole numbers with one gap becomes floats, and long numbers run together.
    rows = table.to_pandas(integer_object_nulls=True)
    rows = rows.set_axis([str(name).strip() for name in rows.columns], axis=1)
    _check_names(list(rows.columns), source.name)
    return Table(_without_empty_rows(rows.apply(_without_spaces)))


def _without_spaces(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Values with text as a text file gives it: no spaces around it, and no empty text."""
    values = [(value.strip() or None) if isinstance(value, str) else value for value in column]
    return pd.Series(values, index=column.index, dtype=object)


def _decoded(content: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """Text of a file, and a warning where its encoding was assumed."""
    for start, kind in NO_TEXT.items():
        if content.startswith(start):
            raise DatasetError(f"{name!r} is {kind}, not text. {SAVE_AS_CSV}")
    assumed: tuple[str, ...] = ()
    try:
        text = content.decode(_encoding(content))
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
        assumed = (f"{name} is not UTF-8 and was read as Windows-1252 (Latin-1)",)
    if "\0" in text:
        raise DatasetError(f"{name!r} is not text in UTF-8, UTF-16 or Latin-1. {SAVE_AS_CSV}")
    return text, assumed


def _encoding(content: bytes) -> str:
    for bom, encoding in BOMS.items():
        if content.startswith(bom):
            return encoding
    # Without a mark UTF-16 still gives itself away: every second byte of a header is zero.
    head = content[:64]
    if len(head) > 1 and not any(head[1::2]):
        return "utf-16-le"
    return "utf-16-be" if len(head) > 1 and not any(head[::2]) else "utf-8"


def _rows(text: str, name: str) -> pd.DataFrame:
    text = text.lstrip("\r\n")
    named = SEPARATOR_LINE.match(text)
    text = text[named.end() :] if named else text
    header = re.split(r"[\r\n]", text, maxsplit=1)[0]
    separator = named[1] if named else _separator(header)
    # A column without a name is what a row number, or a separator too many, leaves behind.
    cells = [cell.strip() or f"{NAMELESS}{place}" for place, cell in _cells(header, separator)]
    _check_names(cells, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)  # values left of no name would be lost
            rows = pd.read_csv(
                StringIO(text), sep=separator, header=0, names=cells, dtype=str, index_col=False,
                skipinitialspace=True, keep_default_na=False, na_values=[""],
            )  # fmt: skip
    except (ParserError, ParserWarning) as error:
        where = str(error).rpartition("C error: ")[2].strip()
        raise DatasetError(
            f"the rows of {name!r} do not fit its header ({where}). Put a value that holds the "
            f"separator {separator!r} in quotes, and close every quote"
        ) from error
    rows = rows[[cell for cell in cells if not cell.startswith(NAMELESS)]]
    return _without_empty_rows(rows.apply(lambda column: column.str.strip().replace("", None)))


def _separator(header: str) -> str:
    """Which one makes the most columns of the header; the comma where none does."""
    return max(SEPARATORS, key=lambda separator: len(list(_cells(header, separator))))


def _cells(header: str, separator: str) -> Iterator[tuple[int, str]]:
    return enumerate(next(csv.reader([header], delimiter=separator, skipinitialspace=True), []))


def _check_names(names: list[str], name: str) -> None:
    if all(cell.startswith(NAMELESS) for cell in names):
        raise DatasetError(f"{name!r} is empty; it needs a header, such as path,label, and rows")
    cell, uses = Counter(names).most_common(1)[0]
    if uses > 1:
        raise DatasetError(f"{uses} columns of {name!r} are called {cell!r}; rename all but one")


def _without_empty_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Count rows from 1 and drop those a spreadsheet leaves at the end."""
    return rows.set_axis(range(1, len(rows) + 1), axis=0).dropna(how="all")


def check_header(source: Path, table: Table) -> None:
    """Refuse a table whose first line is a row: its values may name patients.

    Raises
    ------
    DatasetError
        If a column is called as an image, a number or a file beside the table.
    """
    for name in table.rows.columns:
        beside = os.path.isfile(source.parent / name)  # noqa: PTH113  False for what is no path
        if IMAGE.search(name) or NUMBER.fullmatch(name) or beside:
            raise DatasetError(
                f"the first line of {source.name!r} is no header; put one above it, such as "
                "path,label"
            )


def quoted(names: Sequence[str]) -> str:
    """Names in quotes, not more than a line of them."""
    shown = ", ".join(repr(name) for name in names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"

"""Options that name columns: what those of a dataset hold, and which ones make strata."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import click

from clients.datasets.open import Columns

MEANINGS: dict[str, int | None] = {"1": 1, "0": 0, "": None}


def meanings_of(text: str) -> dict[str, int | None]:
    """Read ``pneumonia=1,normal=0,unclear=`` into what each label means; nothing is unknown."""
    entries = [entry.rpartition("=") for entry in text.split(",") if entry.strip()]
    for label, equals, meaning in entries:
        if not (label.strip() and equals) or meaning.strip() not in MEANINGS:
            raise click.BadParameter(
                "give each label 1 (pneumonia), 0 (not) or nothing (unknown), e.g. "
                "pneumonia=1,normal=0,unclear="
            )
    return {label.strip(): MEANINGS[meaning.strip()] for label, _, meaning in entries}


def with_strata(what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add ``--by``, which makes strata of columns; its help begins with ``what``."""
    return click.option(
        "--by", multiple=True, metavar="COLUMN[,COLUMN]",
        help=f"{what} this column, or by all combinations of several; repeatable.",
    )  # fmt: skip


def with_columns(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options, and give the command what they say as ``columns``."""

    @wraps(command)
    def read(
        *arguments: Any,
        path_column: str | None,
        label_column: str | None,
        label_map: Mapping[str, int | None],
        **options: Any,
    ) -> None:
        columns = Columns(path=path_column, label=label_column, label_map=label_map)
        command(*arguments, columns=columns, **options)

    path = click.option(
        "--path-column", metavar="COLUMN", help="Column with the paths of images  [default: path]."
    )
    label = click.option(
        "--label-column", metavar="COLUMN",
        help="Column with the labels  [default: label, where there is one].",
    )  # fmt: skip
    meanings = click.option(
        "--label-map", metavar="LABEL=0|1,...", default="",
        callback=lambda _context, _option, text: meanings_of(text),
        help="What labels other than 0 and 1 mean, e.g. pneumonia=1,normal=0,unclear=.",
    )  # fmt: skip
    return path(label(meanings(read)))

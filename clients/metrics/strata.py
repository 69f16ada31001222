"""Rows of scores in strata: a column each, or several joined by commas for their combinations.

scores -> [strata] -> evaluate, compare, baselines, worst
"""

from collections.abc import Iterator, Sequence

import pandas as pd

ALL = "all"  # name of the group that holds every image

Stratum = dict[str, str]  # column -> value; empty for all images


def columns_of(by: Sequence[str]) -> list[str]:
    """Columns that strata need."""
    return [name for joined in by for name in joined.split(",")]


def strata(scores: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[Stratum, pd.DataFrame]]:
    """Yield all rows, then those of every value of each column, or combination of columns."""
    yield {}, scores
    for joined in by:
        columns = joined.split(",")
        for values, rows in scores.groupby(columns, sort=True, dropna=False):
            named = zip(columns, values, strict=True)
            yield {name: _in_words(value) for name, value in named}, rows


def parts(scores: pd.DataFrame, by: Sequence[str]) -> list[tuple[Stratum, pd.DataFrame]]:
    """Strata alone where there are any, since all rows together mix them; else all rows."""
    everything, *apart = strata(scores, by)
    return apart or [everything]


def stratum_title(stratum: Stratum) -> str:
    """The stratum in words, ``all`` for every image."""
    return ", ".join(f"{column}={value}" for column, value in stratum.items()) or ALL


def _in_words(value: object) -> str:
    """A value of a column; images without one are a stratum too."""
    return "(none)" if pd.isna(value) else str(value)

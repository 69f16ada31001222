"""Sampling weights: a sample that was not drawn at random, read in the mix of its population.

column of scores.parquet -> [weighting] -> evaluate, report
"""

import numpy as np
import pandas as pd

from clients.metrics.intervals import FloatArray
from clients.scoring.scored import EvaluationError


class WeightError(EvaluationError):
    """An image has no usable sampling weight; the message says what is wrong."""


def sampling_weights(rows: pd.DataFrame, column: str | None) -> FloatArray | None:
    """Read what each image counts, the heaviest 1; None where all count alike.

    Parameters
    ----------
    rows
        As ``cxr score`` writes them: columns of a manifest are text, and numbers are read from it.
    column
        Column of positive finite numbers; None where images have no weights.

    Raises
    ------
    WeightError
        If there is no such column, or it holds anything else for one of the images.
    """
    if column is None:
        return None
    if column not in rows:
        raise WeightError(f"no column {column}; there are {', '.join(map(str, rows.columns))}")
    weights = pd.to_numeric(rows[column], errors="coerce").to_numpy(np.float64)
    bad = int((~(np.isfinite(weights) & (weights > 0))).sum())
    if bad:
        raise WeightError(
            f"column {column} holds no positive finite number for {bad} of {len(rows)} images; "
            "give each a weight, or take its label away to leave it out"
        )
    # Weights of one value change nothing, not even the last digit.
    return None if np.unique(weights).size < 2 else weights / weights.max()

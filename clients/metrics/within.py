"""AUROC without what a stratum gives away: only pairs of images of the same stratum are compared.

Where ill people are mostly imaged in one view and healthy ones in another, telling the views apart
ranks most pairs rightly. Within a view there is nothing of it to gain.
"""

import numpy as np
import pandas as pd

from clients.metrics.intervals import (
    FloatArray,
    IntArray,
    Interval,
    Resampling,
    draws,
    histograms,
    pairs_won,
    percentile_interval,
)


def area_within(
    labels: IntArray, scores: FloatArray, strata: pd.Series, resampling: Resampling
) -> Interval | None:
    """Share of the pairs of one stratum that are ranked rightly, over all strata together.

    It is the mean of the strata's AUROCs, each weighted by its pairs (n1 times n0, or the product
    of the classes' weights). The interval is by the bootstrap of the AUROC itself, whose draws keep
    the sizes of the classes, not those of the strata.

    Parameters
    ----------
    labels, scores, strata
        Shape (n,); images without a stratum are one of their own.

    Returns
    -------
    Interval or None
        None where no stratum holds both classes.
    """
    groups, _ = pd.factorize(strata, use_na_sentinel=False)

    def area(times: FloatArray) -> FloatArray:
        won, pairs = np.zeros(len(times)), np.zeros(len(times))
        for group in np.unique(groups):
            inside = groups == group
            classes = histograms(labels[inside], scores[inside], times[:, inside])
            won += pairs_won(*classes)
            pairs += classes[0].sum(axis=1) * classes[1].sum(axis=1)
        with np.errstate(invalid="ignore"):
            return won / pairs

    weights = resampling.weights
    times = np.ones(labels.size) if weights is None else weights
    value = float(area(times[np.newaxis])[0])
    if np.isnan(value):
        return None
    drawn = [area(times) for times in draws(labels, resampling)]
    return percentile_interval(value, np.concatenate(drawn))

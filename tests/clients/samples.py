"""Labels and scores with known properties, and tables of them as ``cxr score`` writes them."""

import numpy as np
import pandas as pd

from clients.metrics.intervals import FloatArray, IntArray


def two_normals(
    positives: int, negatives: int, *, shift: float, seed: int, decimals: int = 12
) -> tuple[IntArray, FloatArray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.array([1, 0], dtype=np.int64), [positives, negatives])
    scores: FloatArray = rng.normal(size=labels.size) + shift * labels
    return labels, scores.round(decimals)


def frame(labels: IntArray, scores: FloatArray, threshold: float = 0.5) -> pd.DataFrame:
    probabilities = 1 / (1 + np.exp(-scores))
    return pd.DataFrame(
        {
            "label": labels,
            "probability": probabilities,
            "call": np.where(probabilities >= threshold, "pneumonia", "no pneumonia"),
            "error": pd.Series([None] * labels.size, dtype="object"),
            "source": np.where(np.arange(labels.size) % 2, "north", "south"),
        }
    )

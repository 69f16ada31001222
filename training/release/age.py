"""Child or adult, as the networks see it: in whose films the lung detail counts.

export -> [age] -> ensemble -> package

In children pneumonia often softens vessels and airway walls in both lungs; in adults it is mostly
one opacity that leaves the rest of the lungs sharp, and what softens whole films there is fat,
motion and processing (docs/experiments.md). Which of the two a film shows, a logistic regression
tells from the features of the networks, or of those that tell it best; it learns that from
synthetic patients, whose age is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from service.files import replacing
from service.imaging.radiograph import FloatImage

CHILDREN = ("infant", "child")  # age bands
FILE = "age.npz"
IMAGES = 3000  # at most, of the training split
SHRINKAGE = 1e-2  # C of the logistic regression on features of spread 1


@dataclass(frozen=True, slots=True)
class AgeSign:
    """The probability that a film is a child's: sigmoid(embeddings @ weights + bias).

    ``weights`` (F,) are those of the features of all networks, the first network's first; 0 where a
    network's do not count.
    """

    weights: NDArray[np.float32]
    bias: np.float32

    def child(self, embeddings: Sequence[NDArray[np.float32]]) -> FloatImage:
        """Probabilities (N,) of the networks' features (N, f)."""
        logits = np.concatenate(embeddings, axis=1) @ self.weights + self.bias
        return np.asarray(expit(logits), np.float32)

    def save(self, run: Path) -> None:
        """Write ``age.npz`` into a run folder."""
        with replacing(run / FILE) as part, part.open("wb") as file:
            np.savez(file, weights=self.weights, bias=self.bias)

    @classmethod
    def load(cls, run: Path) -> "AgeSign":
        """Read ``age.npz`` of a run folder."""
        with np.load(run / FILE) as saved:
            return cls(saved["weights"], np.float32(saved["bias"]))


def some_of(train: pd.DataFrame) -> pd.DataFrame:
    """The rows to learn from: every so-manieth of the training split."""
    return train.iloc[:: -(-len(train) // IMAGES)].reset_index(drop=True)


def fit_age(
    embeddings: Sequence[NDArray[np.float32]], bands: Sequence[str], *, by: Sequence[int] = ()
) -> AgeSign:
    """Learn to tell children from adults by the networks' features.

    Parameters
    ----------
    embeddings
        Of each network, (N, f).
    bands
        The N images' age bands.
    by
        Places, from 1, of the networks whose features count; none for all.

    Raises
    ------
    ValueError
        If there are no children, or none but children.
    """
    children = np.isin(bands, CHILDREN)
    if children.all() or not children.any():
        raise ValueError(
            "the training split has not both children and adults: take children = false in "
            "[lung_detail]"
        )
    model = make_pipeline(StandardScaler(), LogisticRegression(C=SHRINKAGE, max_iter=1000))
    counted = np.concatenate(
        [np.full(own.shape[1], not by or place in by) for place, own in enumerate(embeddings, 1)]
    )
    model.fit(np.concatenate(embeddings, axis=1)[:, counted].astype(np.float64), children)
    scaler, regression = model[0], model[1]
    weights = np.zeros(len(counted))
    weights[counted] = regression.coef_[0] / scaler.scale_
    bias = regression.intercept_[0] - weights[counted] @ scaler.mean_
    return AgeSign(weights.astype(np.float32), np.float32(bias))

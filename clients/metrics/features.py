"""How well a network's pooled features separate the classes, without its last layer.

embeddings -> [features] -> K-means accuracy, adjusted Rand index, UMAP
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from clients.metrics.intervals import FloatArray, IntArray

LEAST_IMAGES = 10  # below that neither clusters nor neighbourhoods mean anything
NEIGHBOURS = 15  # UMAP's own default


@dataclass(frozen=True, slots=True, kw_only=True)
class Separation:
    """Two clusters found without labels, compared with the labels.

    Attributes
    ----------
    accuracy
        Share of images in the cluster of their class, under the better of the two assignments of
        clusters to classes: at least 0.5.
    adjusted_rand
        1 for equal partitions, about 0 for chance (Hubert & Arabie 1985).
    """

    images: int
    accuracy: float
    adjusted_rand: float


def separate(labels: IntArray, embeddings: NDArray[np.float32], *, seed: int) -> Separation | None:
    """Cluster features of shape (n, features) by K-means with K = 2, best of ten starts.

    None where a class is missing or there are fewer than ten images.
    """
    if labels.size < LEAST_IMAGES or np.unique(labels).size < 2:
        return None
    clusters = KMeans(2, n_init=10, random_state=seed).fit_predict(embeddings)
    agreement = float((clusters == labels).mean())
    return Separation(
        images=labels.size,
        accuracy=max(agreement, 1 - agreement),
        adjusted_rand=float(adjusted_rand_score(labels, clusters)),
    )


def project(embeddings: NDArray[np.float32], *, seed: int) -> FloatArray:
    """Lay features of shape (n, features) out in the plane by UMAP: shape (n, 2).

    References
    ----------
    McInnes, Healy & Melville 2018, arXiv 1802.03426.
    """
    # Importing it compiles code for seconds; only figures need it.
    from umap import UMAP  # noqa: PLC0415

    neighbours = min(NEIGHBOURS, len(embeddings) - 1)
    # A seed makes UMAP use one thread; asking for it keeps UMAP from warning about that.
    plane = UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(embeddings)
    return np.asarray(plane, dtype=np.float64)

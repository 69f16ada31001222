"""Images that only the others can judge: near duplicates, and those unlike all the rest.

quality -> [similar] -> dataset
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from service.imaging.decode import Limits
from service.model.bundle import Bundle
from service.model.reader import Reader
from training.generate.request import GreyImage

HASH_SIDE = 16  # 256 bits: radiographs of one region are too much alike for the usual 64
DUPLICATE = 26  # bits that differ at most
_BLOCK = 1024  # images compared with all at once
NEIGHBOURS = 5  # whose distance says how far an image is from the rest
FAR = 4.0  # median absolute deviations (scaled to a standard deviation) above the median
LEAST_IMAGES = 20  # fewer do not show what is usual


def fingerprint(grey: GreyImage) -> str:
    """Perceptual hash of an image (H, W): signs of its 16 x 16 lowest cosine coefficients, hex."""
    return str(imagehash.phash(Image.fromarray(grey), hash_size=HASH_SIDE))


def near_duplicates(
    fingerprints: Sequence[str], groups: Sequence[str]
) -> dict[int, tuple[int, int]]:
    """Which images are near duplicates of an earlier one: its position, and the bits that differ.

    Images of one group are not compared: the halves of a pair are meant to be alike. An image that
    is a duplicate itself counts as well.
    """
    if not fingerprints:
        return {}
    bits = np.stack([imagehash.hex_to_hash(text).hash.ravel() for text in fingerprints])
    signs = np.where(bits, np.float32(1), np.float32(-1))
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    found = {}
    for start in range(0, len(signs), _BLOCK):
        block = signs[start : start + _BLOCK]
        differing = (signs.shape[1] - block @ signs.T) / 2
        for offset, row in enumerate(differing):
            position = start + offset
            earlier = np.where(group[:position] == group[position], np.inf, row[:position])
            if earlier.size and earlier.min() <= DUPLICATE:
                found[position] = (int(earlier.argmin()), int(earlier.min()))
    return found


def embed(model: Path, images: Sequence[Path]) -> NDArray[np.float32]:
    """Embeddings (N, features) of image files, by a model folder as it would be served.

    Raises
    ------
    ReadingError
        If the folder holds no valid model, or it refuses an image.
    """
    # Curation judges the images itself: what the gate thinks of another generator's does not count.
    bundle = replace(Bundle.open(model), gate=None)
    reader = Reader(bundle, limits=Limits(), threads=0)
    return np.stack([reader.read(path.read_bytes()).embedding for path in images])


def outliers(embeddings: NDArray[np.float32]) -> dict[int, float]:
    """Which of (N, features) embeddings are far from all others, and by how many deviations.

    The distance is that to the fifth nearest, between directions: so a few images that are odd in
    the same way do not excuse each other. It is measured over all images, whatever their label.

    The embeddings should come from a network that was not trained on the label. In those of a
    pneumonia classifier the far images are the sickest, and pictures of anything else are not far.
    """
    if len(embeddings) < LEAST_IMAGES:
        return {}
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS, metric="cosine").fit(embeddings)
    distances = nearest.kneighbors()[0][:, -1]
    middle = np.median(distances)
    spread = 1.4826 * np.median(np.abs(distances - middle))
    deviations = (distances - middle) / max(spread, 1e-12)
    return {int(i): float(deviations[i]) for i in np.flatnonzero(deviations > FAR)}

"""Contact sheet of a data set, to be looked at before anything is trained on it."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.generate.manifest import manifest_of
from training.generate.request import GreyImage

ColourImage = NDArray[np.uint8]  # (H, W, 3), blue green red as OpenCV writes them

_TILE = 224  # pixels
_LESION = np.array([40, 40, 255], np.float32)
_OPACITY = 0.45


def contact_sheet(source: Path, out: Path, *, rows: int = 3, columns: int = 8) -> Path:
    """Draw pairs spread evenly over a data set: healthy, pneumonia, lesion in red.

    Parameters
    ----------
    source
        The data set's folder or its manifest.parquet.
    out
        The PNG file to write; its folder is made.
    rows, columns
        ``rows`` blocks of three images above one another, each ``columns`` pairs wide.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    ValueError
        If the manifest holds no group with both labels, or an image cannot be read.
    FileNotFoundError
        If there is no manifest.
    """
    manifest = source if source.is_file() else manifest_of(source)
    groups = _complete_pairs(pd.read_parquet(manifest))
    if not groups:
        raise ValueError(f"{manifest} holds no pair of a healthy and a pneumonia image")
    count = min(rows * columns, len(groups))
    chosen = np.linspace(0, len(groups) - 1, count).round().astype(int)
    strips = [_strip(manifest.parent, *groups[index]) for index in chosen]
    blank = np.zeros_like(strips[0])
    strips += [blank] * (-len(strips) % columns)
    blocks = [np.hstack(strips[i : i + columns]) for i in range(0, len(strips), columns)]
    out.parent.mkdir(parents=True, exist_ok=True)
    _, code = cv2.imencode(".png", np.vstack(blocks))
    out.write_bytes(code.tobytes())
    return out


def _complete_pairs(table: Any) -> list[tuple[str, str, str]]:
    """Paths of healthy image, pneumonia image and mask of every group that has both labels."""
    sick, healthy = table[table.label == 1], table[table.label == 0]
    pairs = sick.merge(healthy, on="group", suffixes=("", "_healthy"))
    return list(zip(pairs["path_healthy"], pairs["path"], pairs["mask"], strict=True))


def _strip(folder: Path, healthy: str, pneumonia: str, mask: str) -> ColourImage:
    """Stack the three tiles of one pair, shape (3 * _TILE, _TILE, 3)."""
    above, below = _tile(folder / healthy), _tile(folder / pneumonia)
    tiles = [cv2.cvtColor(tile, cv2.COLOR_GRAY2BGR) for tile in (above, below)]
    lesion = _tile(folder / mask) if mask else np.zeros_like(below)
    return np.vstack([*tiles, _overlay(below, lesion)])


def _tile(path: Path) -> GreyImage:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise ValueError(f"{path} is missing or not an image")
    method = cv2.INTER_AREA if image.shape[0] > _TILE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (_TILE, _TILE), interpolation=method), np.uint8)


def _overlay(image: GreyImage, mask: GreyImage) -> ColourImage:
    share = _OPACITY * mask[..., np.newaxis].astype(np.float32) / 255
    return np.asarray(np.round(image[..., np.newaxis] * (1 - share) + _LESION * share), np.uint8)

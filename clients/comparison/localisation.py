"""Whether heatmaps point at what radiologists marked: peaks, and the share of heat in the boxes.

models + boxes.csv -> [localise] -> compare
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from clients.comparison.models import ComparedModel
from clients.datasets.items import Dataset
from clients.metrics.intervals import FloatArray, Interval, Resampling, percentile_interval
from clients.metrics.pointing import Box, Pointing, PointingError, boxes_of, point
from clients.scoring.scored import EvaluationError
from service.imaging.standardise import Geometry
from service.model.reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatShare:
    """How much of the heatmap lies inside the boxes, mean over images.

    Attributes
    ----------
    share
        An empty heatmap counts as 0; interval by bootstrap over images.
    by_chance
        Share of the image that the boxes cover within what the network sees: what an even heatmap
        would have.
    """

    images: int
    share: Interval
    by_chance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Localisation:
    """One model; None where its scores hold no peaks, or its folder is not at hand."""

    pointing: Pointing | None
    heat: HeatShare | None


def localise(
    model: ComparedModel, boxes: pd.DataFrame, dataset: Dataset | None, resampling: Resampling
) -> Localisation:
    """Measure one model on its images that have a box.

    Raises
    ------
    PointingError
        If a column is missing or no image has a box.
    EvaluationError
        If an image with a box is not in the dataset.
    """
    try:
        pointing = point(model.table, boxes)
    except PointingError:
        if "peak_x" in model.table and model.table["peak_x"].notna().any():
            raise
        pointing = None
    heat = None
    if model.reader is not None and dataset is not None:
        heat = _heat(model.reader, model.table["path"], boxes, dataset, resampling)
    return Localisation(pointing=pointing, heat=heat)


def _heat(
    reader: Reader,
    names: "pd.Series[str]",
    boxes: pd.DataFrame,
    dataset: Dataset,
    resampling: Resampling,
) -> HeatShare:
    files = {item.name: item.file for item in dataset.items}
    marked = [name for name in names if name in set(boxes["path"])]
    if not set(marked) <= files.keys():
        raise EvaluationError("images with a box are missing from the dataset of --data")
    shares = []
    for name in marked:
        reading = reader.read(files[name].read_bytes())
        shares.append(heat_inside(reading.heatmap, reading.geometry, boxes_of(boxes, name)))
    inside, by_area = np.array(shares).T
    rng = np.random.default_rng(resampling.seed)
    drawn = rng.integers(0, inside.size, size=(resampling.replicates, inside.size))
    means: FloatArray = inside[drawn].mean(axis=1)
    return HeatShare(
        images=inside.size,
        share=percentile_interval(float(inside.mean()), means),
        by_chance=float(by_area.mean()),
    )


def heat_inside(
    heatmap: NDArray[np.float32], geometry: Geometry, boxes: Sequence[Box]
) -> tuple[float, float]:
    """Share of the heat that lies in the union of boxes, and share of the area.

    A cell that a box covers in part counts in part.

    Parameters
    ----------
    heatmap
        Shape (h, w), at least 0, over the crop that ``geometry`` describes.
    boxes
        In pixels of the radiograph.
    """
    marked = np.zeros((geometry.rows, geometry.columns), dtype=np.float32)
    for box in boxes:
        top, left = max(0, round(box.y)), max(0, round(box.x))
        marked[top : max(0, round(box.y + box.height)), left : max(0, round(box.x + box.width))] = 1
    height, width = heatmap.shape
    covered = np.asarray(
        Image.fromarray(marked).resize((width, height), Image.Resampling.BOX, box=geometry.box)
    )
    heat = float(heatmap.sum())
    share = float((heatmap * covered).sum()) / heat if heat else 0.0
    return share, float(covered.mean())

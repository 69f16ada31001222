"""Whether the heatmap's peak lies in what a radiologist marked: the pointing game.

scores.parquet + boxes.csv -> [pointing] -> hits of positives
Zhang et al. 2016, "Top-down neural attention by excitation backprop" (arXiv 1608.00507).
"""

from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from clients.datasets.boxes import BOX
from clients.metrics.intervals import Interval
from clients.metrics.proportions import proportion_interval
from clients.scoring.scored import EvaluationError

OWN = ("logit", "peak_x", "peak_y")  # what only the model itself tells


class Box(NamedTuple):
    """A rectangle in pixels of the radiograph; ``x``, ``y`` is the upper left corner."""

    x: float
    y: float
    width: float
    height: float


class PointingError(EvaluationError):
    """Boxes and scores do not fit together; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointing:
    """How often the peak hits.

    Attributes
    ----------
    images
        Images that have a box and were read by the model itself.
    hits
        Those whose peak lies in one of their boxes; an empty heatmap misses.
    rate
        Hits per image, Wilson's interval.
    by_chance
        Mean share of the image that its boxes cover (overlaps counted twice): what a peak thrown
        at random would hit at most.
    """

    images: int
    hits: int
    rate: Interval
    by_chance: float

    def __str__(self) -> str:
        return (
            f"Heatmap peak in a box: {self.hits} of {self.images}, {self.rate}; "
            f"by chance {self.by_chance:.3f}"
        )


def boxes_of(boxes: pd.DataFrame, path: str) -> tuple[Box, ...]:
    """Boxes of one image, none where it has none; columns as for :func:`point`."""
    rows = boxes.loc[boxes["path"] == path, list(BOX[1:])]
    return tuple(Box(*row) for row in rows.itertuples(index=False))


def point(scores: pd.DataFrame, boxes: pd.DataFrame) -> Pointing:
    """Compare peaks with boxes.

    Parameters
    ----------
    scores
        As :func:`clients.scoring.score.score` writes them. A service does not tell where the peak
        is: its rows, which have no logit either, are left out.
    boxes
        As :func:`clients.datasets.boxes.open_boxes` reads them.

    Raises
    ------
    PointingError
        If a column is missing, or no scored image has a box or none of these a logit.
    """
    missing = [name for name in BOX if name not in boxes.columns]
    if missing:
        raise PointingError(f"no column {', '.join(missing)}")
    missing = [name for name in OWN if name not in scores.columns]
    if missing:
        raise PointingError(f"no column {', '.join(missing)}; score the dataset again")
    read = scores[scores["probability"].notna()]
    pairs = read.merge(boxes[list(BOX)], on="path", suffixes=("", "_of_box"))
    if pairs.empty:
        raise PointingError("no scored image has a box; both must name images by the same path")
    pairs = pairs[pairs["logit"].notna()]
    if pairs.empty:
        raise PointingError("the scores hold no peak; score without --url")
    across, down = pairs["peak_x"] - pairs["x"], pairs["peak_y"] - pairs["y"]
    inside = across.between(0, pairs["width_of_box"]) & down.between(0, pairs["height_of_box"])
    share = pairs["width_of_box"] * pairs["height_of_box"] / (pairs["width"] * pairs["height"])
    hit = inside.groupby(pairs["path"]).any()
    return Pointing(
        images=len(hit),
        hits=int(hit.sum()),
        rate=proportion_interval(int(hit.sum()), len(hit)),
        by_chance=float(share.groupby(pairs["path"]).sum().mean()),
    )

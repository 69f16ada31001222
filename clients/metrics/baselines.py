"""Three hand-made features against the model: what one number of an image already tells.

score -> [baselines] -> AUROC of each, and the model's lead
A model is worth something only where its lead lies above 0.

Brightness and smoothness are taken after histogram equalisation, as the model's input is:

brightness: mean grey of the brighter lung box.
smoothness: minus the mean absolute difference of pixels above one another, across the ribs, in both
lung boxes.
aspect: columns of the film over its rows. It has nothing to do with disease: where it separates
the classes, ill patients were filmed or cut otherwise, and a model may have read that. So it has no
sign of its own; in each stratum it gets the one with which its AUROC is 0.5 or more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from clients.datasets.items import Dataset
from clients.metrics.evaluate import Method, labelled_rows, resampling_of
from clients.metrics.few import ENOUGH, area_interval, class_sizes, resampling_says_little
from clients.metrics.intervals import (
    FloatArray,
    IntArray,
    Interval,
    Resampling,
    bootstrap,
    percentile_interval,
)
from clients.metrics.strata import columns_of, parts, stratum_title
from clients.scoring.scored import EvaluationError
from service.imaging.decode import Limits, decode
from service.imaging.standardise import InputSpec, standardise

FEATURES = ("brightness", "smoothness", "aspect")
UNSIGNED = frozenset({"aspect"})
SIDE = 128  # pixels to which the central 90 % of a radiograph are reduced
# Where the lungs are on most frontal films, in shares of that side: rows, columns of either lung.
ROWS = (0.2, 0.74)
COLUMNS = ((0.14, 0.41), (0.59, 0.86))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One feature in one stratum.

    Attributes
    ----------
    auroc
        Of the feature, as :class:`clients.metrics.evaluate.Measures` has that of the model.
    ahead
        The model's AUROC less the feature's.
    lead
        The same with the interval of the paired bootstrap; None where ``too_few``.
    too_few
        Fewer than 10 images (patients) of a class: resampling says little of a difference.
    """

    stratum: str
    feature: str
    images: int
    positives: int
    auroc: Interval
    ahead: float
    lead: Interval | None
    too_few: bool

    def __str__(self) -> str:
        lead = f"{self.ahead:+.3f} [too few]" if self.lead is None else self.lead.signed
        return (
            f"{self.stratum}, {self.images} images: {self.feature} {self.auroc}, model leads by "
            f"{lead}"
        )


def measure_features(content: bytes) -> dict[str, float]:
    """The features of one file, the signed ones higher for what looks more like pneumonia."""
    spec = InputSpec(size=SIDE, crop=0.9, equalise=True, least_side=1, mean=0.5, std=0.25)
    radiograph = decode(content, Limits())
    image = standardise(radiograph, spec)[0][0]
    top, bottom = (round(share * SIDE) for share in ROWS)
    boxes = [image[top:bottom, round(a * SIDE) : round(b * SIDE)] for a, b in COLUMNS]
    return {
        "brightness": max(float(box.mean()) for box in boxes),
        "smoothness": -float(np.mean([np.abs(np.diff(box, axis=0)).mean() for box in boxes])),
        "aspect": radiograph.columns / radiograph.rows,
    }


def compare(
    scores: pd.DataFrame, dataset: Dataset, *, by: Sequence[str] = (), method: Method | None = None
) -> list[Comparison]:
    """Compare the model with each feature, in all images or in each group that has both classes.

    Parameters
    ----------
    scores
        As :func:`clients.scoring.score.score` writes them; rows without label or probability are
        left out.
    dataset
        The images that were scored.
    by
        Groups, as for :func:`clients.metrics.evaluate.evaluate`; empty: all images together.
    method
        Bootstrap, patients and weights; the defaults of :class:`Method` if None.

    Raises
    ------
    EvaluationError
        If there is nothing to compare, a column is missing or an image is not in the dataset.
    WeightError
        If an image that is compared has no positive finite weight.
    """
    method = method or Method()
    files = {item.name: item.file for item in dataset.items}
    columns = columns_of(by) + ([] if method.patient is None else [method.patient])
    read = labelled_rows(scores, columns).dropna(subset="probability").reset_index(drop=True)
    if read.empty or not read["path"].isin(files.keys()).all():
        raise EvaluationError("the scores are not of this dataset, or hold no labelled reading")
    measured = pd.DataFrame([measure_features(files[name].read_bytes()) for name in read["path"]])
    table = read.join(measured)
    both = [(group, rows) for group, rows in parts(table, by) if rows["label"].nunique() == 2]
    if not both:
        raise EvaluationError("no group has images with and without pneumonia to compare")
    return [
        _compare(stratum_title(group), rows, feature, method)
        for group, rows in both
        for feature in FEATURES
    ]


def _compare(stratum: str, rows: pd.DataFrame, feature: str, method: Method) -> Comparison:
    labels = rows["label"].to_numpy(np.int64)
    resampling = resampling_of(rows, method)
    sizes = class_sizes(labels, resampling)
    model, drawn_model = _auroc(labels, rows["probability"].to_numpy(np.float64), resampling)
    area, drawn = _auroc(labels, rows[feature].to_numpy(np.float64), resampling)
    if feature in UNSIGNED and area < 0.5:  # one sign for all replicates
        area, drawn = 1 - area, 1 - drawn
    too_few = min(sizes) < ENOUGH
    return Comparison(
        stratum=stratum,
        feature=feature,
        images=len(rows),
        positives=int(labels.sum()),
        auroc=area_interval(area, sizes)
        if resampling_says_little(area, sizes)
        else percentile_interval(area, drawn),
        ahead=model - area,
        lead=None if too_few else percentile_interval(model - area, drawn_model - drawn),
        too_few=too_few,
    )


def _auroc(
    labels: IntArray, values: FloatArray, resampling: Resampling
) -> tuple[float, FloatArray]:
    """The area and its replicates; the same seed draws the same images for every score."""
    drawn = bootstrap(labels, values, resampling).auroc
    return float(roc_auc_score(labels, values, sample_weight=resampling.weights)), drawn

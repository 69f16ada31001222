"""Several models on the same images: measures of each, and paired differences of each two.

models -> match -> [compare] -> table, JSON, figures
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from sklearn.metrics import average_precision_score

from clients.comparison.localisation import Localisation
from clients.comparison.models import ComparedModel, Dropped, Matched
from clients.metrics.evaluate import Measures, Method, measure, resampling_of
from clients.metrics.features import Separation, separate
from clients.metrics.few import ENOUGH, class_sizes
from clients.metrics.intervals import (
    FloatArray,
    IntArray,
    Interval,
    Resampling,
    bootstrap,
    bootstrap_p_value,
    delong_difference,
    normal_p_value,
    percentile_interval,
)
from clients.metrics.strata import Stratum, strata


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """First model less second on the same images.

    Attributes
    ----------
    auroc, aupr
        Differences with intervals by paired bootstrap.
    auroc_p_bootstrap, aupr_p_bootstrap
        Two-sided p-values of the paired bootstrap.
    auroc_p_delong
        Two-sided p-value of DeLong's paired test (Obuchowski's where patients are known); None
        where a class has one patient.
    """

    first: str
    second: str
    auroc: Interval
    auroc_p_bootstrap: float
    auroc_p_delong: float | None
    aupr: Interval
    aupr_p_bootstrap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMeasures:
    """One model in one group.

    ``separation`` is None without embeddings or enough images, and with weights: clusters count
    images alike.
    """

    label: str
    measures: Measures
    separation: Separation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All models on the images of one stratum; no pairs where a class is missing or too small."""

    entries: tuple[ModelMeasures, ...]
    pairs: tuple[Pair, ...]

    @property
    def measures(self) -> Measures:
        """Those of the first model: title, counts and prevalence are the same for all."""
        return self.entries[0].measures


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What ``cxr compare`` found.

    Attributes
    ----------
    matched_by
        What an image is recognised by: ``sha256`` or ``path``.
    dropped
        Model -> its labelled images that are not compared.
    localisation
        Model -> its heatmaps against boxes; empty where there are no boxes.
    weights
        Column of the first model that images are weighted by; None where they count alike.
    """

    matched_by: str
    dropped: dict[str, Dropped]
    groups: tuple[Group, ...]
    localisation: dict[str, Localisation]
    weights: str | None


def compare(
    matched: Matched,
    by: Sequence[str],
    method: Method,
    localisation: dict[str, Localisation],
) -> Comparison:
    """Measure every model and every pair, in all images and in each stratum of ``by``.

    Parameters
    ----------
    matched
        Models on their common images.
    by, method
        As for :func:`clients.metrics.evaluate.evaluate`; operating points are not used.
    localisation
        From :func:`clients.comparison.localisation.localise`.

    Raises
    ------
    WeightError
        If an image that is compared has no usable weight.
    """
    labels = [model.label for model in matched.models]
    return Comparison(
        matched_by=matched.key,
        dropped=dict(zip(labels, matched.dropped, strict=True)),
        groups=tuple(
            _group(matched.models, stratum, rows.index.to_numpy(), method)
            for stratum, rows in strata(matched.table, by)
        ),
        localisation=localisation,
        weights=method.weights,
    )


def _group(
    models: Sequence[ComparedModel], stratum: Stratum, chosen: IntArray, method: Method
) -> Group:
    first = models[0].table.loc[chosen]
    labels = first["label"].to_numpy(np.int64)
    resampling = resampling_of(first, method)
    # Patients, weights and strata are the first one's; the others need not have the columns.
    shared = {name: first[name] for name in (method.patient, method.weights) if name is not None}
    entries = []
    for model in models:
        sha256 = None if model.identity is None else model.identity.sha256
        table = model.table.loc[chosen].assign(**shared)
        measures = replace(measure(table, stratum, method), model_sha256=sha256)
        separation = None
        if model.embeddings is not None and method.weights is None:
            separation = separate(labels, model.embeddings[chosen], seed=method.seed)
        entries.append(ModelMeasures(label=model.label, measures=measures, separation=separation))
    pairs: tuple[Pair, ...] = ()
    # Resampling and normal tests would call any difference over a few films certain.
    if min(class_sizes(labels, resampling)) >= ENOUGH:
        scores = {c.label: c.table.loc[chosen, "probability"].to_numpy(np.float64) for c in models}
        pairs = _pairs(labels, scores, resampling)
    return Group(entries=tuple(entries), pairs=pairs)


def _pairs(
    labels: IntArray, scores: dict[str, FloatArray], resampling: Resampling
) -> tuple[Pair, ...]:
    """Compare each two; the same seed draws the same images for every model."""
    patients, weights = resampling.patients, resampling.weights
    drawn = {label: bootstrap(labels, values, resampling) for label, values in scores.items()}
    aupr = {
        label: float(average_precision_score(labels, values, sample_weight=weights))
        for label, values in scores.items()
    }
    pairs = []
    for first, second in combinations(scores, 2):
        difference, variance = delong_difference(
            labels, scores[first], scores[second], patients, weights
        )
        areas = drawn[first].auroc - drawn[second].auroc
        precisions = drawn[first].average_precision - drawn[second].average_precision
        pairs.append(
            Pair(
                first=first,
                second=second,
                auroc=percentile_interval(difference, areas),
                auroc_p_bootstrap=bootstrap_p_value(areas),
                auroc_p_delong=None if np.isnan(variance) else normal_p_value(difference, variance),
                aupr=percentile_interval(aupr[first] - aupr[second], precisions),
                aupr_p_bootstrap=bootstrap_p_value(precisions),
            )
        )
    return tuple(pairs)

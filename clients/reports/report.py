"""One self-contained HTML file: text, tables and figures, nothing loaded from elsewhere.

measures -> figures -> [report]
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from clients.metrics.evaluate import Measures, Method, labelled_rows
from clients.metrics.few import ENOUGH
from clients.metrics.intervals import FloatArray, Interval
from clients.metrics.pointing import Pointing
from clients.metrics.weighting import sampling_weights
from clients.reports.figures import (
    histogram_figure,
    inline_svg,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
    strata_figure,
    styled,
)
from clients.reports.tables import repeats, too_few, weights_note
from clients.scoring.scored import Scored
from service.findings.calibration import BINS

MOST_CARDS = 8  # groups in the headline; of more, the lowest and the highest
DEFAULT_TITLE = "Evaluation of pneumonia scores"


class Drawing(NamedTuple):
    """A figure as it stands in a page: markup that is safe to insert, and a caption."""

    markup: Markup
    caption: str


def evaluation_page(
    scored: Scored, measures: Sequence[Measures], method: Method, pointing: Pointing | None
) -> str:
    """Write the report of ``cxr evaluate``.

    Parameters
    ----------
    scored
        The scores that were measured.
    measures
        From :func:`clients.metrics.evaluate.evaluate` with ``method``: all images first, then the
        strata.
    pointing
        Heatmap peaks against boxes, where boxes were given.
    """
    return render(
        "evaluation.html",
        title=DEFAULT_TITLE,
        facts=_facts(scored, measures[0], method),
        measures=measures,
        headline=headline(measures),
        warnings=[*repeats(measures[0]), *too_few(measures)],
        rows=[{"label": row.title, "measures": row} for row in measures],
        figures=_figures(scored, measures, method),
        within=method.within,
        prevalence=method.prevalence,
        points_note=_points_note(method),
        pointing=pointing,
        method_note=method_note(method),
    )


def headline(measures: Sequence[Measures]) -> list[Measures]:
    """The groups of the first column that was asked for; empty where none was.

    A single figure over cohorts that differ measures how they were mixed. Of many groups those with
    the lowest and the highest AUROC stand for all.
    """
    if len(measures) < 2:
        return []
    groups = [row for row in measures if row.stratum.keys() == measures[1].stratum.keys()]
    ranked = sorted(
        (row for row in groups if row.auroc is not None),
        key=lambda row: row.auroc.value if row.auroc else 0.0,
    )
    return groups if len(groups) <= MOST_CARDS else [ranked[0], ranked[-1]] if ranked else []


def render(template: str, **values: Any) -> str:
    """Fill in a template of this package; everything but :class:`Markup` is escaped."""
    environment = Environment(
        loader=PackageLoader("clients.reports"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(software=version("nanocxr"), **values)


def drawing(figure: Figure, name: str, caption: str, description: str) -> Drawing:
    """Place a figure in a page; ``description`` is read to people who do not see it."""
    return Drawing(Markup(inline_svg(figure, name, description)), caption)  # noqa: S704  own SVG


def method_note(method: Method) -> str:
    """How the intervals were made, in words."""
    units = "patients (all images of one together)" if method.patient is not None else "images"
    analytic = "Obuchowski's for clustered images" if method.patient is not None else "DeLong's"
    rates = "the same bootstrap" if method.patient is not None else "Wilson's method"
    note = (
        f"Intervals are 95 %. AUROC and AUPR: percentiles of {method.replicates} bootstrap "
        f"replicates over {units} within each class, seed {method.seed}; AUROC also by the normal "
        f"interval with the variance of {analytic} method. Sensitivity, specificity, PPV and NPV: "
        f"{rates}; at a given prevalence by Bayes' theorem with intervals made of those of both "
        "rates (Zou & Donner). Where a class "
        f"has fewer than {ENOUGH} {units.partition(' ')[0]}, or every pair is ranked alike: "
        f"Newcombe's score interval for AUROC, Wilson's for AUPR, none by DeLong. ECE: {BINS} "
        "equal bins. Refused images have no reading and are in no other number."
    )
    if method.within is not None:
        note += (
            f" AUROC within {method.within}: over pairs of images of the same {method.within} "
            "alone, by the same bootstrap."
        )
    if method.weights is not None:
        note += (
            f" {weights_note(method.weights)} The bootstrap draws images with their weights; "
            "DeLong's variance is that of weighted placements, the weights taken as fixed; "
            "Wilson's intervals are those of the effective number. Histograms count images."
        )
    return note


def words(name: str, value: Interval | None) -> str:
    """A measure for a figure's description."""
    if value is None:
        return f"{name} is undefined"
    return f"{name} {value.value:.3f}, 95 % interval {value.low:.3f} to {value.high:.3f}"


def _facts(scored: Scored, whole: Measures, method: Method) -> str:
    model = scored.model
    which = "model not named in the file"
    if model is not None:
        which = f"model {model}, SHA-256 {model.sha256[:12]}"
    facts = f"{which}; {whole.images} images, {whole.refused} refused"
    if whole.effective is not None:
        facts += f"; weighted by {method.weights}, as good as {whole.effective:.1f} equal images"
    return facts


def _points_note(method: Method) -> str:
    if method.points:
        return "Thresholds on the calibrated probability, as the model's manifest has them."
    return (
        "Only the calls in the file are known: the model's folder, with its operating points, was "
        "not at hand (--model), or the scores were made with a site's calibration."
    )


def _figures(
    scored: Scored, measures: Sequence[Measures], method: Method
) -> dict[str, list[Drawing]]:
    rows = labelled_rows(scored.table, ())
    read = rows[rows["error"].isna()]
    labels = read["label"].to_numpy(np.int64)
    probabilities = read["probability"].to_numpy(np.float64)
    weights = sampling_weights(read, method.weights)
    whole = measures[0]
    pooled = " of all groups together" if len(measures) > 1 else ""
    found: dict[str, list[Drawing]] = {"discrimination": [], "calibration": [], "groups": []}
    with styled():
        if whole.auroc is not None:
            found["discrimination"] = [
                drawing(
                    roc_figure(labels, probabilities, whole, weights), "roc",
                    f"ROC curve{pooled}. Marks: operating points with their 95 % intervals.",
                    f"ROC curve: {words('AUROC', whole.auroc)}.",
                ),
                drawing(
                    precision_recall_figure(labels, probabilities, whole, weights), "pr",
                    f"Precision and recall{pooled}. Dashed: prevalence, which guessing reaches.",
                    f"Precision-recall curve: {words('AUPR', whole.aupr)}; "
                    f"guessing reaches {whole.prevalence:.3f}.",
                ),
            ]  # fmt: skip
        if whole.images:
            found["calibration"] = [
                drawing(
                    reliability_figure(whole), "reliability",
                    "Reliability with Wilson's 95 % intervals; larger marks hold more images.",
                    f"Reliability plot: expected calibration error {whole.ece:.3f}; the bins are "
                    "in the table below.",
                ),
                drawing(
                    histogram_figure(labels, probabilities, whole), "histogram",
                    "Predicted probabilities by true class.",
                    "Histograms of predicted probability: mean "
                    f"{_mean(probabilities[labels == 1])} with pneumonia, "
                    f"{_mean(probabilities[labels == 0])} without.",
                ),
            ]  # fmt: skip
        if len(measures) > 1:
            found["groups"] = [
                drawing(
                    strata_figure(measures), "groups",
                    "AUROC and AUPR of every group (images in brackets); grey bar: guessing.",
                    "AUROC and AUPR of every group with intervals, as in the table below.",
                )
            ]  # fmt: skip
    return found


def _mean(values: FloatArray) -> str:
    return f"{values.mean():.2f}" if values.size else "(no image)"

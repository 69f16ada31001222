"""Figures of an evaluation, and how every figure looks and becomes part of a page.

Colours are those of Okabe & Ito, which people with colour-blindness tell apart; marker and line
style repeat what colour says. In a page the same figure follows the reader's light or dark theme:
ink and series are CSS variables there, plain colours in a file.
"""

import base64
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from html import escape
from io import BytesIO, StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from clients.metrics.evaluate import Measures
from clients.metrics.intervals import FloatArray, IntArray, Interval

INK, FAINT = "#1c2530", "#8a94a0"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "osD^vP"
PNEUMONIA, HEALTHY = SERIES[1], SERIES[0]
# What a colour becomes in a page.
VARIABLES = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES)},
}
STYLE: Any = {  # mypy knows matplotlib's keys, and no dict of str is one of them
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "text.parse_math": False,  # a dollar in a label is a dollar
    "svg.hashsalt": "nanocxr",  # the same figure gives the same bytes
}
NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


def styled() -> AbstractContextManager[None]:
    """Make the figures drawn within look like this project's."""
    return mpl.rc_context(STYLE)


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure in inches whose parts do not overlap."""
    return Figure(figsize=(width, height), layout="constrained")


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """Write a figure as an SVG element for a page.

    Parameters
    ----------
    name
        Unique in the page; becomes part of every id.
    description
        What a person who does not see the figure should know.
    """
    buffer = StringIO()
    with styled():
        figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
    text = buffer.getvalue()
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    label = f'<svg role="img" aria-label="{escape(description, quote=True)}"'
    return svg.replace("<svg", label, 1)


def inline_png(png: bytes) -> str:
    """Write a PNG as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def to_png(figure: Figure, *, dpi: int = 200) -> bytes:
    """Draw a figure on white."""
    buffer = BytesIO()
    with styled():
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def roc_figure(
    labels: IntArray,
    probabilities: FloatArray,
    measures: Measures,
    weights: FloatArray | None = None,
) -> Figure:
    """ROC curve with the model's operating points and their intervals."""
    figure, axes = _square("1 - specificity", "sensitivity")
    false, true, _ = roc_curve(labels, probabilities, sample_weight=weights)
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1, label="guessing")
    axes.plot(false, true, color=SERIES[0], linewidth=1.8, label=_area("AUROC", measures.auroc))
    for number, point in enumerate(measures.operating_points, start=1):
        if point.sensitivity and point.specificity:
            _mark(axes, _complement(point.specificity), point.sensitivity, point.name, number)
    axes.legend(loc="lower right")
    return figure


def precision_recall_figure(
    labels: IntArray,
    probabilities: FloatArray,
    measures: Measures,
    weights: FloatArray | None = None,
) -> Figure:
    """Precision against recall, with the prevalence that a reader who guesses reaches."""
    figure, axes = _square("recall (sensitivity)", "precision (PPV)")
    precision, recall, _ = precision_recall_curve(labels, probabilities, sample_weight=weights)
    prevalence = measures.prevalence or 0.0
    axes.axhline(
        prevalence, color=FAINT, linestyle="--", linewidth=1, label=f"guessing {prevalence:.3f}"
    )
    axes.step(
        recall, precision, where="post", color=SERIES[0], linewidth=1.8,
        label=_area("AUPR", measures.aupr),
    )  # fmt: skip
    for number, point in enumerate(measures.operating_points, start=1):
        if point.sensitivity and point.ppv:
            _mark(axes, point.sensitivity, point.ppv, point.name, number)
    axes.legend(loc="lower left")
    return figure


def reliability_figure(measures: Measures) -> Figure:
    """Frequency of pneumonia against predicted probability; the area of a mark is its images."""
    figure, axes = _square("predicted probability", "observed frequency of pneumonia")
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1, label="perfect")
    bins = measures.reliability
    confidence = [b.confidence for b in bins]
    axes.errorbar(
        confidence, [b.frequency.value for b in bins],
        yerr=np.hstack([reach(b.frequency) for b in bins]), color=SERIES[0], linewidth=1,
        linestyle="none", capsize=2,
    )  # fmt: skip
    largest = max(b.images for b in bins)
    axes.scatter(
        confidence, [b.frequency.value for b in bins], color=SERIES[0], zorder=3,
        s=[12 + 110 * b.images / largest for b in bins], label="images in a bin",
    )  # fmt: skip
    axes.legend(loc="upper left")
    return figure


def histogram_figure(labels: IntArray, probabilities: FloatArray, measures: Measures) -> Figure:
    """How probabilities are spread in each class, above one another, with the thresholds."""
    figure = new_figure(4.6, 4.4)
    rows = figure.subplots(2, 1, sharex=True)
    classes = ((1, "pneumonia", PNEUMONIA), (0, "no pneumonia", HEALTHY))
    for axes, (label, name, colour) in zip(rows, classes, strict=True):
        chosen = probabilities[labels == label]
        axes.hist(chosen, bins=30, range=(0, 1), color=colour)
        for point in measures.operating_points:
            if point.threshold is not None:
                axes.axvline(point.threshold, color=INK, linestyle=":", linewidth=1)
        axes.set_ylabel("images")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_title(f"{name}: {chosen.size} images", loc="left")
    rows[-1].set(xlim=(0, 1), xlabel="predicted probability (dotted: thresholds)")
    return figure


def strata_figure(measures: Sequence[Measures]) -> Figure:
    """AUROC and AUPR of all groups side by side, with intervals and what guessing reaches."""
    figure = new_figure(9.4, 1.2 + 0.34 * len(measures))
    # Else the 1.0 of one axis runs into the 0.0 of the other.
    figure.set_layout_engine("constrained", wspace=0.08)
    left, right = figure.subplots(1, 2, sharey=True)
    heights = np.arange(len(measures))[::-1]
    for axes, name in ((left, "AUROC"), (right, "AUPR")):
        for height, row in zip(heights, measures, strict=True):
            value = row.auroc if name == "AUROC" else row.aupr
            guess = 0.5 if name == "AUROC" else row.prevalence
            if value is None or guess is None:
                axes.text(0.5, height, "one class only", ha="center", va="center", fontsize=8)
                continue
            axes.plot([guess] * 2, [height - 0.34, height + 0.34], color=FAINT, linewidth=1.5)
            axes.errorbar(
                value.value, height, xerr=reach(value), color=SERIES[0], marker="o", capsize=2
            )
        axes.set(xlim=(0, 1), xlabel=f"{name} (bar: guessing)")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    left.set_yticks(heights, [f"{row.title} ({row.images})" for row in measures])
    left.set_ylim(-0.7, len(measures) - 0.3)
    return figure


def _mark(axes: Axes, x: Interval, y: Interval, name: str, number: int) -> None:
    """Place an operating point with both its intervals, in the colour and shape of its number."""
    axes.errorbar(
        x.value, y.value, xerr=reach(x), yerr=reach(y), color=SERIES[number % len(SERIES)],
        marker=MARKERS[number % len(MARKERS)], markersize=6, linewidth=1, linestyle="none",
        label=name, zorder=3,
    )  # fmt: skip


def _square(x: str, y: str) -> tuple[Figure, Axes]:
    figure = new_figure(4.6, 4.4)
    axes = figure.subplots()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xlabel=x, ylabel=y)
    return figure, axes


def _area(name: str, value: Interval | None) -> str:
    return name if value is None else f"{name} {value}"


def _complement(value: Interval) -> Interval:
    return Interval(value=1 - value.value, low=1 - value.high, high=1 - value.low)


def reach(value: Interval) -> FloatArray:
    """Lengths of an interval's two arms, shape (2, 1), as errorbar takes them."""
    arms = [[value.value - value.low], [value.high - value.value]]
    return np.maximum(np.array(arms, dtype=np.float64), 0.0)

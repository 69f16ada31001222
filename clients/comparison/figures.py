"""The paper's figures for any set of models (arXiv 2512.00428): samples, bars, features, heatmaps.

comparison -> [comparison_figures] -> report
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from clients.comparison.compare import Group, ModelMeasures
from clients.comparison.localisation import Localisation
from clients.comparison.models import ComparedModel
from clients.datasets.items import Item
from clients.metrics.features import project
from clients.metrics.intervals import FloatArray, IntArray, Interval
from clients.metrics.pointing import Box
from clients.reports.figures import HEALTHY, INK, MARKERS, PNEUMONIA, SERIES, new_figure, reach
from service.imaging.decode import Limits, decode

TILE = 256  # pixels of a radiograph's longer side in a grid
CLASSES = ((1, "pneumonia"), (0, "no pneumonia"))


class Bar(NamedTuple):
    """One bar: a measure of one model, and what chance would reach."""

    label: str
    colour: str
    value: Interval
    guess: float


def bars_figure(groups: Sequence[Group]) -> Figure:
    """AUROC and AUPR of every model, a row for each group, with what guessing reaches."""
    shown = [group for group in groups if group.measures.auroc is not None]
    figure = new_figure(9.6, sum(0.85 + 0.34 * len(group.entries) for group in shown) + 0.3)
    panels = figure.subplots(len(shown), 2, squeeze=False, sharex=True)
    for (left, right), group in zip(panels, shown, strict=True):
        facts = group.measures
        positives = f"{facts.positives} of {facts.images} positive"
        _bars(left, _of_models(group.entries, "auroc", 0.5))
        _bars(right, _of_models(group.entries, "aupr", facts.prevalence or 0.0))
        left.set_title(f"{facts.title}: AUROC", loc="left")
        right.set_title(f"AUPR, {positives}", loc="left")
        right.set_yticklabels([])
    for axes in panels[-1]:
        axes.set_xlabel("95 % interval by bootstrap; dashed: guessing")
    return figure


def _of_models(entries: Sequence[ModelMeasures], measure: str, guess: float) -> list[Bar]:
    return [
        Bar(entry.label, SERIES[number % len(SERIES)], value, guess)
        for number, entry in enumerate(entries)
        if (value := getattr(entry.measures, measure)) is not None
    ]


def localisation_figure(found: Mapping[str, Localisation]) -> Figure | None:
    """Peaks in a box and heat in the boxes of every model; None where nothing is known."""
    peaks, heat = [], []
    for number, (label, localisation) in enumerate(found.items()):
        colour = SERIES[number % len(SERIES)]
        if hits := localisation.pointing:
            peaks.append(Bar(label, colour, hits.rate, hits.by_chance))
        if share := localisation.heat:
            heat.append(Bar(label, colour, share.share, share.by_chance))
    named = (("heatmap peak in a box", peaks), ("share of the heat inside the boxes", heat))
    panels = [(title, bars) for title, bars in named if bars]
    if not panels:
        return None
    figure = new_figure(4.8 * len(panels), 0.95 + 0.34 * len(found))
    for axes, (title, bars) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        _bars(axes, bars)
        axes.set_title(title, loc="left")
        axes.set_xlabel("95 % interval; dashed: by chance")
    return figure


def _bars(axes: Axes, bars: Sequence[Bar]) -> None:
    heights = np.arange(len(bars))[::-1]
    for height, (_, colour, value, guess) in zip(heights, bars, strict=True):
        axes.barh(height, value.value, height=0.72, color=colour, alpha=0.85)
        axes.errorbar(value.value, height, xerr=reach(value), color=INK, capsize=3, linewidth=1.2)
        axes.text(max(value.high, guess) + 0.015, height, f"{value.value:.3f}", va="center")
        axes.plot([guess] * 2, [height - 0.5, height + 0.5], color=INK, linestyle="--", linewidth=1)
    axes.set(xlim=(0, 1.14), xticks=np.arange(0, 1.01, 0.2))
    axes.set_yticks(heights, [bar.label for bar in bars])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(bars) - 0.4)


def features_figure(
    models: Sequence[ComparedModel], rows: Sequence[tuple[Group, IntArray]], *, seed: int
) -> Figure:
    """UMAP of every model's features, a row for each group, coloured by label.

    Parameters
    ----------
    rows
        Groups whose entries have a separation, each with the positions of its images.
    """
    known = [(c, c.embeddings) for c in models if c.embeddings is not None]
    figure = new_figure(0.3 + 3.1 * len(known), 0.4 + 3.3 * len(rows))
    panels = figure.subplots(len(rows), len(known), squeeze=False)
    for line, (group, chosen) in zip(panels, rows, strict=True):
        separations = {entry.label: entry.separation for entry in group.entries}
        for axes, (model, embeddings) in zip(line, known, strict=True):
            plane = project(embeddings[chosen], seed=seed)
            _scatter(axes, plane, model.table.loc[chosen, "label"].to_numpy(np.int64))
            found = separations[model.label]
            score = f"\nAcc {found.accuracy:.3f}, ARI {found.adjusted_rand:.3f}" if found else ""
            axes.set_title(model.label + score)
        line[0].set_ylabel(f"{group.measures.title} ({len(chosen)} images)")
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, markerscale=2)
    return figure


def _scatter(axes: Axes, plane: FloatArray, labels: IntArray) -> None:
    size = float(np.clip(3000 / len(labels), 4, 26))
    for (label, name), colour, marker in zip(CLASSES, (PNEUMONIA, HEALTHY), MARKERS, strict=False):
        x, y = plane[labels == label].T
        axes.scatter(x, y, s=size, color=colour, marker=marker, alpha=0.65, linewidth=0, label=name)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)


def gradcam_figure(
    items: Sequence[Item], models: Sequence[ComparedModel], boxes: Mapping[str, Sequence[Box]]
) -> Figure:
    """The same images through every model whose folder is at hand, heat over the radiograph.

    Parameters
    ----------
    items
        Labelled images, one column each.
    boxes
        Path -> boxes to draw on the plain radiograph.
    """
    readers = [(c.label, c.reader) for c in models if c.reader is not None]
    figure = new_figure(0.4 + 1.5 * len(items), 0.05 + 1.66 * (1 + len(readers)))
    panels = figure.subplots(1 + len(readers), len(items), squeeze=False)
    for column, item in enumerate(items):
        content = item.file.read_bytes()
        plain, scale = _radiograph(content)
        _picture(panels[0, column], plain, dict(CLASSES)[item.label or 0])
        for box in boxes.get(item.name, ()):
            corner = (box.x * scale, box.y * scale)
            size = (box.width * scale, box.height * scale)
            panels[0, column].add_patch(
                Rectangle(corner, *size, fill=False, edgecolor=SERIES[4], linewidth=1.4)
            )
        for axes, (_, reader) in zip(panels[1:, column], readers, strict=True):
            reading, png = reader.explain(content, bare=False, size="reduced")
            with Image.open(io.BytesIO(png)) as heat:
                _picture(axes, heat.resize(plain.size), f"{reading.probability:.2f}")
    panels[0, 0].set_ylabel("radiograph")
    for axes, (label, _) in zip(panels[1:, 0], readers, strict=True):
        axes.set_ylabel(textwrap.fill(label, 18))
    return figure


def samples_figure(rows: Sequence[tuple[str, Sequence[Item]]]) -> Figure:
    """Images by class, a row each."""
    longest = max(len(items) for _, items in rows)
    figure = new_figure(0.4 + 1.5 * longest, 0.2 + 1.55 * len(rows))
    panels = figure.subplots(len(rows), longest, squeeze=False)
    for line, (name, items) in zip(panels, rows, strict=True):
        for axes, item in zip(line, items, strict=False):
            _picture(axes, _radiograph(item.file.read_bytes())[0], "")
        for axes in line[len(items) :]:
            axes.axis("off")
        line[0].set_ylabel(name)
    return figure


def _radiograph(content: bytes) -> tuple[Image.Image, float]:
    """A file as grey image of at most 256 pixels a side, and its scale."""
    radiograph = decode(content, Limits())
    scale = min(1.0, TILE / max(radiograph.rows, radiograph.columns))
    size = max(1, round(radiograph.columns * scale)), max(1, round(radiograph.rows * scale))
    pixels = np.rint(radiograph.pixels * 255).astype(np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BOX), scale


def _picture(axes: Axes, image: Image.Image, title: str) -> None:
    axes.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=8, fontweight="normal", pad=3)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)

"""Everything ``cxr compare`` writes: figures as files, numbers as JSON, and one HTML file.

models -> match -> compare -> [report]
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from clients.comparison.compare import Comparison, compare
from clients.comparison.figures import (
    CLASSES,
    bars_figure,
    features_figure,
    gradcam_figure,
    localisation_figure,
    samples_figure,
)
from clients.comparison.localisation import localise
from clients.comparison.models import Matched
from clients.comparison.table import LEFT_OUT, warnings_of
from clients.datasets.items import Dataset, Item
from clients.metrics.evaluate import Method
from clients.metrics.intervals import Resampling
from clients.metrics.pointing import boxes_of
from clients.metrics.strata import strata
from clients.reports.figures import inline_png, styled, to_png
from clients.reports.numbers import run_facts
from clients.reports.report import Drawing, drawing, method_note, render, words
from clients.scoring.scored import EvaluationError
from service.files import replace_file

PICTURE_DPI = 130  # a tile of 1.5 inches shows about 200 pixels of a radiograph


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """What can be shown besides numbers.

    Attributes
    ----------
    dataset
        The images that were scored; None where they are not at hand.
    samples
        Labelled images of which some are shown.
    boxes
        Columns path, x, y, width, height.
    examples
        Images of each class in the grid of heatmaps; twice as many in that of samples.
    """

    dataset: Dataset | None
    samples: Dataset | None
    boxes: pd.DataFrame | None
    examples: int


def write_comparison(
    out: Path, matched: Matched, by: Sequence[str], method: Method, pictures: Pictures
) -> Comparison:
    """Compare, and write the folder ``out``; files of the same names are replaced.

    Raises
    ------
    EvaluationError
        If an image to be shown is not in its dataset, the samples have no label, or an image that
        is compared has no usable weight.
    PointingError
        If boxes and scores do not fit together.
    """
    resampling = Resampling(replicates=method.replicates, seed=method.seed)
    boxes = pictures.boxes
    found = {
        model.label: localise(model, boxes, pictures.dataset, resampling)
        for model in matched.models
        if boxes is not None
    }
    comparison = compare(matched, by, method, found)
    out.mkdir(parents=True, exist_ok=True)
    with styled():
        figures = {
            "samples": _samples(out, pictures, method.seed),
            "bars": _bars(out, comparison),
            "features": _features(out, matched, comparison, by, method.seed),
            "heatmaps": list(_heatmaps(out, matched, comparison, pictures, method.seed)),
        }
    page = render(
        "comparison.html",
        title="Comparison of " + " and ".join(c.label for c in matched.models),
        facts=_facts(matched, comparison),
        warnings=warnings_of(comparison),
        comparison=comparison,
        figures=figures,
        method_note=method_note(method)
        if method.weights is None
        else f"{method_note(method)} {LEFT_OUT}",
    )
    numbers = json.dumps({"run": run_facts(by, method)} | asdict(comparison), indent=2) + "\n"
    for name, text in (("compare.json", numbers), ("report.html", page)):
        replace_file(out / name, text)
    return comparison


def _facts(matched: Matched, comparison: Comparison) -> str:
    models = "; ".join(
        f"{c.label}: {c.source.name}"
        + (f", SHA-256 {c.identity.sha256[:12]}" if c.identity else "")
        for c in matched.models
    )
    whole = comparison.groups[0].measures
    count = f"{whole.images} images that every model read, matched by {comparison.matched_by}"
    if whole.effective is not None:
        count += (
            f", weighted by {comparison.weights}, as good as {whole.effective:.1f} equal images"
        )
    return f"{count}. {models}"


def _save(out: Path, name: str, figure: Figure, caption: str, description: str) -> Drawing:
    """Write a figure of lines and marks as PNG and SVG, and place it in the page."""
    (out / f"{name}.png").write_bytes(to_png(figure))
    figure.savefig(out / f"{name}.svg", metadata={"Date": None})
    return drawing(figure, name, caption, description)


def _save_picture(out: Path, name: str, figure: Figure, caption: str, alt: str) -> Drawing:
    """Write a figure of images as PNG, and place it in the page."""
    png = to_png(figure, dpi=PICTURE_DPI)
    (out / f"{name}.png").write_bytes(png)
    image = Markup('<img src="{}" alt="{}">').format(inline_png(png), escape(alt))
    return Drawing(image, caption)


def _bars(out: Path, comparison: Comparison) -> list[Drawing]:
    groups = [group for group in comparison.groups if group.measures.auroc is not None]
    if not groups:
        return []
    told = "; ".join(
        f"{entry.label} in {group.measures.title}: {words('AUROC', entry.measures.auroc)}"
        for group in groups
        for entry in group.entries
    )
    caption = "AUROC and AUPR on the same images with 95 % intervals; dashed: guessing."
    return [_save(out, "bars", bars_figure(groups), caption, f"Bars. {told}.")]


def _features(
    out: Path, matched: Matched, comparison: Comparison, by: Sequence[str], seed: int
) -> list[Drawing]:
    """Strata where there are any, since all images together mix them; else all images."""
    positions = [rows.index.to_numpy() for _, rows in strata(matched.table, by)]
    everything = list(zip(comparison.groups, positions, strict=True))
    shown = [
        (group, chosen)
        for group, chosen in everything[1:] or everything
        if any(entry.separation for entry in group.entries)
    ]
    if not shown:
        return []
    figure = features_figure(matched.models, shown, seed=seed)
    caption = (
        "UMAP of the pooled features. Acc: share of images in the K-means cluster of their class; "
        "ARI: adjusted Rand index. Clusters are found in the features, not in the plane."
    )
    return [_save(out, "features", figure, caption, "UMAP of features; values in the table below.")]


def _heatmaps(
    out: Path, matched: Matched, comparison: Comparison, pictures: Pictures, seed: int
) -> Iterator[Drawing]:
    readers = [c.label for c in matched.models if c.reader is not None]
    if readers and pictures.dataset is not None:
        items = _examples(matched, pictures.dataset, pictures, seed)
        boxes = {} if pictures.boxes is None else {
            item.name: boxes_of(pictures.boxes, item.name) for item in items
        }  # fmt: skip
        figure = gradcam_figure(items, matched.models, boxes)
        caption = (
            "Grad-CAM of the last convolution on the same images, drawn by lot; numbers are "
            "probabilities. The strongest colour is the same evidence in all images of a model, "
            "not in two models."
        )
        alt = f"{len(items)} radiographs, and their heatmaps by {', '.join(readers)}"
        yield _save_picture(out, "gradcam", figure, caption, alt)
    localisation = localisation_figure(comparison.localisation)
    if localisation is not None:
        caption = "Heatmaps against the boxes that radiologists marked; dashed: by chance."
        told = "Heatmaps against boxes; values in the table below."
        yield _save(out, "localisation", localisation, caption, told)


def _examples(matched: Matched, dataset: Dataset, pictures: Pictures, seed: int) -> list[Item]:
    """Draw images of each class by lot, those with a box before others."""
    items = {item.name: item for item in dataset.items}
    table = matched.table.sample(frac=1, random_state=seed)
    if pictures.boxes is not None:
        has_none = ~table["path"].isin(pictures.boxes["path"])
        table = table.loc[has_none.sort_values(kind="stable").index]
    names = [
        name
        for label, _ in CLASSES
        for name in table.loc[table["label"] == label, "path"].head(pictures.examples)
    ]
    if not set(names) <= items.keys():
        raise EvaluationError("scored images are missing from the dataset of --data")
    return [items[name] for name in names]


def _samples(out: Path, pictures: Pictures, seed: int) -> list[Drawing]:
    if pictures.samples is None:
        return []
    rng = np.random.default_rng(seed)
    rows = []
    for label, name in CLASSES:
        items = [item for item in pictures.samples.items if item.label == label]
        count = min(2 * pictures.examples, len(items))
        if count:
            chosen = rng.choice(len(items), size=count, replace=False)
            rows.append((name, [items[number] for number in chosen]))
    if not rows:
        raise EvaluationError("the samples have no label")
    shown = " and ".join(f"{len(items)} with {name}" for name, items in rows)
    caption = f"Samples drawn by lot: {shown}."
    return [_save_picture(out, "samples", samples_figure(rows), caption, caption)]

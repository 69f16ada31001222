"""``cxr evaluate`` and ``cxr compare``: scores to numbers, figures and pages."""

import json
from pathlib import Path
from typing import Any

import click
import pandas as pd

from clients.api import evaluate_scored
from clients.cli.columns import with_columns, with_strata
from clients.cli.terminal import (
    READABLE,
    READABLE_FILE,
    READABLE_FOLDER,
    WRITABLE_FILE,
    WRITABLE_FOLDER,
    extra,
    one_line_errors,
)
from clients.datasets.boxes import open_boxes
from clients.datasets.open import Columns, open_dataset
from clients.metrics.evaluate import REPLICATES, Method
from clients.metrics.pointing import point
from clients.metrics.strata import columns_of
from clients.reports.numbers import to_json
from clients.reports.tables import operating_table, repeats, to_table, too_few
from clients.scoring.scored import open_scores
from service.files import replace_file
from service.settings import Settings

PATIENT = click.option(
    "--patient", metavar="COLUMN",
    help="Column that names the patient: the bootstrap draws patients, not images.",
)  # fmt: skip
WEIGHTS = click.option(
    "--weights", metavar="COLUMN",
    help="Column of sampling weights, to read a sample in the mix of its population.",
)  # fmt: skip
REPLICATES_OPTION = click.option(
    "--replicates", type=click.IntRange(min=1), default=REPLICATES, show_default=True,
    help="Bootstrap replicates.",
)  # fmt: skip


@click.command()
@click.argument("scores", type=READABLE_FILE)
@with_strata("Also by")
@click.option(
    "--json",
    "json_file",
    type=WRITABLE_FILE,
    help="Also write the numbers as JSON, and what they are of.",
)
@click.option(
    "--report", type=WRITABLE_FILE, help="Also write one HTML file with plots and tables."
)
@click.option(
    "--boxes", type=READABLE_FILE,
    help="Table of marked boxes (path, x, y, width, height; or RSNA's stage_2_train_labels.csv): "
    "also count heatmap peaks inside.",
)  # fmt: skip
@PATIENT
@click.option(
    "--prevalence", type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Also give PPV and NPV where this share of patients has pneumonia.",
)  # fmt: skip
@WEIGHTS
@click.option(
    "--within", metavar="COLUMN",
    help="Also give the AUROC over pairs of the same value of this column, e.g. of the same view.",
)  # fmt: skip
@click.option(
    "--model", type=READABLE_FOLDER,
    help="Folder of the model that gave the scores, for its operating points [default: "
    "CXR_MODEL, or the one of nanocxr, if it is that model].",
)  # fmt: skip
@REPLICATES_OPTION
def evaluate(
    *,
    scores: Path,
    by: tuple[str, ...],
    json_file: Path | None,
    report: Path | None,
    boxes: Path | None,
    model: Path | None,
    **options: Any,
) -> None:
    """Print AUROC, AUPR and calibration of SCORES with 95 % confidence intervals.

    AUROC and AUPR have intervals by stratified bootstrap (fixed seed), AUROC also by DeLong;
    sensitivity and specificity are those of `call`, with Wilson's intervals. `guess` is the
    prevalence, the AUPR of a reader who guesses. `refused` images had no reading and are in no
    other number. With --patient all of these are by bootstrap over patients, and DeLong's interval
    becomes Obuchowski's for clustered images. Where a class has fewer than 10 images (patients), or
    every pair is ranked alike, areas have score intervals (Newcombe's for AUROC, Wilson's for AUPR)
    and a warning: resampling would call the AUROC of five films certain.

    A film that comes twice (same SHA-256) counts twice, with a warning; one with both labels is an
    error.

    With --weights every number but the counts is weighted, and so are its intervals: the bootstrap
    draws images with their weights, DeLong's variance is that of weighted placements, the weights
    taken as fixed, and Wilson's intervals are those of Kish's effective number of images, which is
    printed. docs/evaluation.md shows how to make such a column.

    A second table has the operating points of the model, where its folder is known, unless the
    scores were made with a site's calibration, which has points of its own.

    Example:

    \b
        cxr evaluate scores.parquet --by source --json measures.json
        cxr evaluate scores.parquet --by view --prevalence 0.05 --report report.html
        cxr evaluate scores.parquet --weights rsna_mix --within dataset_view
    """
    with one_line_errors():
        scored = open_scores(scores)
        measures, method = evaluate_scored(scored, by, Method(**options), model)
        pointing = None if boxes is None else point(scored.table, open_boxes(boxes, scored.table))
    click.echo(to_table(measures, method))
    if method.points or method.prevalence is not None:
        click.echo("\n" + operating_table(measures))
    if pointing is not None:
        click.echo(pointing)
    for sentence in (*repeats(measures[0]), *too_few(measures)):
        click.echo(f"Warning: {sentence}", err=True)
    if json_file is not None:
        numbers = to_json(scored, measures, by, method, pointing)
        replace_file(json_file, json.dumps(numbers, indent=2) + "\n")
    if report is not None:
        with extra("figures"):
            from clients.reports.report import evaluation_page  # an extra; a second to load
        replace_file(report, evaluation_page(scored, measures, method, pointing))


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="[LABEL=]PATH...")
@click.option("--out", type=WRITABLE_FOLDER, required=True, help="Folder to write.")
@click.option(
    "--data", type=READABLE,
    help="Dataset that was scored, as for `cxr score`: needed to draw heatmaps over its images, "
    "and read by models that come without a score file.",
)  # fmt: skip
@click.option(
    "--samples", type=READABLE, help="Labelled dataset to show samples of, e.g. training images."
)
@click.option(
    "--boxes", type=READABLE_FILE,
    help="Table of marked boxes (path, x, y, width, height; or RSNA's stage_2_train_labels.csv): "
    "do heatmaps point there?",
)  # fmt: skip
@with_strata("Also by")
@PATIENT
@WEIGHTS
@click.option(
    "--examples", type=click.IntRange(min=1), default=4, show_default=True,
    help="Images of each class in the grid of heatmaps; twice as many in that of samples.",
)  # fmt: skip
@REPLICATES_OPTION
@with_columns
def compare(  # noqa: PLR0913  one argument an option
    *,
    models: tuple[str, ...],
    out: Path,
    data: Path | None,
    samples: Path | None,
    boxes: Path | None,
    by: tuple[str, ...],
    examples: int,
    columns: Columns,
    **options: Any,
) -> None:
    """Compare models on the same images: figures, paired tests, and one HTML file.

    Each PATH is a score file of `cxr score`, or a model folder; `default` is the model that comes
    with nanocxr. A model folder that gave one of the score files adds its heatmaps to it; any other
    reads --data now. Without LABEL a model is called by its name and version.

    Images are matched by SHA-256, or by path where files lack it or hold an image twice. Images
    that some model has not read are left out, and counted.

    Written are compare.json, report.html and, as far as the inputs allow: bars (AUROC and AUPR),
    features (UMAP of the embeddings that `cxr score --embeddings` or a model folder gives), gradcam
    (heatmaps of the same images), localisation (heatmaps against boxes) and samples, each as PNG
    and, where it holds no radiograph, as SVG.

    Where a class has fewer than 10 images (patients) no difference is tested, and a line says so.

    With --weights, a column of the first score file, areas and differences are weighted as
    `cxr evaluate` does it. Clusters of features count images alike and are left out; heatmaps
    against boxes do too, so --boxes is for a comparison without weights.

    Example:

    \b
        cxr compare a.parquet b.parquet --out comparison --by source
        cxr compare default untrained=models/random/1 --data labels.csv --out comparison
    """
    method = Method(**options)
    if method.weights is not None and boxes is not None:
        raise click.UsageError(
            "--boxes excludes --weights: heatmaps against boxes count images alike. Compare them "
            "in a run without --weights."
        )
    with one_line_errors():
        dataset = None if data is None else open_dataset(data, columns=columns)
        shown = None if samples is None else open_dataset(samples)
        with extra("figures"):
            # onnxruntime and matplotlib: not needed by the other commands.
            from clients.comparison.models import match, open_models
            from clients.comparison.report import Pictures, write_comparison
            from clients.comparison.table import comparison_text
        opened = open_models(models, dataset, Settings.from_env())
        matched = match(opened, columns_of(by) + ([method.patient] if method.patient else []))
        marked = None
        if boxes is not None:
            tables = pd.concat([model.table for model in matched.models])
            marked = open_boxes(boxes, tables.drop_duplicates("path"))
        pictures = Pictures(dataset=dataset, samples=shown, boxes=marked, examples=examples)
        comparison = write_comparison(out, matched, by, method, pictures)
    click.echo(comparison_text(comparison))
    click.echo(f"{out / 'report.html'}", err=True)

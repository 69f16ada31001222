"""``cxr evaluate``: scores to numbers, figures and pages."""

import json
from pathlib import Path

import click
import pandas as pd

from clients.evaluate import REPLICATES, Method, to_json
from clients.evaluate import evaluate as measure_strata
from clients.pointing import point
from clients.score import replacing
from clients.scored import open_scores, operating_points
from clients.tables import operating_table, to_table
from clients.terminal import (
    READABLE_FILE,
    READABLE_FOLDER,
    WRITABLE_FILE,
    figures_extra,
    one_line_errors,
)
from service.settings import Settings

BY = click.option(
    "--by", multiple=True, metavar="COLUMN[,COLUMN]",
    help="Also by this column, or by all combinations of several; repeatable.",
)  # fmt: skip
PATIENT = click.option(
    "--patient", metavar="COLUMN",
    help="Column that names the patient: the bootstrap draws patients, not images.",
)  # fmt: skip
REPLICATES_OPTION = click.option(
    "--replicates", type=click.IntRange(min=1), default=REPLICATES, show_default=True,
    help="Bootstrap replicates.",
)  # fmt: skip


@click.command()
@click.argument("scores", type=READABLE_FILE)
@BY
@click.option("--json", "json_file", type=WRITABLE_FILE, help="Also write the numbers as JSON.")
@click.option(
    "--report", type=WRITABLE_FILE, help="Also write one HTML file with plots and tables."
)
@click.option(
    "--boxes", type=READABLE_FILE,
    help="CSV of marked boxes (path, x, y, width, height): also count heatmap peaks inside.",
)  # fmt: skip
@PATIENT
@click.option(
    "--prevalence", type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Also give PPV and NPV where this share of patients has pneumonia.",
)  # fmt: skip
@click.option(
    "--model", type=READABLE_FOLDER,
    help="Folder of the model that gave the scores, for its operating points [default: "
    "models/default/1 if it is that model].",
)  # fmt: skip
@REPLICATES_OPTION
def evaluate(  # noqa: PLR0913  one argument an option
    *,
    scores: Path,
    by: tuple[str, ...],
    json_file: Path | None,
    report: Path | None,
    boxes: Path | None,
    patient: str | None,
    prevalence: float | None,
    model: Path | None,
    replicates: int,
) -> None:
    """Print AUROC, AUPR and calibration of SCORES with 95 % confidence intervals.

    AUROC and AUPR have intervals by stratified bootstrap (fixed seed), AUROC also by DeLong;
    sensitivity and specificity are those of `call`, with Wilson's intervals. `guess` is the
    prevalence, the AUPR of a reader who guesses. `refused` images had no reading and are in no
    other number. With --patient all of these are by bootstrap over patients, and DeLong's interval
    becomes Obuchowski's for clustered images.

    A second table has the operating points of the model, where its folder is known.

    Example:

    \b
        cxr evaluate scores.parquet --by source --json measures.json
        cxr evaluate scores.parquet --by view --prevalence 0.05 --report report.html
    """  # noqa: D301  click needs the \b itself
    with one_line_errors():
        scored = open_scores(scores)
        method = Method(
            replicates=replicates,
            patient=patient,
            points=operating_points(scored.model, model, Settings.from_env().model),
            call_name=scored.model.operating_point if scored.model else "call",
            prevalence=prevalence,
        )
        measures = measure_strata(scored.table, by, method)
        pointing = None if boxes is None else point(scored.table, pd.read_csv(boxes))
    click.echo(to_table(measures))
    if method.points or prevalence is not None:
        click.echo("\n" + operating_table(measures))
    if pointing is not None:
        click.echo(pointing)
    if json_file is not None:
        write_text(json_file, json.dumps(to_json(measures), indent=2) + "\n")
    if report is not None:
        with figures_extra():
            from clients.report import evaluation_page  # noqa: PLC0415  an extra; a second to load
        write_text(report, evaluation_page(scored, measures, method, pointing))


def write_text(target: Path, text: str) -> None:
    """Write a file at once or not at all."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")

"""`cxr`: read one radiograph, score a dataset, evaluate the scores.

Exit status: 0 done; 1 stopped by an error (``score`` continues when run again); 2 wrong usage, or a
dataset that cannot be taken as it is; 3 ``score`` finished and at least one image has an error code
instead of a probability.
"""

import itertools
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import click
import pandas as pd
from tqdm import tqdm

from clients.api import score_to
from clients.calibration.adjusted import add_adjusted
from clients.cli.calibrate import calibrate
from clients.cli.columns import with_columns, with_strata
from clients.cli.deidentify import deidentify
from clients.cli.demo import demo
from clients.cli.evaluate import PATIENT, WEIGHTS, compare, evaluate
from clients.cli.node import node
from clients.cli.report import report
from clients.cli.terminal import (
    INCOMPLETE,
    NOTICE,
    READABLE,
    READABLE_FILE,
    READABLE_FOLDER,
    URL,
    WRITABLE_FILE,
    WritableFile,
    one_line_errors,
)
from clients.cli.version import show_version
from clients.datasets.open import LAYOUTS, Columns, Dataset, Layout, layout_of, open_dataset
from clients.metrics.evaluate import Method
from clients.metrics.strata import columns_of
from clients.reports.problems import counted, problem_text
from clients.reports.tables import too_few_sentence
from clients.scoring.engines import EngineOptions
from clients.scoring.score import Advance, Score, done_names, parts_folder
from clients.scoring.scored import as_scored, open_scores, other_model
from clients.sdk.client import ChestXrayClient
from service.files import replace_file, replacing
from service.settings import Settings


@click.group(epilog=NOTICE)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=show_version,
    help="Show the versions of nanocxr, of its model and of onnxruntime, and exit.",
)  # fmt: skip
def cli() -> None:
    """Recognise pneumonia on frontal chest radiographs; research use only.

    Example:

    \b
        cxr predict chest.dcm --explain heatmap.png
    """


@cli.command()
@click.argument("file", type=READABLE_FILE)
@click.option("--explain", type=WRITABLE_FILE, help="Also write the heatmap over the image, PNG.")
@URL
def predict(file: Path, explain: Path | None, url: str) -> None:
    """Read one radiograph (DICOM, PNG or JPEG) and print the reading as JSON.

    A service with API keys gets the one in the variable CXR_API_KEY.

    Example:

    \b
        cxr predict chest.dcm --explain heatmap.png
    """
    click.echo(NOTICE, err=True)
    with one_line_errors(), ChestXrayClient(url) as client:
        if explain is None:
            click.echo(client.predict(file).model_dump_json(indent=2))
            return
        reading = client.predict(file, heatmap="png")
        click.echo(reading.model_dump_json(indent=2, exclude={"heatmap"}))
        # The client refuses an answer without one.
        replace_file(explain, cast("bytes", reading.heatmap.picture))


@cli.command()
@click.argument("dataset", type=READABLE)
@click.option(
    "--out", type=WritableFile(makes_folders=True), required=True, help="Parquet file to write."
)
@click.option(
    "--layout", type=click.Choice(LAYOUTS), help="What DATASET is [default: what it looks like]."
)
@click.option(
    "--all-classes", is_flag=True,
    help="RSNA 2018: all 26,684 images, the class neither normal nor opaque as negatives.",
)  # fmt: skip
@with_columns
@click.option("--url", help="Ask the running service at this address.")
@click.option("--ray-address", help="Read on this Ray cluster: an address of ray.init, e.g. auto.")
@click.option(
    "--model", type=READABLE_FOLDER,
    help="Read with the model of this folder [default: CXR_MODEL, or the one of nanocxr].",
)  # fmt: skip
@click.option(
    "--calibration", type=READABLE_FILE,
    help="Probabilities and calls by this file of `cxr calibrate` [default: CXR_CALIBRATION].",
)  # fmt: skip
@click.option("--embeddings", is_flag=True, help="Also keep the embedding of each image.")
@click.option(
    "--prior", type=click.Choice(["em"]),
    help="Also estimate the prevalence, and adjust probabilities to it in a column of their own.",
)  # fmt: skip
def score(
    dataset: Path, out: Path, layout: Layout | None, columns: Columns, **options: Any
) -> None:
    """Score every image of DATASET: one row an image, in a Parquet file.

    DATASET is a CSV or Parquet file with a column `path` (relative to that file), optionally
    `label` (1 pneumonia, 0 not), and any strata columns; the folder of the RSNA challenge of 2018
    (Lung Opacity against Normal) or of Kermany's images (chest_xray); or any folder, searched for
    images by content. A stratum with the name of a measured column becomes `dataset_<name>`.
    Separator and encoding of a CSV file, capitals and spaces in its header and the separators of
    Windows in its paths do not matter.

    Without --url and --ray-address images are read on this computer, by all its cores. Nodes of a
    cluster need nanocxr with its extra `ray`, and DATASET under the same path. An interrupted run
    continues when the same command is given again; its rows wait in `<out>.parts`. Rows are in the
    order in which images were done. A service with API keys gets the one in CXR_API_KEY. Images
    without a reading are counted by their codes at the end; `cxr problems` names them.

    With --prior em the share of images with pneumonia is estimated from the probabilities alone,
    without labels, and printed with its 95 % interval by bootstrap over images. The column
    `probability_adjusted` is `probability` at that prevalence instead of the calibration's;
    `probability` and `call` stay as they are. Warnings say why not to trust it. A file that is
    there already gets the column without being read again.

    Exit status: 0 every image read; 3 all done, and some images have an error code instead of a
    probability; 1 stopped, run again to continue; 2 wrong usage, DATASET cannot be taken as it is,
    or --out holds scores of another run.

    Example:

    \b
        cxr score labels.csv --out scores.parquet
        cxr score films.csv --path-column file --label-map sick=1,well=0 --out scores.parquet
        cxr score rsna/ --out scores.parquet --embeddings
        cxr score labels.csv --out scores.parquet --url http://localhost:3000
        cxr score labels.csv --out scores.parquet --ray-address auto
        cxr score films/ --out scores.parquet --calibration site.json --prior em
    """
    all_classes, prior = options.pop("all_classes"), options.pop("prior")
    try:
        engine = EngineOptions(**options)
    except ValueError as error:
        raise click.UsageError(
            "--url excludes --model, --ray-address, --embeddings and --calibration."
        ) from error
    with one_line_errors():
        listed = open_dataset(dataset, layout=layout, all_classes=all_classes, columns=columns)
        _warn(listed.warnings)
        watch = partial(_bar, len(listed.items))
        with _told_how_to_go_on(out, len(listed.items)):
            summary, calibrated = score_to(out, listed, engine, watch, prior=prior is not None)
        click.echo(f"{out}: {summary.images} images, {summary.errors} without a reading", err=True)
        if summary.errors:
            codes = counted(pd.read_parquet(out, columns=["error"])["error"])
            click.echo(f"{codes}: cxr problems {shlex.quote(str(out))}", err=True)
        if calibrated is not None:
            estimate = add_adjusted(out, calibrated)
            click.echo(estimate)
            _warn(estimate.warnings)
    if summary.errors:
        sys.exit(INCOMPLETE)


@cli.command()
@click.argument("scores", type=READABLE_FILE)
def problems(scores: Path) -> None:
    """Name the images of SCORES that have no reading, and why.

    First each code with its number of images and its meaning, then a line an image.

    Example:

    \b
        cxr problems scores.parquet
    """
    with one_line_errors():
        table = open_scores(scores).table
    click.echo(problem_text(table))


@cli.command()
@click.argument("scores", type=READABLE_FILE)
@click.argument("dataset", type=READABLE)
@with_strata("By")
@PATIENT
@WEIGHTS
@with_columns
def baselines(
    scores: Path, dataset: Path, by: tuple[str, ...], columns: Columns, **options: Any
) -> None:
    """Compare SCORES with three hand-made features of the images of DATASET.

    The features are the brightness of the brighter lung, the smoothness of both, and the aspect:
    the film's width over its height, of either sign. Where the aspect tells the classes apart,
    ill patients were filmed or cut otherwise. Each line has the feature's AUROC and the model's
    lead over it, with 95 % intervals of the paired bootstrap. Where a class has fewer than 10
    images (patients) the lead has none, and a warning says so.

    Example:

    \b
        cxr baselines scores.parquet labels.csv --by source
    """
    # Only here are pydicom and Pillow needed; `cxr predict` runs where they are not installed.
    from clients.metrics.baselines import compare as compare_features

    table, method = _rows(scores, by), Method(**options)
    with one_line_errors():
        lines = compare_features(table, _every_image(dataset, columns), by=by, method=method)
    for line in lines:
        click.echo(line)
    resampled = "images" if method.patient is None else "patients"
    small = [
        too_few_sentence(line.stratum, line.positives, line.images, resampled)
        for line in lines
        if line.too_few
    ]
    _warn(list(dict.fromkeys(small)))


@cli.command()
@click.argument("scores", type=READABLE_FILE)
@click.argument("dataset", type=READABLE)
@click.option("--out", type=WRITABLE_FILE, required=True, help="PNG file to write.")
@click.option(
    "--model", type=READABLE_FOLDER,
    help="Folder of the model that gave the scores [default: CXR_MODEL, or the one of nanocxr].",
)  # fmt: skip
@with_strata("Rows by")
@click.option("--count", type=click.IntRange(min=1), default=8, show_default=True)
@with_columns
def worst(  # noqa: PLR0913  one argument an option
    *,
    scores: Path,
    dataset: Path,
    out: Path,
    model: Path | None,
    by: tuple[str, ...],
    count: int,
    columns: Columns,
) -> None:
    """Draw the images of DATASET that SCORES read worst, with heatmaps.

    Each row shows one class of one stratum as the network sees it, and below that the heatmap:
    pneumonia with the lowest, no pneumonia with the highest probabilities. The files are named in
    the captions and, in the same order, in a table that is printed. The heatmaps are those of the
    model that gave the scores: where SCORES names another than the one in the folder, it is an
    error.

    Example:

    \b
        cxr worst scores.parquet labels.csv --by source --out worst.png
    """
    # Only here are onnxruntime and Pillow needed; `cxr predict` runs where they are not installed.
    from clients.reports.misread import draw, listing, misread
    from service.model.reader import Reader

    table = _rows(scores, by)
    with one_line_errors():
        settings = Settings.from_env()
        folder = model or settings.model
        reader = Reader.open(folder, limits=settings.limits, key=settings.model_key)
        gave = as_scored(table).model
        if gave is not None and gave.sha256 != reader.model.sha256:
            raise other_model(folder, reader.model, gave)
        rows = misread(table, by=by, count=count)
        with replacing(out) as temporary:
            draw(rows, _every_image(dataset, columns), reader, temporary)
    click.echo(listing(rows))
    click.echo(out)


@cli.command()
@click.option(
    "--model", type=click.Path(path_type=Path),
    help="Folder of the model [default: CXR_MODEL, or the one of nanocxr].",
)  # fmt: skip
def doctor(model: Path | None) -> None:
    """Prove that the model reads on this machine as it did where it was packaged.

    Replays the golden readings of the model and prints how much they differ here, with processor,
    versions and speed. Paste the output into a report of an error: it names no computer, user or
    folder. Where only the service is installed, `python -m service.doctor` does the same.

    Exit status: 0 it reads the same; 1 it does not, or there is no model to ask; 2 wrong usage.

    Example:

    \b
        cxr doctor
        cxr doctor --model models/mine/1
    """
    # Only here are onnxruntime and Pillow needed; `cxr predict` runs where they are not installed.
    from service.doctor import run

    sys.exit(run(model))


def _warn(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        click.echo(f"Warning: {sentence}", err=True)


@contextmanager
def _told_how_to_go_on(out: Path, images: int) -> Iterator[None]:
    """End with exit status 1, and say what is done, where Ctrl-C stops the run."""
    try:
        yield
    except KeyboardInterrupt:
        done = len(done_names(parts_folder(out)))
        raise click.ClickException(
            f"stopped with {done:,} of {images:,} images done; the same command goes on from there"
        ) from None


@contextmanager
def _bar(images: int, done: int) -> Iterator[Advance]:
    """Moves on and counts the images without a reading."""
    errors = itertools.count(1)
    with tqdm(total=images, initial=done, unit="image", disable=None) as bar:

        def advance(found: Score) -> None:
            if found.error is not None:
                bar.set_postfix(errors=next(errors), refresh=False)
            bar.update()

        yield advance


def _rows(scores: Path, by: Sequence[str]) -> pd.DataFrame:
    with one_line_errors():
        table = open_scores(scores).table
    for name in columns_of(by):
        if name not in table.columns:
            raise click.UsageError(f"{scores.name} has no column {name!r}.")
    return table


def _every_image(dataset: Path, columns: Columns) -> Dataset:
    """List whatever ``score`` could have been told to take of it."""
    layout = layout_of(dataset)
    return open_dataset(dataset, layout=layout, all_classes=layout == "rsna", columns=columns)


for command in (calibrate, evaluate, compare, node, deidentify, demo, report):
    cli.add_command(command)

"""``cxr calibrate``: scores of a site's labelled films to a calibration of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from clients.calibration.site import FOLDS, RECOMMENDED, Films, FitOptions, Fitted, open_films
from clients.calibration.site import calibrate as fit_to_films
from clients.cli.evaluate import PATIENT, REPLICATES_OPTION
from clients.cli.terminal import READABLE_FILE, WRITABLE_FILE, one_line_errors
from clients.metrics.reliability import ProbabilityMeasures
from clients.reports.tables import aligned, format_interval, format_number
from service.files import replace_file
from service.findings.fitting import TARGET


def _asked(option: str, point: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        option, type=click.FloatRange(0, 1, min_open=True, max_open=True), default=TARGET,
        show_default=True, help=f"Asked of the operating point `{point}`.",
    )  # fmt: skip


@click.command()
@click.argument("scores", type=READABLE_FILE, nargs=-1, required=True)
@click.option(
    "--label", metavar="COLUMN", default="label", show_default=True,
    help="Column with 1 for pneumonia and 0 for none.",
)  # fmt: skip
@click.option("--out", type=WRITABLE_FILE, required=True, help="JSON file to write.")
@_asked("--sensitivity", "sensitive")
@_asked("--specificity", "specific")
@PATIENT
@REPLICATES_OPTION
def calibrate(scores: tuple[Path, ...], out: Path, **asked: Any) -> None:
    """Fit probabilities and thresholds to the labelled films of a site.

    SCORES are files of `cxr score`, all of one model and one calibration. Written are a temperature
    and a bias, of the highest likelihood, and the operating points balanced, sensitive and
    specific. Read with them by `cxr score --calibration` or CXR_CALIBRATION; they are good for this
    model alone.

    Films without a label or without a reading, and films that come twice, are left out and counted;
    films that come with both labels are refused.
    At least 20 films (with --patient: patients) of either class are needed, 100 are recommended.
    What is printed, and stored with the points, is cross-validated: each film is measured with what
    was fitted to others. Intervals are as those of `cxr evaluate`. The ECE of few films is not 0
    even where probabilities are perfect: a line says what it would be then.

    Exit status: 0 written; 1 refused, nothing is written; 2 wrong usage.

    Example:

    \b
        cxr calibrate scores.parquet --label label --out site.json
        cxr score more.csv --calibration site.json --out more.parquet
    """
    options = FitOptions(**asked)
    with one_line_errors():
        films = open_films(scores, options)
        found = fit_to_films(films, options)
    replace_file(out, found.site.model_dump_json(indent=2) + "\n")
    click.echo(_text(films, found, options))
    for warning in _warnings(films, found):
        click.echo(f"Warning: {warning}", err=True)


def _text(films: Films, found: Fitted, options: FitOptions) -> str:
    site = found.site
    left_out = f"{films.unread} unread, {films.unlabelled} unlabelled, {films.repeated} repeated"
    wanted = {
        "sensitive": f"sensitivity {options.sensitivity:g}",
        "specific": f"specificity {options.specificity:g}",
    }
    header = ["point", "asked", "threshold", "sensitivity, held out", "specificity, held out"]
    points = [
        [
            point.name,
            wanted.get(point.name, "-"),
            format_number(point.threshold),
            format_interval(point.sensitivity),
            format_interval(point.specificity),
        ]
        for point in found.points
    ]
    lines = [
        f"{films.model}: {site.films} films, {site.positives} with pneumonia; left out: {left_out}",
        f"temperature {site.calibration.temperature:.4f}, bias {site.calibration.bias:+.4f}",
        "",
        aligned(
            [
                ["probabilities", "ECE", "Brier", "NLL"],
                _measures("before", found.before),
                _measures(f"after, {FOLDS} folds", found.after),
                ["if they were perfect", format_interval(found.least), "", ""],
            ]
        ),
        "",
        aligned([header, *points]),
    ]
    return "\n".join(lines)


def _measures(name: str, measured: ProbabilityMeasures) -> list[str]:
    values = (measured.ece, measured.brier, measured.nll)
    return [name, *(format_interval(value) for value in values)]


def _warnings(films: Films, found: Fitted) -> Iterator[str]:
    if films.fewest < RECOMMENDED:
        yield (
            f"the rarer class has {films.fewest}; with fewer than {RECOMMENDED} the thresholds "
            "are rough"
        )
    if found.area is None or found.area.low <= 0.5:
        yield (
            "on these films the model does not tell pneumonia from none by more than chance: every "
            "probability will be near their share of pneumonia. Look at the labels"
        )

"""`cxr report`: the readings of films as DICOM objects of their studies."""

import sys
from pathlib import Path

import click

from clients import ChestXrayClient
from clients.cli.terminal import (
    INCOMPLETE,
    NOTICE,
    READABLE_FILE,
    URL,
    WRITABLE_FOLDER,
    extra,
    one_line_errors,
)


@click.command()
@click.argument("films", metavar="FILM...", nargs=-1, required=True, type=READABLE_FILE)
@click.option("--out", type=WRITABLE_FOLDER, required=True, help="Folder to write to.")
@click.option("--sr/--no-sr", default=True, help="Structured report [default: yes].")
@click.option("--sc/--no-sc", default=True, help="Heatmap as a colour picture [default: yes].")
@click.option("--gsps/--no-gsps", default=True, help="Presentation state [default: yes].")
@click.option("--seg/--no-seg", default=False, help="Segmentation of the heat [default: no].")
@click.option(
    "--refusals/--no-refusals", default=True,
    help="A report, without a probability, also for a film that is refused [default: yes].",
)  # fmt: skip
@URL
def report(films: tuple[Path, ...], out: Path, url: str, *, refusals: bool, **wanted: bool) -> None:
    """Read DICOM films and write the readings as DICOM objects to the folder OUT.

    The objects belong to the film's study and patient, and name the film. The service sees only
    what it needs of a film: pixels, display values, view and body part. A file is named by its
    kind and UID; the same reading of the same film has the same UID, and a file that is there
    already is left as it is. A service with API keys gets the one in the variable CXR_API_KEY.

    Exit status: 0 every film read; 3 all done, and some films were refused; 1 stopped, run again
    to continue; 2 wrong usage.

    Example:

    \b
        cxr report film.dcm --out results/
        cxr report *.dcm --out results/ --no-gsps --seg
    """
    with extra("dicom"):
        from clients.dicom import KINDS  # needs the extra
        from clients.dicom.folder import report_file
    chosen = frozenset(kind for kind in KINDS if wanted[kind])
    if not chosen:
        raise click.UsageError("No kind of object is left.")
    click.echo(NOTICE, err=True)
    out.mkdir(parents=True, exist_ok=True)
    refused = 0
    with one_line_errors(), ChestXrayClient(url) as client:
        for path in films:
            done = report_file(client, path, out, chosen, refusals=refusals)
            for target in done.files:
                click.echo(target)
            if done.refusal:
                click.echo(f"{path}: {done.refusal}", err=True)
                refused += 1
    if refused:
        sys.exit(INCOMPLETE)

"""`cxr-train import, join, sheet, realism, curate`: what is done with a data set that is there.

What is slow is imported by the commands, so that `--help` answers at once.
"""

from pathlib import Path
from typing import Any

import click

from training.cli.console import EXISTING_FOLDER, FOLDER


@click.command("import")
@click.argument("source", type=EXISTING_FOLDER)
@click.option("--into", type=FOLDER, required=True, help="Folder of the data set.")
@click.option("--label", type=click.Choice(["pneumonia", "normal"]), required=True)
@click.option("--generator", required=True, help="What drew them; one for each data set.")
@click.option("--model", default="", help="Which model and version of it, if known.")
def import_images(source: Path, into: Path, **options: Any) -> None:
    """Add the images of SOURCE, which were made elsewhere, to the data set of --into.

    PNG and JPEG files below SOURCE are copied as they are; a file that is there already is skipped,
    and anything that is not such an image ends the command before any is copied. Import the images
    of each label with a command of its own.

    Example:

    \b
        cxr-train import downloads/sick --label pneumonia --generator sana --into data/sana
        cxr-train import downloads/well --label normal --generator sana --into data/sana
    """
    from training.generate.imported import import_folder

    click.echo(import_folder(source, into, **options))


@click.command("join")
@click.argument("folder", type=FOLDER)
@click.argument("parts", nargs=-1, required=True, type=EXISTING_FOLDER)
def join_datasets(folder: Path, parts: tuple[Path, ...]) -> None:
    """Make a data set in FOLDER of the images of PARTS, which stay where they are.

    Patients are split into those that train and those that do not by a hash, so that a patient of
    PARTS is in the same split whatever it is joined with.

    Example:

    \b
        cxr-train join data/default data/phantom data/ct
    """
    from training.generate.joined import join

    click.echo(join(folder, parts))


@click.command()
@click.argument("source", type=EXISTING_FOLDER)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--rows", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--columns", type=click.IntRange(min=1), default=8, show_default=True)
def sheet(source: Path, out: Path, rows: int, columns: int) -> None:
    """Draw a contact sheet of the data set in SOURCE as the PNG file OUT.

    Example:

    \b
        cxr-train sheet data/default sheet.png
    """
    from training.generate.sheet import contact_sheet

    click.echo(contact_sheet(source, out, rows=rows, columns=columns))


@click.command()
@click.argument("data", type=EXISTING_FOLDER)
@click.argument("films", type=EXISTING_FOLDER)
def realism(data: Path, films: Path) -> None:
    """Print simple numbers of the data set in DATA beside those of the real films in FILMS.

    DATA holds manifest.parquet, FILMS labels.csv with the columns path, label and source. Shown are
    medians by class, in boxes that are the same on every film. They tell whether disease changes
    the synthetic films as it changes real ones; nothing is to be fitted to them.

    Example:

    \b
        cxr-train realism data/default films
    """
    from training.curate.realism import compare

    click.echo(compare(data, films).to_string(index=False, float_format="{:.3f}".format))


@click.command()
@click.argument("source", type=EXISTING_FOLDER)
@click.argument("out", type=FOLDER)
@click.option(
    "--model",
    type=EXISTING_FOLDER,
    help="Also reject images whose embeddings by this model are far from the rest. Take a model "
    "that was not trained to tell pneumonia: to one that was, the sickest are the farthest.",
)
def curate(source: Path, out: Path, model: Path | None) -> None:
    """Crop the data set in SOURCE into OUT, and leave out what is not fit to train on.

    Blank margins, frames, bands of captions and the visible watermark are removed by one rule for
    both classes; SOURCE is not changed. Rejected are images that cannot be read, are coloured,
    blank, of a wrong aspect, several panels, lateral, written over, or nearly the same as another,
    and the partners of rejected images in pairs. OUT/report.html shows what was kept, its balance,
    and what was rejected and why. The same command goes on where the last one stopped.

    Example:

    \b
        cxr-train curate data/banana data/banana-cropped
        cxr-train curate data/banana data/banana-cropped --model models/untrained/1
    """
    from training.curate.run import curate as write_cropped

    done = write_cropped(source, out, model=model)
    click.echo(f"{done.kept} kept, {done.rejected} rejected: {done.report}", err=True)
    click.echo(done.manifest)

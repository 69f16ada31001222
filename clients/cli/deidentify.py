"""`cxr deidentify`: films without their patients."""

import secrets
import sys
from pathlib import Path

import click

from clients.cli.terminal import INCOMPLETE, READABLE, READABLE_FILE, WRITABLE_FOLDER, extra
from service.files import write_new

KEY_BYTES = 32


@click.command()
@click.argument("source", metavar="IN", type=READABLE)
@click.argument("out", type=WRITABLE_FOLDER)
@click.option(
    "--key", type=READABLE_FILE,
    help="File with a secret: the same UIDs in every run [default: a secret of this run].",
)  # fmt: skip
def deidentify(source: Path, out: Path, key: Path | None) -> None:
    """Write the DICOM films of IN, a file or a folder, to the folder OUT without their patients.

    The Basic Profile of DICOM PS3.15, edition 2026c: names, numbers, dates, comments and private
    elements go, UIDs are replaced, so that films of a study stay together. A file is named by its
    new UID, since its old name may name a patient. Text that is burned into the pixels stays: the
    command warns where a film does not say that there is none.

    Exit status: 0 every file written; 3 all done, and some files are no films that can be parsed,
    or OUT has another file of that name, which stays; 1 stopped; 2 wrong usage.

    Example:

    \b
        cxr deidentify films/ shared/
        cxr deidentify film.dcm shared/ --key secret.key
    """
    with extra("dicom"):
        from clients.dicom.deidentify import (  # needs the extra
            DeidentificationError,
            Deidentifier,
        )
    try:
        deidentifier = Deidentifier(key.read_bytes() if key else secrets.token_bytes(KEY_BYTES))
    except DeidentificationError as error:
        raise click.BadParameter(str(error), param_hint="--key") from error
    out.mkdir(parents=True, exist_ok=True)
    left_out = 0
    for path in _files(source):
        try:
            film = deidentifier(path.read_bytes())
        except DeidentificationError as error:
            click.echo(f"{path}: {error}", err=True)
            left_out += 1
            continue
        target = out / f"{film.name}.dcm"
        if not write_new(target, film.data) and target.read_bytes() != film.data:
            click.echo(
                f"{path}: {target} is there with other content, and stays. Remove it, or choose "
                "another folder.",
                err=True,
            )
            left_out += 1
            continue
        for warning in film.warnings:
            click.echo(f"Warning: {target}: {warning}", err=True)
        click.echo(target)
    if left_out:
        sys.exit(INCOMPLETE)


def _files(source: Path) -> list[Path]:
    return [source] if source.is_file() else sorted(filter(Path.is_file, source.rglob("*")))

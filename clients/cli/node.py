"""`cxr node`: a DICOM node that reads what it is sent, and commands for what waits in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clients.cli.terminal import INCOMPLETE, NOTICE, READABLE_FILE, extra, one_line_errors

if TYPE_CHECKING:
    from clients.dicom.node.spool import Spool

MOST_LETTERS = 1000

CONFIG = click.option(
    "--config", type=READABLE_FILE, required=True, help="TOML file, see docs/node.md."
)


@click.group(invoke_without_command=True, epilog=NOTICE)
@click.option("--config", type=READABLE_FILE, help="TOML file, see docs/node.md.")
@click.pass_context
def node(context: click.Context, config: Path | None) -> None:
    """Run a DICOM node: films in, results to the archive; until SIGTERM or SIGINT.

    Takes films by C-STORE, STOW-RS or polling, has the service read them, and sends structured
    reports and pictures to the destinations. A film that was answered "stored" is not lost: results
    wait for archives that are down. Needs the extra `dicom`, and a running service.

    Exit status: 0 stopped; 1 it could not start; 2 wrong usage.

    Example:

    \b
        cxr node --config node.toml
    """
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise click.UsageError("Missing option '--config'.")
    with extra("dicom"):
        from clients.dicom.node.command import run
        from clients.dicom.node.config import load
    click.echo(NOTICE, err=True)
    with one_line_errors():
        run(load(config), config)


@node.command()
@CONFIG
def status(config: Path) -> None:
    """Count films and deliveries by state, and list what failed or is tried again.

    A line of the list is: film, reading or destination, state, attempts, code. A film that is
    "aside" came under the UID of another one with other bytes. A "commitment" names the sender that
    waits to be told which films are safe, instead of a film.

    Exit status: 0 nothing is given up; 3 there are dead letters; 1 no spool.

    Example:

    \b
        cxr node status --config node.toml
    """
    from clients.dicom.node import upkeep

    with one_line_errors(), _spool(config) as spool:
        counts = upkeep.counts(spool)
        letters = upkeep.letters(spool, MOST_LETTERS)
        oldest = upkeep.oldest_seconds(spool)
    for (what, state), count in sorted(counts.items()):
        click.echo(f"{what:16} {state:8} {count:8,}")
    click.echo(f"oldest waits {oldest:.0f} s")
    for letter in letters:
        click.echo(f"{letter.key} {letter.what} {letter.state} {letter.tries} {letter.code}")
    if any(state == "dead" and count for (_, state), count in counts.items()):
        raise SystemExit(INCOMPLETE)


@node.command()
@CONFIG
@click.argument("film", required=False)
def retry(config: Path, film: str | None) -> None:
    """Try dead letters again: all, or those of FILM, as `status` names it.

    Example:

    \b
        cxr node retry --config node.toml
    """
    from clients.dicom.node import upkeep

    with one_line_errors(), _spool(config) as spool:
        click.echo(f"{upkeep.retry(spool, film)} tried again")


@node.command()
@CONFIG
@click.argument("film", required=False)
def purge(config: Path, film: str | None) -> None:
    """Remove dead letters with their films and results: all, or FILM, as `status` names it.

    A film whose results still wait for another archive goes only where it is named as FILM. Other
    bytes of a film, which were kept aside, are removed too. A film that is sent again
    afterwards is read as a new one; polling does not fetch it again.

    Example:

    \b
        cxr node purge --config node.toml 0123456789abcdef
    """
    from clients.dicom.node import upkeep

    with one_line_errors(), _spool(config) as spool:
        click.echo(f"{upkeep.purge(spool, film)} removed")


@contextmanager
def _spool(config: Path) -> Iterator["Spool"]:
    from clients.dicom.node.config import ConfigError, load
    from clients.dicom.node.spool import Spool

    folder = load(config).spool
    if not (folder / "node.db").exists():
        raise ConfigError(f"no node has run in {folder} yet")
    spool = Spool(folder)
    try:
        yield spool
    finally:
        spool.close()

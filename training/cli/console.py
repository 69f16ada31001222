"""What the commands of `cxr-train` have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from service.errors import ReadingError

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print what the user can put right as one line, without a traceback."""
    try:
        yield
    except (ReadingError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error

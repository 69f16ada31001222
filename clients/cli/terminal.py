"""What the commands of ``cxr`` share: kinds of paths, and errors as one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from clients.datasets.items import DatasetError
from clients.metrics.weighting import WeightError
from clients.scoring.score import OtherRun, ScoringError
from clients.scoring.scored import EvaluationError
from clients.sdk.errors import ChestXrayError
from clients.sdk.key import MalformedKey
from service.errors import ReadingError
from service.settings import SettingError

NOTICE = "Research software, not a medical device."
INCOMPLETE = 3  # exit status: done, but for some that were refused or given up

READABLE = click.Path(exists=True, path_type=Path)
READABLE_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
READABLE_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

URL = click.option(
    "--url", envvar="CXR_URL", default="http://localhost:3000", show_default=True,
    show_envvar=True, help="Address of a running service.",
)  # fmt: skip


class WritableFile(click.Path):
    """A file to write; that it cannot be written is told before any work is done.

    Parameters
    ----------
    makes_folders
        Whether the command makes the folders above that are missing.
    """

    def __init__(self, *, makes_folders: bool = False) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)
        self._makes_folders = makes_folders

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse a file in a folder that is missing or may not be written to."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        above = path.absolute().parent
        if self._makes_folders:
            above = next(folder for folder in (above, *above.parents) if folder.exists())
        if not above.is_dir():
            self.fail(f"there is no folder {str(path.parent)!r}; make it first", param, ctx)
        if not os.access(above, os.W_OK | os.X_OK):
            self.fail(f"the folder {str(above)!r} may not be written to", param, ctx)
        return path


WRITABLE_FILE = WritableFile()
WRITABLE_FOLDER = click.Path(file_okay=False, writable=True, path_type=Path)


class WrongInput(click.ClickException):
    """What was given has to change: to run again what ended so is of no use."""

    exit_code = 2


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End a command with one line and exit status 1 where something is refused or missing.

    A dataset that cannot be listed, scores of another run and weights that are none are wrong
    arguments: exit status 2.
    """
    try:
        yield
    except (DatasetError, OtherRun) as error:
        raise WrongInput(str(error)) from error
    except WeightError as error:
        raise click.BadParameter(str(error), param_hint="--weights") from error
    except (
        ChestXrayError, EvaluationError, MalformedKey, ReadingError, ScoringError, SettingError
    ) as error:  # fmt: skip
        raise click.ClickException(str(error)) from error


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Say which extra is missing where an import of its libraries fails."""
    try:
        yield
    except ModuleNotFoundError as missing:
        raise click.ClickException(
            f"{missing.name} is not installed; install nanocxr with its extra `{name}`"
        ) from missing

"""What the commands of ``cxr`` share: kinds of paths, and errors as one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from clients.datasets.items import DatasetError
from clients.metrics.weighting import WeightError
from clients.scoring.score import ScoringError
from clients.scoring.scored import EvaluationError
from clients.sdk.errors import ChestXrayError
from service.errors import ReadingError
from service.settings import SettingError

NOTICE = "Research software, not a medical device."

READABLE = click.Path(exists=True, path_type=Path)
READABLE_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
READABLE_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
WRITABLE_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)
WRITABLE_FOLDER = click.Path(file_okay=False, writable=True, path_type=Path)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End a command with one line and exit status 1 where something is refused or missing.

    Weights that are none are a wrong argument: exit status 2.
    """
    try:
        yield
    except WeightError as error:
        raise click.BadParameter(str(error), param_hint="--weights") from error
    except (
        ChestXrayError, DatasetError, EvaluationError, ReadingError, ScoringError, SettingError
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

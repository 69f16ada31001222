"""What the commands of `cxr-train` have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.errors import ReadingError

if TYPE_CHECKING:
    from training.config import Config

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class OneLineErrors(click.Group):
    """Commands that print what the user can put right as one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # `| head` has seen enough: click ends without a word
            raise
        except (ReadingError, ValueError, OSError) as error:
            raise click.ClickException(str(error)) from error


def with_config_and_run(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument CONFIG and the option --run to a command."""
    run = click.option("--run", type=FOLDER, help="Run folder; runs/<name in CONFIG> by default.")
    return click.argument("config", type=FILE)(run(command))


def open_run(config: Path, run: Path | None) -> "tuple[Config, Path]":
    """Configuration and run folder that a command was given."""
    from training.config import Config  # torch

    loaded = Config.load(config)
    return loaded, Path("runs", loaded.name) if run is None else run

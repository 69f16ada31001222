"""What ``cxr --version`` says: the package, the model that reads by default, and what runs it."""

from collections.abc import Iterator

import click

from service.errors import ReadingError
from service.model.bundle import MANIFEST
from service.model.manifest import Manifest
from service.settings import Settings
from service.version import VERSION


def show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001  click's signature
    """Print the version and end the command, where ``wanted``."""
    if not wanted or context.resilient_parsing:
        return
    try:
        settings = Settings.from_env()
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for line in version_lines(settings):
        click.echo(line)
    context.exit()


def version_lines(settings: Settings) -> Iterator[str]:
    """One line each for package, model and runtime, or the reason why there is none.

    It takes the manifest's word for the model; ``cxr doctor`` proves it.
    """
    yield f"nanocxr {VERSION}"
    for name, describe in (("model", _model), ("onnxruntime", _runtime)):
        try:
            yield f"{name} {describe(settings)}"
        except ReadingError as error:
            yield f"{name} none: {error}"


def _model(settings: Settings) -> str:
    manifest = Manifest.load(settings.model / MANIFEST)
    return f"{manifest.identity}, SHA-256 {manifest.identity.sha256[:12]}"


def _runtime(settings: Settings) -> str:
    # Only here is onnxruntime imported; the other options of `cxr` do without.
    from service.model.session import runtime

    found = runtime(settings.provider)
    return f"{found.version}, {found.provider}"

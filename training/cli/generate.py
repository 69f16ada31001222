"""`cxr-train generate` and `cxr-train import`: data sets of synthetic radiographs.

Nothing slow is imported before a command runs, so that `--help` answers at once.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from training.cli.console import FILE, FOLDER, one_line_errors

if TYPE_CHECKING:
    from training.generate.nanobanana.settings import NanoBananaSettings

INCOMPLETE = 3  # exit status, as that of `cxr score`

# Which generators take an option; each option's help begins with their names.
_NANO, _ROENTGEN = "nano-banana", "roentgen-v2"
_OPTIONS = {
    "phantom": {"size", "workers", "lesion"},
    "ct": {"size", "workers", "lesion", "volumes", "device"},
    _NANO: {
        *("model", "templates", "max_images", "vertex", "aspect_ratio", "image_size"),
        *("concurrency", "batch", "job", "max_cost", "price", "refusals", "retries"),
        *("backoff", "timeout", "poll", "dry_run"),
    },
    _ROENTGEN: {
        *("model", "templates", "max_images", "guidance", "steps", "batch_size", "device"),
        *("dtype", "dry_run"),
    },
}


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Join decorators, the first on top of the help."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_number, _positive = click.IntRange(min=1), click.FloatRange(min=0, min_open=True)
_drawn_options = _options(
    click.option(
        "--size", type=click.IntRange(min=32), help="phantom, ct: pixels.  [default: 256]"
    ),
    click.option("--workers", type=_number, help="phantom, ct: processes.  [default: all cores]"),
    click.option(
        "--lesion/--no-lesion", default=None, help="phantom, ct: without, both classes are alike."
    ),
    click.option(
        "--volumes",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="ct: folder of DICOM series, each in a folder of its own, or NIfTI files.",
    ),
)
_prompt_options = _options(
    click.option(
        "--model",
        help="nano-banana: model id; roentgen-v2: id or folder.  "
        "[default: gemini-nano-banana-2.1; stanfordmimi/RoentGen-v2]",
    ),
    click.option("--templates", type=FILE, help="nano-banana, roentgen-v2: TOML file of prompts."),
    click.option(
        "--max-images", type=_number, help="nano-banana, roentgen-v2: stop at so many in FOLDER."
    ),
    click.option(
        "--dry-run",
        is_flag=True,
        default=None,
        help="nano-banana, roentgen-v2: print prompts, their number and cost; draw nothing.",
    ),
)
_nano_options = _options(
    click.option("--vertex", is_flag=True, default=None, help="nano-banana: ask Vertex AI."),
    click.option("--aspect-ratio", help="nano-banana: of the images.  [default: 1:1]"),
    click.option("--image-size", help="nano-banana: 1K, 2K, 4K.  [default: the model's, 1K]"),
    click.option(
        "--concurrency", type=_number, help="nano-banana: requests in flight.  [default: 4]"
    ),
    click.option(
        "--batch",
        is_flag=True,
        default=None,
        help="nano-banana: use the Batch API, at half the price and within a day.",
    ),
    click.option("--job", help="nano-banana: name of a batch job to collect first."),
    click.option(
        "--max-cost", type=_positive, help="nano-banana: stop before FOLDER has cost so many US$."
    ),
    click.option(
        "--price",
        type=_positive,
        help="nano-banana: US$ for an image asked online.  [default: as read in November 2026]",
    ),
    click.option(
        "--refusals",
        type=_number,
        help="nano-banana: give a request up when refused so often.  [default: 4]",
    ),
    click.option(
        "--retries", type=_number, help="nano-banana: repetitions after a fault.  [default: 8]"
    ),
    click.option(
        "--backoff", type=_positive, help="nano-banana: seconds, first pause.  [default: 1]"
    ),
    click.option(
        "--timeout", type=_positive, help="nano-banana: seconds for an answer.  [default: 180]"
    ),
    click.option(
        "--poll", type=_positive, help="nano-banana: seconds between looks at a job.  [default: 30]"
    ),
)
_roentgen_options = _options(
    click.option("--guidance", type=_positive, help="roentgen-v2: scale.  [default: 3]"),
    click.option("--steps", type=_number, help="roentgen-v2: of denoising.  [default: 75]"),
    click.option("--batch-size", type=_number, help="roentgen-v2: images at once.  [default: 4]"),
    click.option(
        "--device",
        help="ct, roentgen-v2: cpu, cuda, ...  [default: cpu; roentgen-v2: cuda where there is]",
    ),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "bfloat16", "float16"]),
        help="roentgen-v2: of the network.  [default: bfloat16 on cuda, else float32]",
    ),
)


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--generator", type=click.Choice(list(_OPTIONS)), default="phantom", show_default=True
)
@click.option("--pairs", type=_number, required=True, help="Two images each.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@_drawn_options
@_prompt_options
@_nano_options
@_roentgen_options
def generate(folder: Path, generator: str, pairs: int, seed: int, **options: Any) -> None:
    """Make a data set of synthetic radiographs in FOLDER, or complete one that was interrupted.

    A pair is one patient without and with pneumonia. The phantom needs nothing; ct needs chest CT
    series in --volumes; roentgen-v2 needs the extra `roentgen` and its weights; nano-banana needs a
    key in GEMINI_API_KEY or GOOGLE_API_KEY, and costs money: begin with --dry-run, then with
    --max-images 20.

    --max-images and --max-cost hold for the folder, whatever the number of runs. Exit status: 0
    complete; 3 not complete, the last line says why; 1 stopped by an error. The same command goes
    on where the last one stopped, and never asks for an image that is there.

    Example:

    \b
        cxr-train generate data/default --pairs 5000 --seed 1
        cxr-train generate data/ct --generator ct --volumes scans --pairs 5000 --seed 1
        cxr-train generate data/banana --generator nano-banana --pairs 500 --dry-run
        cxr-train generate data/banana --generator nano-banana --pairs 500 --batch --max-cost 20
        cxr-train generate data/roentgen --generator roentgen-v2 --pairs 500 --device cuda
    """  # noqa: D301  click needs the \b itself
    given = {name: value for name, value in options.items() if value is not None}
    for name in sorted(given.keys() - _OPTIONS[generator]):
        raise click.UsageError(f"--{name.replace('_', '-')} is not an option of {generator}")
    make = {"phantom": _phantom, "ct": _ct, _NANO: _nano_banana, _ROENTGEN: _roentgen}[generator]
    with one_line_errors():
        make(folder, pairs, seed, given)


def _phantom(folder: Path, pairs: int, seed: int, given: dict[str, Any]) -> None:
    from training.generate.store import generate as write_dataset  # noqa: PLC0415

    workers = {"workers": os.cpu_count() or 1}
    click.echo(write_dataset(folder, pairs=pairs, seed=seed, **workers | given))


def _ct(folder: Path, pairs: int, seed: int, given: dict[str, Any]) -> None:
    from training.generate.ct.render import Ct  # noqa: PLC0415
    from training.generate.store import generate as write_dataset  # noqa: PLC0415

    if "volumes" not in given:
        raise click.UsageError("ct needs --volumes, a folder of chest CT series")
    volumes, device = given.pop("volumes"), given.pop("device", "cpu")
    options = {"workers": os.cpu_count() or 1} | given
    generator = Ct.open(volumes, folder / "volumes", device=device, workers=options["workers"])
    click.echo(
        write_dataset(
            folder,
            generator=generator,
            pairs=pairs,
            seed=seed,
            sources=generator.sources,
            **options,
        )
    )


def _nano_banana(folder: Path, pairs: int, seed: int, given: dict[str, Any]) -> None:
    from training.generate.nanobanana.run import estimate  # noqa: PLC0415
    from training.generate.nanobanana.run import generate as ask  # noqa: PLC0415
    from training.generate.nanobanana.settings import NanoBananaSettings  # noqa: PLC0415

    dry_run = given.pop("dry_run", False)
    settings = NanoBananaSettings(**given)
    if dry_run:
        expected = estimate(folder, pairs=pairs, seed=seed, settings=settings)
        _print_prompts(expected.prompts)
        click.echo(f"{len(expected.prompts)} images; {_cost(settings, expected.cost)}")
        return
    outcome = ask(folder, pairs=pairs, seed=seed, settings=settings)
    refusals = ", ".join(f"{count} {reason}" for reason, count in sorted(outcome.refusals.items()))
    click.echo(f"refused: {refusals or 'none'}; spent: US$ {outcome.spent:.4f}", err=True)
    _finish(outcome.manifest, outcome.images, outcome.wanted, outcome.reason)


def _cost(settings: "NanoBananaSettings", total: float | None) -> str:
    """Say what the images cost together and each, and where the price comes from."""
    from training.generate.nanobanana.settings import PRICES_SOURCE  # noqa: PLC0415

    if total is None:
        return f"the price of {settings.model} is not known: give --price"
    source = "as given" if settings.price is not None else f"from {PRICES_SOURCE}"
    share = ", half of it in batches" if settings.batch else ""
    return f"estimated cost US$ {total:.2f}, US$ {settings.cost:.4f} each (price {source}{share})"


def _roentgen(folder: Path, pairs: int, seed: int, given: dict[str, Any]) -> None:
    try:
        from training.generate.roentgen import (  # noqa: PLC0415
            RoentgenSettings,
            draw,
            missing_prompts,
        )
    except ModuleNotFoundError as error:
        raise click.ClickException(f'{error.name} is missing: install ".[roentgen]"') from None

    dry_run = given.pop("dry_run", False)
    settings = RoentgenSettings(**given)
    if dry_run:
        prompts = missing_prompts(folder, pairs=pairs, seed=seed, settings=settings)
        _print_prompts(prompts)
        click.echo(f"{len(prompts)} images")
        return
    manifest, images, wanted = draw(folder, pairs=pairs, seed=seed, settings=settings)
    _finish(manifest, images, wanted, f"--max-images {settings.max_images} reached")


def _print_prompts(prompts: Mapping[str, str]) -> None:
    for request, prompt in prompts.items():
        click.echo(f"{request}  {prompt}")


def _finish(manifest: Path | None, images: int, wanted: int, reason: str) -> None:
    """Print the manifest; exit with status 3 if images are missing, saying why."""
    if manifest is not None:
        click.echo(manifest)
    if images < wanted:
        click.echo(f"{images} of {wanted} images: {reason}", err=True)
        raise SystemExit(INCOMPLETE)


@click.command("import")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
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
    """  # noqa: D301  click needs the \b itself
    from training.generate.imported import import_folder  # noqa: PLC0415

    with one_line_errors():
        click.echo(import_folder(source, into, **options))


@click.command("join")
@click.argument("folder", type=FOLDER)
@click.argument(
    "parts",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
def join_datasets(folder: Path, parts: tuple[Path, ...]) -> None:
    """Make a data set in FOLDER of the images of PARTS, which stay where they are.

    Patients are split into those that train and those that do not by a hash, so that a patient of
    PARTS is in the same split whatever it is joined with.

    Example:

    \b
        cxr-train join data/default data/phantom data/ct
    """  # noqa: D301  click needs the \b itself
    from training.generate.joined import join  # noqa: PLC0415

    with one_line_errors():
        click.echo(join(folder, parts))

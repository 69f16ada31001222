"""`cxr-train generate`: data sets of synthetic radiographs.

Nothing slow is imported before a command runs, so that `--help` answers at once.
"""

from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.processor import cores
from training.cli.console import EXISTING_FOLDER, FILE, FOLDER

if TYPE_CHECKING:
    from training.generate.nanobanana.settings import NanoBananaSettings
    from training.generate.roentgen import RoentgenSettings

INCOMPLETE = 3  # exit status, as that of `cxr score`

_NANO, _ROENTGEN = "nano-banana", "roentgen-v2"
_number, _positive = click.IntRange(min=1), click.FloatRange(min=0, min_open=True)
_flag: dict[str, Any] = {"is_flag": True, "default": None}
_taken_by: dict[str, str] = {}  # generators by the name of an option


def _option(declaration: str, text: str, *, taken_by: str = "", **settings: Any) -> Any:
    """An option of some generators, which its help begins with unless ``taken_by`` says them."""
    name = declaration.partition("/")[0].removeprefix("--").replace("-", "_")
    _taken_by[name] = taken_by or text.partition(":")[0]
    return click.option(declaration, help=text, **settings)


_OPTIONS = (
    _option("--size", "phantom, ct: pixels.  [default: 256]", type=click.IntRange(min=32)),
    _option("--workers", "phantom, ct: processes.  [default: all cores]", type=_number),
    _option("--lesion/--no-lesion", "phantom, ct: without, both classes are alike.", default=None),
    _option(
        "--volumes",
        "ct: folder of DICOM series, each in a folder of its own, or NIfTI files.",
        type=EXISTING_FOLDER,
    ),
    _option(
        "--model",
        "nano-banana: model id; roentgen-v2: id or folder.  "
        "[default: gemini-nano-banana-2.1; stanfordmimi/RoentGen-v2]",
        taken_by="nano-banana, roentgen-v2",
    ),
    _option("--templates", "nano-banana, roentgen-v2: TOML file of prompts.", type=FILE),
    _option("--max-images", "nano-banana, roentgen-v2: stop at so many in FOLDER.", type=_number),
    _option(
        "--dry-run",
        "nano-banana, roentgen-v2: print prompts, their number and cost; draw nothing.",
        **_flag,
    ),
    _option("--vertex", "nano-banana: ask Vertex AI.", **_flag),
    _option("--aspect-ratio", "nano-banana: of the images.  [default: 1:1]"),
    _option("--image-size", "nano-banana: 1K, 2K, 4K.  [default: the model's, 1K]"),
    _option("--concurrency", "nano-banana: requests in flight.  [default: 4]", type=_number),
    _option(
        "--batch", "nano-banana: use the Batch API, at half the price and within a day.", **_flag
    ),
    _option("--job", "nano-banana: name of a batch job to collect first."),
    _option("--max-cost", "nano-banana: stop before FOLDER has cost so many US$.", type=_positive),
    _option(
        "--price",
        "nano-banana: US$ for an image asked online.  [default: as read in November 2026]",
        type=_positive,
    ),
    _option(
        "--max-unusable",
        "nano-banana: stop at so many useless answers among the last four times as many.  "
        "[default: 10]",
        type=_number,
    ),
    _option(
        "--refusals",
        "nano-banana: give a request up when refused so often.  [default: 4]",
        type=_number,
    ),
    _option("--retries", "nano-banana: repetitions after a fault.  [default: 8]", type=_number),
    _option("--backoff", "nano-banana: seconds, first pause.  [default: 1]", type=_positive),
    _option(
        "--timeout", "nano-banana: seconds for a whole answer.  [default: 180]", type=_positive
    ),
    _option(
        "--poll", "nano-banana: seconds between looks at a job.  [default: 30]", type=_positive
    ),
    _option("--guidance", "roentgen-v2: scale.  [default: 3]", type=_positive),
    _option("--steps", "roentgen-v2: of denoising.  [default: 75]", type=_number),
    _option("--batch-size", "roentgen-v2: images at once.  [default: 4]", type=_number),
    _option(
        "--device",
        "ct, roentgen-v2: cpu, cuda, ...  [default: cpu; roentgen-v2: cuda where there is]",
    ),
    _option(
        "--dtype",
        "roentgen-v2: of the network.  [default: bfloat16 on cuda, else float32]",
        type=click.Choice(["float32", "bfloat16", "float16"]),
    ),
)


def _with_options(command: Any) -> Any:
    """Add the options to a command, in their order."""
    return reduce(lambda wrapped, option: option(wrapped), reversed(_OPTIONS), command)


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--generator",
    type=click.Choice(["phantom", "ct", _NANO, _ROENTGEN]),
    default="phantom",
    show_default=True,
)
@click.option("--pairs", type=_number, required=True, help="Two images each.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@_with_options
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
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in sorted(given):
        if generator not in _taken_by[name].split(", "):
            raise click.UsageError(f"--{name.replace('_', '-')} is not an option of {generator}")
    make = {"phantom": _write, "ct": _ct, _NANO: _nano_banana, _ROENTGEN: _roentgen}[generator]
    make(folder, pairs, seed, given)


def _write(folder: Path, pairs: int, seed: int, given: dict[str, Any]) -> None:
    from training.generate.store import generate as write_dataset

    workers = {"workers": cores()}
    click.echo(write_dataset(folder, pairs=pairs, seed=seed, **workers | given))


def _ct(folder: Path, pairs: int, seed: int, given: dict[str, Any]) -> None:
    from training.generate.ct.render import Ct

    if "volumes" not in given:
        raise click.UsageError("ct needs --volumes, a folder of chest CT series")
    volumes, device = given.pop("volumes"), given.pop("device", "cpu")
    workers = given.get("workers") or cores()
    generator = Ct.open(volumes, folder / "volumes", device=device, workers=workers)
    _write(folder, pairs, seed, given | {"generator": generator, "sources": generator.sources})


def _nano_banana(folder: Path, pairs: int, seed: int, given: dict[str, Any]) -> None:
    from training.generate.nanobanana.run import generate as ask
    from training.generate.nanobanana.settings import NanoBananaSettings

    dry_run = given.pop("dry_run", False)
    settings = NanoBananaSettings(**given)
    if dry_run:
        images = _print_prompts(settings, folder, pairs, seed)
        click.echo(f"{images} images; {_cost(settings, images)}")
        return
    outcome = ask(folder, pairs=pairs, seed=seed, settings=settings)
    refusals = ", ".join(f"{count} {reason}" for reason, count in sorted(outcome.refusals.items()))
    click.echo(f"refused: {refusals or 'none'}; spent: US$ {outcome.spent:.4f}", err=True)
    if outcome.aside is not None:
        click.echo(f"delivered, but not in the data set as it came: {outcome.aside}", err=True)
    _finish(outcome.manifest, outcome.images, outcome.wanted, outcome.reason)


def _cost(settings: "NanoBananaSettings", images: int) -> str:
    """Say what images cost together and each if none is refused, and whose price that is."""
    from training.generate.nanobanana.settings import PRICES_SOURCE

    each = settings.cost
    if each is None:
        return f"the price of {settings.model} is not known: give --price"
    source = "as given" if settings.price is not None else f"from {PRICES_SOURCE}"
    share = ", half of it in batches" if settings.batch else ""
    return f"estimated cost US$ {images * each:.2f}, US$ {each:.4f} each (price {source}{share})"


def _roentgen(folder: Path, pairs: int, seed: int, given: dict[str, Any]) -> None:
    try:
        from training.generate.roentgen import RoentgenSettings, draw
    except ModuleNotFoundError as error:
        raise click.ClickException(f'{error.name} is missing: install ".[roentgen]"') from None

    dry_run = given.pop("dry_run", False)
    settings = RoentgenSettings(**given)
    if dry_run:
        click.echo(f"{_print_prompts(settings, folder, pairs, seed)} images")
        return
    manifest, images, wanted = draw(folder, pairs=pairs, seed=seed, settings=settings)
    _finish(manifest, images, wanted, f"--max-images {settings.max_images} reached")


def _print_prompts(
    settings: "NanoBananaSettings | RoentgenSettings", folder: Path, pairs: int, seed: int
) -> int:
    """Print what would be asked, and say how many images that are."""
    prompts = settings.plan(pairs, seed).missing_prompts(folder, settings.max_images)
    for request, prompt in prompts.items():
        click.echo(f"{request}  {prompt}")
    return len(prompts)


def _finish(manifest: Path | None, images: int, wanted: int, reason: str) -> None:
    """Print the manifest; exit with status 3 if images are missing, saying why."""
    if manifest is not None:
        click.echo(manifest)
    if images < wanted:
        click.echo(f"{images} of {wanted} images: {reason}", err=True)
        raise SystemExit(INCOMPLETE)

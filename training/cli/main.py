"""`cxr-train`: generate, import -> sheet -> curate -> fit -> export -> package -> gate -> verify.

Each command is thin and can be repeated: what is complete is skipped or resumed. torch and
everything slow is imported inside the commands, so that `--help` answers at once.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from training.cli.console import FILE, FOLDER, one_line_errors
from training.cli.generate import generate, import_images, join_datasets

if TYPE_CHECKING:
    from training.config import Config


@click.group()
@click.version_option(package_name="nanocxr")
def cli() -> None:
    """Train a chest radiograph model on synthetic images.

    Research software, not a medical device.
    """


cli.add_command(generate)
cli.add_command(import_images)
cli.add_command(join_datasets)


def with_config_and_run(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument CONFIG and the option --run to a command."""
    run = click.option("--run", type=FOLDER, help="Run folder; runs/<name in CONFIG> by default.")
    return click.argument("config", type=FILE)(run(command))


def _open(config: Path, run: Path | None) -> "tuple[Config, Path]":
    from training.config import Config  # noqa: PLC0415

    loaded = Config.load(config)
    return loaded, Path("runs", loaded.name) if run is None else run


@cli.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--rows", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--columns", type=click.IntRange(min=1), default=8, show_default=True)
def sheet(source: Path, out: Path, rows: int, columns: int) -> None:
    """Draw a contact sheet of the data set in SOURCE as the PNG file OUT.

    Example:

    \b
        cxr-train sheet data/default sheet.png
    """  # noqa: D301  click needs the \b itself
    from training.generate.sheet import contact_sheet  # noqa: PLC0415

    with one_line_errors():
        click.echo(contact_sheet(source, out, rows=rows, columns=columns))


@cli.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("films", type=click.Path(exists=True, file_okay=False, path_type=Path))
def realism(data: Path, films: Path) -> None:
    """Print simple numbers of the data set in DATA beside those of the real films in FILMS.

    DATA holds manifest.parquet, FILMS labels.csv with the columns path, label and source. Shown are
    medians by class, in boxes that are the same on every film. They tell whether disease changes
    the synthetic films as it changes real ones; nothing is to be fitted to them.

    Example:

    \b
        cxr-train realism data/default films
    """  # noqa: D301  click needs the \b itself
    from training.curate.realism import compare  # noqa: PLC0415

    with one_line_errors():
        click.echo(compare(data, films).to_string(index=False, float_format="{:.3f}".format))


@cli.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=FOLDER)
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
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
    """  # noqa: D301  click needs the \b itself
    from training.curate.run import curate as write_cropped  # noqa: PLC0415

    with one_line_errors():
        done = write_cropped(source, out, model=model)
    click.echo(f"{done.kept} kept, {done.rejected} rejected: {done.report}", err=True)
    click.echo(done.manifest)


@cli.command()
@with_config_and_run
@click.option(
    "--init", help="Start weights of the first network, else CONFIG's: random, imagenet or a file."
)
def fit(config: Path, run: Path | None, init: str | None) -> None:
    """Train the network on the data set CONFIG names; an interrupted run goes on where it stopped.

    Under torchrun every process takes its share of each batch, on a GPU of its own where there
    is CUDA.

    Example:

    \b
        cxr-train fit training/configs/default.toml --run runs/default
        torchrun --nproc-per-node 8 --no-python -- cxr-train fit training/configs/default.toml
    """  # noqa: D301  click needs the \b itself
    from training.fit.train import fit as fit_network  # noqa: PLC0415

    with one_line_errors():
        loaded, folder = _open(config, run)
        if init is not None:
            chosen = dataclasses.replace(loaded.fit, init=init)
            loaded = dataclasses.replace(loaded, fit=chosen)
        fit_network(loaded, folder)
    click.echo(folder)


@cli.command()
@with_config_and_run
def export(config: Path, run: Path | None) -> None:
    """Write the run's ONNX graphs, float32 and int8, unless these weights are exported already.

    Example:

    \b
        cxr-train export training/configs/default.toml --run runs/default
    """  # noqa: D301  click needs the \b itself
    from training.release.export import export as export_graphs  # noqa: PLC0415

    with one_line_errors():
        for graph in export_graphs(*_open(config, run)):
            click.echo(f"{graph}  {graph.stat().st_size / 1e6:.1f} MB")


@cli.command()
@with_config_and_run
@click.option("--models", type=FOLDER, default=Path("models"), show_default=True)
@click.option("--version", default="1", show_default=True, help="Name of the new version.")
@click.option(
    "--precision", type=click.Choice(["int8", "float"]), default="int8", show_default=True
)
@click.option("--replace", is_flag=True, help="Replace a version that exists.")
@click.option("--store/--no-store", default=True, help="Save it in BentoML's model store too.")
def package(
    config: Path,
    run: Path | None,
    models: Path,
    version: str,
    *,
    store: bool,
    **options: Any,
) -> None:
    """Calibrate an exported graph and write models/<name>/<version>.

    Example:

    \b
        cxr-train package training/configs/default.toml --run runs/default --version 1
    """  # noqa: D301  click needs the \b itself
    from training.release.package import package as write_model  # noqa: PLC0415
    from training.release.package import save_in_store  # noqa: PLC0415

    overwrite = options.pop("replace")
    with one_line_errors():
        loaded, folder = _open(config, run)
        target = models / loaded.name / version
        model = write_model(loaded, folder, target, overwrite=overwrite, **options)
        click.echo(model)
        if store:
            click.echo(save_in_store(model, overwrite=overwrite))


@cli.command()
@click.argument("config", type=FILE)
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--examples", type=click.IntRange(min=16), default=6000, show_default=True,
              help="Films to learn from, and as many other images.")  # fmt: skip
@click.option("--held-out", type=click.IntRange(min=16), default=1500, show_default=True,
              help="As many again, for the threshold.")  # fmt: skip
@click.option("--steps", type=click.IntRange(min=2), default=1500, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
def gate(config: Path, model: Path, *, workers: int, **recipe: int) -> None:
    """Train the gate of a packaged MODEL, which refuses what is no chest film, and add it.

    A gate that is there is replaced. The films are those of the data set CONFIG names; everything
    else is drawn. The model's own graph stays as it is.

    Example:

    \b
        cxr-train gate training/configs/default.toml models/default/1
    """  # noqa: D301  click needs the \b itself
    from training.config import Config  # noqa: PLC0415
    from training.gate.fit import Recipe, add_gate  # noqa: PLC0415

    with one_line_errors():
        record = add_gate(Config.load(config), model, Recipe(**recipe), workers)
    for kind, count in record["held_out"].items():
        click.echo(f"{kind:12} {count['refused']:5} of {count['images']:5} refused")


@cli.command()
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--measures", type=FILE, help="JSON of `cxr evaluate --by source` on real images.")
@click.option("--failures", type=FILE, help="Markdown on known failures.")
def card(model: Path, measures: Path | None, failures: Path | None) -> None:
    """Write the card of a packaged MODEL anew, with what real radiographs showed.

    The graphs stay as they are. A signed model has to be signed again.

    Example:

    \b
        cxr score labels.csv --out scores.parquet --model models/default/1
        cxr evaluate scores.parquet --by source --json measures.json
        cxr-train card models/default/1 --measures measures.json --failures docs/failures.md
    """  # noqa: D301  click needs the \b itself
    from training.release.card import Remarks  # noqa: PLC0415
    from training.release.package import rewrite_card  # noqa: PLC0415

    with one_line_errors():
        click.echo(rewrite_card(model, Remarks.read(measures, failures)))


@cli.command()
@with_config_and_run
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
def verify(config: Path, run: Path | None, model: Path) -> None:
    """Prove that the packaged MODEL computes what was trained; exit status 1 where it does not.

    Example:

    \b
        cxr-train verify training/configs/default.toml models/default/1 --run runs/default
    """  # noqa: D301  click needs the \b itself
    from training.release.verify import table  # noqa: PLC0415
    from training.release.verify import verify as measure  # noqa: PLC0415

    with one_line_errors():
        checks = measure(*_open(config, run), model)
    click.echo(table(checks))
    if not all(check.passed for check in checks):
        raise SystemExit(1)


@cli.command()
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--key", type=FILE, required=True, help="Private key, Ed25519, PEM, not encrypted.")
def sign(model: Path, key: Path) -> None:
    """Sign the packaged MODEL, so that services with the other half of KEY load no other one.

    The signature is that of manifest.json, which holds the SHA-256 of every other file.

    Example:

    \b
        openssl genpkey -algorithm ed25519 -out key.pem
        openssl pkey -in key.pem -pubout -out key.pub
        cxr-train sign models/mine/1 --key key.pem
        CXR_MODEL=models/mine/1 CXR_MODEL_KEY=key.pub bentoml serve service.app:ChestXray
    """  # noqa: D301  click needs the \b itself
    from training.release.sign import sign as write_signature  # noqa: PLC0415

    with one_line_errors():
        click.echo(write_signature(model, key))


@cli.command("study")
@click.argument("config", type=FILE)
@click.option(
    "--arm", "arms", multiple=True, required=True, metavar="NAME=FOLDER|CONFIG",
    help="A data set to train on, or a configuration of its own (.toml), and what to call the "
    "model; repeat it for each arm.",
)  # fmt: skip
@click.option(
    "--data", type=click.Path(exists=True, path_type=Path), required=True,
    help="Labelled data set to compare the models on, as for `cxr compare`.",
)  # fmt: skip
@click.option("--out", type=FOLDER, required=True, help="Folder of the comparison.")
@click.option(
    "--by", multiple=True, metavar="COLUMN", help="Compare also by this column of --data."
)
@click.option("--runs", type=FOLDER, help="Run folders; runs/<name in CONFIG> by default.")
@click.option("--models", type=FOLDER, default=Path("models"), show_default=True)
@click.option("--version", default="1", show_default=True, help="Of every arm's model.")
def experiment(config: Path, arms: tuple[str, ...], runs: Path | None, **options: Any) -> None:
    """Train one CONFIG on several data sets, or several of them, and compare the models.

    Name and data set in CONFIG are replaced by each arm's; an arm that is a configuration replaces
    all of it. Arms that are packaged are not trained again, and an interrupted one goes on where it
    stopped. The comparison is that of `cxr compare`.

    Example:

    \b
        cxr-train study study.toml --arm nano-banana-cropped=data/banana-cropped \\
            --arm nano-banana-raw=data/banana --arm roentgen-v2=data/roentgen \\
            --arm phantom=data/default --data labels.csv --out comparison
        cxr-train study base.toml --arm base=base.toml --arm edges=edges.toml \\
            --data labels.csv --out ablations
    """  # noqa: D301  click needs the \b itself
    from training.experiment import compare, parse_arms, train_arms  # noqa: PLC0415

    with one_line_errors():
        loaded, folder = _open(config, runs)
        named = parse_arms(arms)
        trained = train_arms(loaded, named, folder, options["models"], options["version"])
        for model in trained.values():
            click.echo(model)
        click.echo(compare(trained, options["data"], options["out"], options["by"]))

"""`cxr-train export, package, gate, card, verify, sign`: from a run to a model that ships.

What is slow is imported by the commands, so that `--help` answers at once.
"""

from pathlib import Path
from typing import Any

import click

from training.cli.console import EXISTING_FOLDER, FILE, FOLDER, open_run, with_config_and_run


@click.command()
@with_config_and_run
def export(config: Path, run: Path | None) -> None:
    """Write the run's ONNX graphs, float32 and int8, unless these weights are exported already.

    Example:

    \b
        cxr-train export training/configs/default.toml --run runs/default
    """
    from training.release.export import export as export_graphs

    for graph in export_graphs(*open_run(config, run)):
        click.echo(f"{graph}  {graph.stat().st_size / 1e6:.1f} MB")


@click.command()
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
    """
    from training.release.package import package as write_model
    from training.release.package import save_in_store

    overwrite = options.pop("replace")
    loaded, folder = open_run(config, run)
    target = models / loaded.name / version
    model = write_model(loaded, folder, target, overwrite=overwrite, **options)
    click.echo(model)
    if store:
        click.echo(save_in_store(model, overwrite=overwrite))


@click.command()
@click.argument("config", type=FILE)
@click.argument("model", type=EXISTING_FOLDER)
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
    """
    from training.config import Config
    from training.gate.fit import Recipe, add_gate

    record = add_gate(Config.load(config), model, Recipe(**recipe), workers)
    for kind, count in record["held_out"].items():
        click.echo(f"{kind:12} {count['refused']:5} of {count['images']:5} refused")


@click.command()
@click.argument("model", type=EXISTING_FOLDER)
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
    """
    from training.release.card import Remarks
    from training.release.package import rewrite_card

    click.echo(rewrite_card(model, Remarks.read(measures, failures)))


@click.command()
@with_config_and_run
@click.argument("model", type=EXISTING_FOLDER)
def verify(config: Path, run: Path | None, model: Path) -> None:
    """Prove that the packaged MODEL computes what was trained; exit status 1 where it does not.

    Example:

    \b
        cxr-train verify training/configs/default.toml models/default/1 --run runs/default
    """
    from training.release.verify import table
    from training.release.verify import verify as measure

    checks = measure(*open_run(config, run), model)
    click.echo(table(checks))
    if not all(check.passed for check in checks):
        raise SystemExit(1)


@click.command()
@click.argument("model", type=EXISTING_FOLDER)
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
    """
    from training.release.sign import sign as write_signature

    click.echo(write_signature(model, key))

"""`cxr-train fit, experiment`: train one network, or several to compare them.

What is slow is imported by the commands, so that `--help` answers at once.
"""

import dataclasses
from copy import copy
from pathlib import Path
from typing import Any

import click

from training.cli.console import FILE, FOLDER, open_run, with_config_and_run


@click.command()
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
    """
    from training.fit.train import fit as fit_network

    loaded, folder = open_run(config, run)
    if init is not None:
        chosen = dataclasses.replace(loaded.fit, init=init)
        loaded = dataclasses.replace(loaded, fit=chosen)
    fit_network(loaded, folder)
    click.echo(folder)


@click.command()
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
    all of it. All are trained in one precision, the faster one for the first. Arms that are
    packaged are not trained again, and an interrupted one goes on where it stopped. The comparison
    is that of `cxr compare`.

    Example:

    \b
        cxr-train experiment experiment.toml --arm nano-banana-cropped=data/banana-cropped \\
            --arm nano-banana-raw=data/banana --arm roentgen-v2=data/roentgen \\
            --arm phantom=data/default --data labels.csv --out comparison
        cxr-train experiment base.toml --arm base=base.toml --arm edges=edges.toml \\
            --data labels.csv --out ablations
    """
    from training.experiment import compare, parse_arms, train_arms

    loaded, folder = open_run(config, runs)
    named = parse_arms(arms)
    trained = train_arms(loaded, named, folder, options["models"], options["version"])
    for model in trained.values():
        click.echo(model)
    click.echo(compare(trained, options["data"], options["out"], options["by"]))


study = copy(experiment)  # its name of old: a study is a thing of DICOM
study.name, study.hidden = "study", True
study.deprecated = "It is called `cxr-train experiment` now."

"""`cxr-train`: generate, import -> sheet -> curate -> fit -> export -> package -> gate -> verify.

Each command is thin and can be repeated: what is complete is skipped or resumed. torch and
everything slow is imported inside the commands, so that `--help` answers at once.
"""

import click

from training.cli import data, learn, release
from training.cli.console import OneLineErrors
from training.cli.generate import generate


@click.group(cls=OneLineErrors)
@click.version_option(package_name="nanocxr")
def cli() -> None:
    """Train a chest radiograph model on synthetic images.

    Research software, not a medical device.
    """


for command in (
    generate,
    *(data.import_images, data.join_datasets, data.sheet, data.realism, data.curate),
    *(learn.fit, learn.experiment, learn.study),
    *(release.export, release.package, release.gate, release.card, release.verify, release.sign),
):
    cli.add_command(command)

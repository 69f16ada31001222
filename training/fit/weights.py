"""``weights.pt`` of a run, and what it says that it was made by.

fit -> [weights] -> export, package, verify
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from training.config import Config
from training.stored import recorded_text

FILE = "weights.pt"


def load_weights(run: Path) -> dict[str, Any]:
    """The trained arrays of a run, and what is said of them."""
    state: dict[str, Any] = torch.load(run / FILE, weights_only=True, map_location="cpu")
    return state


def made_by(config: Config) -> dict[str, Any]:
    """What checkpoint and weights keep of ``config``: all of it, and what may be given instead."""
    return {"config": recorded_text(config), "init": config.fit.init}


def mismatch(state: Mapping[str, Any], config: Config) -> str | None:
    """How checkpoint or weights were made otherwise than by ``config``; None where they were not.

    Files from before a key was kept do not have it, and are taken for what they should be.
    """
    own = {"config": recorded_text(config), "trainings": config.fit.trainings}
    if any(state.get(key, value) != value for key, value in own.items()):
        return "by another configuration"
    return None


def as_trained(config: Config, run: Path) -> Config:
    """The configuration that trained a run: ``config``, with the start weights it was fit from.

    Those of the first network may have been others than ``config`` has (``cxr-train fit --init``),
    and decide neither the splits nor the graph.

    Parameters
    ----------
    config, run
        What is to be released, all networks of it, and where it was trained.

    Raises
    ------
    ValueError
        If another configuration trained a network: its splits, by which it would be calibrated and
        measured, could hold images that the network has learned.
    """
    init = load_weights(run).get("init", config.fit.init)
    trained = replace(config, fit=replace(config.fit, init=init))
    for own, folder in trained.networks(run):
        found = mismatch(load_weights(folder), own)
        if found:
            raise ValueError(f"{folder / FILE} was made {found}; give the one that it was fit by")
    return trained

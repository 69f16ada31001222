"""``weights.pt`` of a run, and what it says that it was made by.

fit -> [weights] -> export, package, verify
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from service.files import sha256
from training.config import Config
from training.generate.manifest import manifest_of
from training.stored import recorded_text, without_folder

FILE = "weights.pt"


def load_weights(run: Path) -> dict[str, Any]:
    """The trained arrays of a run, and what is said of them."""
    state: dict[str, Any] = torch.load(run / FILE, weights_only=True, map_location="cpu")
    return state


def made_by(config: Config) -> dict[str, Any]:
    """What checkpoint and weights keep: ``config``, start weights, and SHA-256 of the manifest."""
    return {
        "config": recorded_text(config),
        "init": config.fit.init,
        "manifest_sha256": _digest(config),
    }


def _digest(config: Config) -> str:
    return sha256(manifest_of(config.dataset.folder))


def mismatch(state: Mapping[str, Any], config: Config) -> str | None:
    """How checkpoint or weights were made otherwise than by ``config``; None where they were not.

    Where the data set lies is no difference if its manifest's digest is kept. Files from before a
    key was kept do not have it, and are taken for what they should be.
    """
    text = recorded_text(config)
    kept = state.get("config", text)
    digest = state.get("manifest_sha256")
    if digest is not None:
        kept, text = without_folder(kept), without_folder(text)
    if kept != text or state.get("trainings", config.fit.trainings) != config.fit.trainings:
        return "by another configuration"
    if digest is not None and digest != _digest(config):
        return f"with another data set than {config.dataset.folder}"
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
        If another configuration or data set trained a network: the splits by which it would be
        calibrated and measured could hold images that the network has learned.
    """
    init = load_weights(run).get("init", config.fit.init)
    trained = replace(config, fit=replace(config.fit, init=init))
    for own, folder in trained.networks(run):
        found = mismatch(load_weights(folder), own)
        if found:
            raise ValueError(f"{folder / FILE} was made {found}; give what it was fit by")
    return trained

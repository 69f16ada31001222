"""One recipe on several data sets, or recipes that differ, and the models they give compared.

data sets, configurations -> [fit -> export -> package] for each -> cxr compare

The former is the paper's experiment, the latter an ablation.

The comparison runs as a process of its own: training and clients share no code but service.
"""

import dataclasses
import json
import re
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from service.files import replace_file, sha256
from service.model.manifest import Manifest
from training.config import Config
from training.fit.distributed import join
from training.fit.optimisation import faster_precision, new_network
from training.fit.precision import name_of, precision_called
from training.fit.train import fit
from training.generate.manifest import MANIFEST
from training.release.export import export
from training.release.package import package
from training.stored import recorded

ARM = "arm.json"
PRECISION = "precision.json"  # of all arms
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class ExperimentMismatch(ValueError):
    """An arm cannot be what was asked for: its name, data, run or model folder says otherwise."""


def parse_arms(texts: Sequence[str]) -> dict[str, Path]:
    """Arms from ``NAME=FOLDER`` or ``NAME=CONFIG``, in order; two at least.

    A folder has a manifest; a configuration ends in ``.toml``.
    """
    arms: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise ExperimentMismatch(
                f"{text!r} is not NAME=FOLDER or NAME=CONFIG with a name of letters, digits, "
                "'.', '_' and '-'"
            )
        if name in arms:
            raise ExperimentMismatch(f"two arms are called {name}")
        arms[name] = Path(folder)
        manifest = Config.load(arms[name]).dataset.folder if _is_config(arms[name]) else arms[name]
        if not (manifest / MANIFEST).is_file():
            raise ExperimentMismatch(f"arm {name}: {manifest} holds no {MANIFEST}")
    if len(arms) < 2:
        raise ExperimentMismatch("an experiment compares at least two arms; name each with --arm")
    return arms


def train_arms(
    config: Config, arms: Mapping[str, Path], runs: Path, models: Path, version: str
) -> dict[str, Path]:
    """Fit, export and package every arm that is not there yet.

    Parameters
    ----------
    config
        Of all arms that are data sets; each puts in its name and its folder.
    arms
        Folders of data sets, or files of configurations, by name.
    runs, models
        Arm NAME is trained in ``runs/NAME`` and packaged as ``models/NAME/<version>``. All are
        trained in the precision that ``runs/precision.json`` names, the faster one for the first.

    Returns
    -------
    dict
        Model folders by arm.

    Raises
    ------
    ExperimentMismatch
        If a run or model folder was made with other data or another configuration, the mask loss
        is on and an arm does not know where its lesions are, or ``precision.json`` names no
        precision. Nothing is trained then.
    """
    configs = {name: _config_of(config, name, folder) for name, folder in arms.items()}
    targets = {name: models / name / version for name in arms}
    for name, own in configs.items():
        _check_masks(name, own)
        _check_run(runs / name, own)
        _check_model(targets[name], own)
    missing = {name: own for name, own in configs.items() if not targets[name].exists()}
    precision = _precision(runs, next(iter(missing.values()))) if missing else None
    for name, own in missing.items():
        run = runs / name
        run.mkdir(parents=True, exist_ok=True)
        replace_file(run / ARM, json.dumps(_identity(own), indent=2) + "\n")
        fit(own, run, precision)
        export(own, run)
        package(own, run, targets[name])
    return targets


def compare(models: Mapping[str, Path], data: Path, out: Path, by: Sequence[str]) -> Path:
    """Run ``cxr compare`` on the models and return its report.

    Raises
    ------
    ExperimentMismatch
        If it fails; it has printed why.
    """
    command = [str(Path(sysconfig.get_path("scripts")) / "cxr"), "compare"]
    command += [f"{name}={folder}" for name, folder in models.items()]
    command += ["--data", str(data), "--out", str(out)]
    command += [word for column in by for word in ("--by", column)]
    done = subprocess.run(command, check=False)  # noqa: S603  our own command, no shell
    if done.returncode:
        raise ExperimentMismatch(
            f"`cxr compare` ended with status {done.returncode}; the models are complete, and the "
            "same command compares them again"
        )
    return out / "report.html"


def _precision(runs: Path, config: Config) -> torch.dtype:
    """What all arms are trained in, measured once: each for itself might choose otherwise."""
    path = runs / PRECISION
    if not path.exists():
        with join() as rank:
            found = faster_precision(config, new_network(config).to(rank.device), rank)
        runs.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps({"precision": name_of(found)}) + "\n")
    name = json.loads(path.read_text(encoding="utf-8"))["precision"]
    kept = precision_called(name)
    if kept is None:
        raise ExperimentMismatch(f"{path} says {name!r}, which is no precision to train in")
    return kept


def _is_config(path: Path) -> bool:
    return path.suffix == ".toml"


def _config_of(config: Config, name: str, folder: Path) -> Config:
    if _is_config(folder):
        return dataclasses.replace(Config.load(folder), name=name)
    dataset = dataclasses.replace(config.dataset, folder=folder)
    return dataclasses.replace(config, name=name, dataset=dataset)


def _identity(config: Config) -> dict[str, Any]:
    """What decides an arm's model, as JSON gives it back."""
    return {
        "config": recorded(dataclasses.asdict(config)),
        "manifest_sha256": sha256(config.dataset.folder / MANIFEST),
    }


def _check_masks(name: str, config: Config) -> None:
    """Refuse the mask loss where an arm has no masks: it would not be trained like the others."""
    table = pd.read_parquet(config.dataset.folder / MANIFEST, columns=["label", "mask"])
    unknown = int(((table["label"] == 1) & (table["mask"] == "")).sum())
    if config.fit.mask_weight and unknown:
        raise ExperimentMismatch(
            f"arm {name} has {unknown} images with pneumonia and no mask of it; set "
            "mask_weight = 0, for all arms alike"
        )


def _check_run(run: Path, config: Config) -> None:
    path = run / ARM
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != _identity(config):
        raise ExperimentMismatch(
            f"{run} was trained with other data or another configuration; take other --runs, or "
            "delete it"
        )
    if not path.exists() and (run / "weights.pt").exists():
        raise ExperimentMismatch(
            f"{run} holds a run that is no arm of an experiment; take other --runs"
        )


def _check_model(target: Path, config: Config) -> None:
    if not target.exists():
        return
    facts = Manifest.load(target / "manifest.json").provenance
    found = {"config": facts["config"], "manifest_sha256": facts["dataset"]["manifest_sha256"]}
    if found != _identity(config):
        raise ExperimentMismatch(
            f"{target} was made with other data or another configuration; take another --version"
        )

"""What a model was made of, for its manifest: JSON values, without this computer's paths.

fit, calibrate -> [provenance] -> package
"""

import platform
from dataclasses import asdict
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import pandas as pd

from service.files import sha256
from training.config import Config
from training.fit.fit_lungs import FILE as LUNGS_FILE
from training.fit.weights import load_weights
from training.generate.manifest import MANIFEST, generations
from training.release.age import FILE as AGE_FILE
from training.release.calibrate import Fitted
from training.release.ensemble import Scales
from training.stored import recorded

LIBRARIES = ("torch", "torchvision", "onnx", "onnxruntime", "numpy", "pillow", "pydicom")


def provenance(
    config: Config, run: Path, splits: dict[str, pd.DataFrame], fitted: Fitted
) -> dict[str, Any]:
    """Recipe, data, weights and software of a model, and what was measured on them."""
    everything = pd.concat(splits.values())
    return {
        "config": recorded(asdict(config)),
        "seed": config.seed,
        "weights": _weights(run),
        "dataset": {
            "manifest_sha256": sha256(config.dataset.folder / MANIFEST),
            "images": everything["generator"].value_counts().sort_index().to_dict(),
            "generations": generations(config.dataset.folder),
            "splits": {name: _count(frame) for name, frame in splits.items()},
        },
        "calibration": {"nll_before": fitted.nll_before, "nll_after": fitted.nll_after},
        "validation": {name: asdict(interval) for name, interval in fitted.measures.items()},
        "software": {
            "python": platform.python_version(),
            **{library: installed_version(library) for library in LIBRARIES},
        },
    }


def _count(frame: pd.DataFrame) -> dict[str, int]:
    positives = int(frame["label"].sum())
    return {
        "pneumonia": positives,
        "no pneumonia": len(frame) - positives,
        "pairs": int(frame["group"].nunique()),
    }


def ensemble_facts(config: Config, run: Path, scales: Scales | None) -> dict[str, Any]:
    """What was joined to the first network, where anything was; ``scales`` say how."""
    if scales is None:
        return {}
    detail = {"sha256": sha256(run / LUNGS_FILE), "gain": scales.gain, "centre": scales.centre}
    if scales.age is not None:
        detail["age_sha256"] = sha256(run / AGE_FILE)
    return {
        "companions": [_weights(own) for _, own in config.networks(run)[1:]],
        "network_weights": list(scales.weights),
        "lung_detail": detail,
    }


def _weights(run: Path) -> dict[str, Any]:
    state = load_weights(run)
    if "start" not in state:
        raise ValueError(
            f"{run / 'weights.pt'} was trained by an earlier version; train in another run folder"
        )
    facts = {name: state[name] for name in ("architecture", "step", "start")}
    # Files from before a key was kept do not have it; teachers have those that were taught.
    facts |= {name: state[name] for name in ("precision", "teachers") if name in state}
    if state.get("trainings", 1) > 1:
        facts["trainings"] = state["trainings"]
    return {"sha256": sha256(run / "weights.pt"), **facts}

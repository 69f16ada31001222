"""Graph, manifest, golden readings and card -> models/<name>/<version>, and BentoML's model store.

export -> calibrate -> [package] -> service
The folder is complete or absent: it is written beside its place and then renamed.
"""

import base64
import io
import json
import os
import platform
import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from service.files import replace_file, sha256
from service.findings.calibration import Calibration, OperatingPoint
from service.findings.fitting import choose_operating_points
from service.model.bundle import Bundle
from service.model.manifest import Manifest
from service.model.reader import Reader
from service.model.signature import SIGNATURE
from training.config import Config
from training.fit.dataset import load_cells, load_splits, load_tensors
from training.generate.manifest import generations
from training.networks.lungs import load_lungs, served_input
from training.networks.pneumonia import STRIDE
from training.release.age import FILE as AGE_FILE
from training.release.age import fit_age, some_of
from training.release.calibrate import (
    fit_temperature,
    negative_log_likelihood,
    probabilities,
)
from training.release.card import NO_REMARKS, Remarks, model_card
from training.release.ensemble import Scales, detail_of, fit_scales, graft, parts
from training.release.export import graph_path
from training.release.measures import Interval, peaks_in_lesion, run_graph, summarise

GRAPH = "model.onnx"
CARD = "MODEL_CARD.md"
GOLDEN_IMAGES = 4
GOLDEN_SIDE = 256  # pixels; larger images are reduced to this before they are stored
LIBRARIES = ("torch", "torchvision", "onnx", "onnxruntime", "numpy", "pillow", "pydicom")
STORE_PREFIX = "nanocxr-"


class ModelExistsError(FileExistsError):
    """The version is already packaged; versions are not changed silently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What calibration and validation found for one graph."""

    calibration: Calibration
    points: tuple[OperatingPoint, ...]
    heatmap_scale: float
    nll_before: float
    nll_after: float
    measures: dict[str, Interval]


def package(
    config: Config,
    run: Path,
    target: Path,
    *,
    precision: str = "int8",
    overwrite: bool = False,
) -> Path:
    """Write one model folder.

    Parameters
    ----------
    config, run
        Of the fit; ``run`` holds ``weights.pt`` and ``export/`` and, where asked for, companions
        and ``lungs.pt``.
    target
        ``models/<name>/<version>``; its last two parts name the model.
    precision
        Which exported graph: ``"int8"`` or ``"float"``.
    overwrite
        Replace a version that exists.

    Returns
    -------
    Path
        The folder, holding ``model.onnx``, ``manifest.json``, ``golden.json`` and
        ``MODEL_CARD.md``.

    Raises
    ------
    ModelExistsError
        If the version exists and ``overwrite`` is false.
    """
    if target.exists() and not overwrite:
        raise ModelExistsError(
            f"{target} exists; choose another version, or replace it with --replace"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as temporary:
        folder = Path(temporary, target.parent.name, target.name)
        folder.mkdir(parents=True)
        _fill(folder, config, run, precision)
        if target.exists():
            target.rename(Path(temporary, "old"))
        folder.rename(target)
    return target


def _fill(folder: Path, config: Config, run: Path, precision: str) -> None:
    splits = load_splits(config)
    scales = None
    if config.reading is None:
        shutil.copyfile(graph_path(run, precision), folder / GRAPH)
    else:
        scales = join_networks(config, run, precision, folder / GRAPH, splits)
    fitted = fit_to_splits(config, (folder / GRAPH).read_bytes(), splits)
    manifest = Manifest(
        name=folder.parent.name,
        version=folder.name,
        graph=GRAPH,
        precision=precision,
        input=served_input(config),
        calibration=fitted.calibration,
        operating_points=fitted.points,
        default_operating_point="balanced",
        heatmap_scale=fitted.heatmap_scale,
        sha256={GRAPH: sha256(folder / GRAPH)},
        provenance=provenance(config, run, splits, fitted) | joining(config, run, scales),
    )
    (folder / CARD).write_text(model_card(manifest, NO_REMARKS), encoding="utf-8")
    seal(folder, manifest)  # the golden readings come from the very Reader that will replay them
    golden = golden_readings(folder, config.dataset.folder, splits["validation"])
    (folder / "golden.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")
    seal(folder, manifest)


def rewrite_card(model: Path, remarks: Remarks) -> Path:
    """Write the card of a packaged model anew, with what real radiographs showed.

    A signature has to be made again: the card's SHA-256 is in the manifest.

    Raises
    ------
    ReadingError
        If a file of the model is not the one its manifest names; nothing is written.
    """
    manifest = Bundle.open(model).manifest
    path = model / CARD
    replace_file(path, model_card(manifest, remarks))
    seal(model, manifest)
    return path


def seal(folder: Path, manifest: Manifest) -> None:
    """Write the manifest with the SHA-256 of every other file in the folder.

    A signature, which is that of another manifest, is removed.
    """
    (folder / SIGNATURE).unlink(missing_ok=True)
    path = folder / "manifest.json"
    digests = {p.name: sha256(p) for p in sorted(folder.iterdir()) if p != path}
    path.write_text(replace(manifest, sha256=digests).to_json(), encoding="utf-8")


def fit_to_splits(config: Config, graph: bytes, splits: dict[str, pd.DataFrame]) -> Fitted:
    """Calibrate on one split and measure on another, with the graph as shipped."""
    folder, spec = config.dataset.folder, served_input(config)
    images, labels = load_tensors(splits["calibration"], folder, spec)
    outputs = run_graph(graph, images)
    logits = outputs.logit
    calibration = fit_temperature(logits, labels)
    points = choose_operating_points(probabilities(logits, calibration), labels)

    held_out = splits["validation"]
    images, truth = load_tensors(held_out, folder, spec)
    read = run_graph(graph, images)
    scores = probabilities(read.logit, calibration)
    measures = summarise(truth, scores, held_out["group"].to_numpy(), points[0], config.seed)
    called = ((held_out["mask"] != "") & (scores >= points[0].threshold)).to_numpy()
    if called.any():
        cells = replace(spec, size=STRIDE * read.heatmap.shape[1])  # of the first network
        lesions = load_cells(held_out[called], folder, cells)
        name = "heatmap peak in the lesion, of called positives"
        measures[name] = peaks_in_lesion(read.heatmap[called], lesions)
    return Fitted(
        calibration=calibration,
        points=points,
        heatmap_scale=peak_scale(outputs.heatmap[labels == 1]),
        nll_before=negative_log_likelihood(logits, labels, Calibration(temperature=1.0)),
        nll_after=negative_log_likelihood(logits, labels, calibration),
        measures=measures,
    )


def join_networks(
    config: Config, run: Path, precision: str, path: Path, splits: dict[str, pd.DataFrame]
) -> Scales:
    """Write the graphs of all networks joined with the lung detail.

    The scales of the parts are those of the calibration split.
    """
    reading, spec = config.reading, served_input(config)
    if reading is None:
        raise ValueError("the configuration has no [reading]")
    folder = config.dataset.folder
    networks, lungs = parts(config, run, precision), load_lungs(run)
    age = None
    if reading.children:
        rows = some_of(splits["train"])
        images, _ = load_tensors(rows, folder, spec)
        age = fit_age([own.read(images).embedding for own in networks], rows["age_band"])
        age.save(run)
    images, _ = load_tensors(splits["calibration"], folder, spec)
    outputs = [own.read(images) for own in networks]
    scales = fit_scales(outputs, detail_of(lungs, images), weight=reading.weight, age=age)
    graft(lungs, scales, networks, path)
    return scales


def joining(config: Config, run: Path, scales: Scales | None) -> dict[str, Any]:
    """What was joined to the first network, where anything was."""
    if scales is None:
        return {}
    companions = [_weights(own) for _, own in config.networks(run)[1:]]
    detail = {"sha256": sha256(run / "lungs.pt"), "gain": scales.gain, "centre": scales.centre}
    if scales.age is not None:
        detail["age_sha256"] = sha256(run / AGE_FILE)
    return {
        "companions": companions,
        "network_weights": list(scales.weights),
        "lung_detail": detail,
    }


def _weights(run: Path) -> dict[str, Any]:
    state = torch.load(run / "weights.pt", map_location="cpu", weights_only=True)
    if "start" not in state:
        raise ValueError(
            f"{run / 'weights.pt'} was trained by an earlier version; train in another run folder"
        )
    return {
        "sha256": sha256(run / "weights.pt"),
        "architecture": state["architecture"],
        "step": state["step"],
        "start": state["start"],
    }


def peak_scale(heatmaps: NDArray[np.float32]) -> float:
    """Median over positives of the peak of their (N, h, w) heatmaps, as a local logit."""
    cells = heatmaps.shape[1] * heatmaps.shape[2]
    return float(np.median(heatmaps.max(axis=(1, 2))) * cells)


def provenance(
    config: Config, run: Path, splits: dict[str, pd.DataFrame], fitted: Fitted
) -> dict[str, Any]:
    """Record what made this model, in JSON values and without this computer's paths."""
    everything = pd.concat(splits.values())
    return {
        "config": plain(asdict(config)),
        "seed": config.seed,
        "weights": _weights(run),
        "dataset": {
            "manifest_sha256": sha256(config.dataset.folder / "manifest.parquet"),
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


def plain(value: Any) -> Any:
    """JSON values of a configuration; of an absolute path only the last part."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return value.name if value.is_absolute() else value.as_posix()
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return value


def golden_readings(model: Path, dataset: Path, frame: pd.DataFrame) -> dict[str, Any]:
    """Read a few synthetic images with the packaged model, to be replayed wherever it is served.

    Parameters
    ----------
    model
        Folder with graph and manifest.
    dataset, frame
        Folder and rows to take images from, half of each class.

    Returns
    -------
    dict
        ``readings``: base64 PNG ``image``, ``label``, calibrated ``probability`` and raw
        ``heatmap`` (h, w).
    """
    reader = Reader.open(model)
    rows = [
        row
        for label in (0, 1)
        for row in frame[frame["label"] == label].head(GOLDEN_IMAGES // 2).itertuples()
    ]
    readings = []
    for row in rows:
        png = _small_png(dataset / row.path)
        reading = reader.read(png)
        readings.append(
            {
                "image": base64.b64encode(png).decode("ascii"),
                "label": int(row.label),
                "probability": reading.probability,
                "heatmap": np.asarray(reading.heatmap, dtype=float).round(6).tolist(),
            }
        )
    return {"readings": readings}


def _small_png(path: Path) -> bytes:
    with Image.open(path) as image:
        image.thumbnail((GOLDEN_SIDE, GOLDEN_SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def save_in_store(model: Path, *, overwrite: bool = False) -> str:
    """Copy a packaged model into BentoML's model store (``BENTOML_HOME``) and return its tag.

    BentoML reports each saved model to its makers unless ``BENTOML_DO_NOT_TRACK`` says otherwise;
    it is set here.
    """
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    import bentoml  # noqa: PLC0415  # slow, and it reads the environment when imported

    manifest = Manifest.load(model / "manifest.json")
    tag = f"{STORE_PREFIX}{manifest.name}:{manifest.version}".lower()
    if any(str(stored.tag) == tag for stored in bentoml.models.list()):
        if not overwrite:
            raise ModelExistsError(f"{tag} is in BentoML's model store; replace it with --replace")
        bentoml.models.delete(tag)
    labels = {
        "finding": "pneumonia",
        "precision": manifest.precision,
        "sha256": manifest.identity.sha256[:12],
        "use": "research-only",
    }
    with bentoml.models.create(tag, labels=labels) as stored:
        shutil.copytree(model, stored.path, dirs_exist_ok=True)
    return tag

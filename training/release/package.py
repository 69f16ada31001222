"""Graph, manifest, golden readings and card -> models/<name>/<version>, and BentoML's model store.

export -> calibrate -> [package] -> service
The folder is complete or absent: it is written beside its place and then renamed.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd

from service.files import replace_file, sha256
from service.model.bundle import CARD, MANIFEST, Bundle
from service.model.manifest import Manifest
from service.model.signature import SIGNATURE
from training.config import Config
from training.fit.dataset import load_splits, load_tensors
from training.fit.fit_lungs import load_lungs
from training.fit.weights import as_trained
from training.release.age import fit_age, some_of
from training.release.calibrate import fit_to_splits
from training.release.card import NO_REMARKS, Remarks, model_card
from training.release.ensemble import Scales, detail_of, fit_scales, members, write_ensemble
from training.release.export import graph_path
from training.release.golden import write_golden
from training.release.provenance import ensemble_facts, provenance

GRAPH = "model.onnx"
STORE_PREFIX = "nanocxr-"


class ModelExistsError(FileExistsError):
    """The version is already packaged; versions are not changed silently."""


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
        Of the fit; ``run`` holds ``weights.pt`` and ``export/`` and, where asked for, the other
        members and ``lungs.pt``.
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
    ValueError
        If another configuration or data set trained a network.
    """
    if target.exists() and not overwrite:
        raise ModelExistsError(
            f"{target} exists; choose another version, or replace it with --replace"
        )
    with new_folder(target) as folder:
        _fill(folder, config, run, precision)
    return target


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """An empty folder of the same names that takes the place of ``target`` if all went well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as temporary:
        folder = Path(temporary, target.parent.name, target.name)
        folder.mkdir(parents=True)
        yield folder
        if target.exists():
            target.rename(Path(temporary, "old"))
        folder.rename(target)


def _fill(folder: Path, config: Config, run: Path, precision: str) -> None:
    config = as_trained(config, run)
    splits = load_splits(config)
    scales = write_model_graph(config, run, precision, folder / GRAPH, splits)
    fitted = fit_to_splits(config, (folder / GRAPH).read_bytes(), splits)
    manifest = Manifest(
        name=folder.parent.name,
        version=folder.name,
        graph=GRAPH,
        precision=precision,
        input=config.served_input,
        calibration=fitted.calibration,
        operating_points=fitted.points,
        default_operating_point="balanced",
        heatmap_scale=fitted.heatmap_scale,
        sha256={GRAPH: sha256(folder / GRAPH)},
        provenance=provenance(config, run, splits, fitted) | ensemble_facts(config, run, scales),
    )
    (folder / CARD).write_text(model_card(manifest, NO_REMARKS), encoding="utf-8")
    seal(folder, manifest)  # the golden readings come from the very Reader that will replay them
    write_golden(folder, config.dataset.folder, splits["validation"])
    seal(folder, manifest)


def rewrite_card(model: Path, remarks: Remarks) -> Path:
    """Write the card of a packaged model anew, with what real radiographs showed.

    A signature has to be made again: the card's SHA-256 is in the manifest.

    Raises
    ------
    ReadingError
        If a file of the model is not the one its manifest names; nothing is written.
    ValueError
        If the measures are of another model; nothing is written.
    """
    manifest = Bundle.open(model).manifest
    remarks.check(manifest)
    path = model / CARD
    replace_file(path, model_card(manifest, remarks))
    seal(model, manifest)
    return path


def seal(folder: Path, manifest: Manifest) -> None:
    """Write the manifest with the SHA-256 of every other file in the folder.

    A signature, which is that of another manifest, is removed.
    """
    (folder / SIGNATURE).unlink(missing_ok=True)
    path = folder / MANIFEST
    files = (p for p in sorted(folder.iterdir()) if p != path and not p.name.startswith("."))
    digests = {file.name: sha256(file) for file in files}
    replace_file(path, replace(manifest, sha256=digests).to_json())


def write_model_graph(
    config: Config, run: Path, precision: str, path: Path, splits: dict[str, pd.DataFrame]
) -> Scales | None:
    """Write the one network's graph, or that of the ensemble and return how its members add up.

    The scales are those of the calibration split.
    """
    detail, spec, folder = config.lung_detail, config.served_input, config.dataset.folder
    if detail is None:
        shutil.copyfile(graph_path(run, precision), path)
        return None
    networks, lungs = members(config, run, precision), load_lungs(run)
    age = None
    if detail.children:
        rows = some_of(splits["train"])
        images, _ = load_tensors(rows, folder, spec)
        shown = [own.read(images).embedding for own in networks]
        age = fit_age(shown, rows["age_band"], by=detail.age_by)
        age.save(run)
    images, _ = load_tensors(splits["calibration"], folder, spec)
    outputs = [own.read(images) for own in networks]
    scales = fit_scales(
        outputs, detail_of(lungs, images), counts=config.counts, weight=detail.weight, age=age
    )
    write_ensemble(lungs, scales, networks, path)
    return scales


def save_in_store(model: Path, *, overwrite: bool = False) -> str:
    """Copy a packaged model into BentoML's model store (``BENTOML_HOME``) and return its tag.

    BentoML reports each saved model to its makers unless ``BENTOML_DO_NOT_TRACK`` says otherwise;
    it is set here.
    """
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    import bentoml  # noqa: PLC0415  # slow, and it reads the environment when imported

    manifest = Manifest.load(model / MANIFEST)
    tag = f"{STORE_PREFIX}{manifest.name}:{manifest.version}".lower()
    if any(str(stored.tag) == tag for stored in bentoml.models.list()):
        if not overwrite:
            raise ModelExistsError(f"{tag} is in BentoML's model store; replace it with --replace")
        bentoml.models.delete(tag)
    labels = {
        "finding": "pneumonia",
        "precision": manifest.precision,
        "sha256": manifest.sha256[manifest.graph][:12],
        "use": "research-only",
    }
    with bentoml.models.create(tag, labels=labels) as stored:
        shutil.copytree(model, stored.path, dirs_exist_ok=True)
    return tag

"""Open models/<name>/<version> and prove that it is the model its manifest describes.

[bundle] -> session -> reader
Each file is read once and its SHA-256 is taken of the very bytes that are used, so nothing can be
exchanged between the check and the use.
"""

from dataclasses import dataclass
from pathlib import Path

from service.errors import InvalidManifest, ModelCorrupt, ModelUnavailable
from service.files import sha256
from service.model.manifest import Manifest
from service.model.signature import check_signature
from service.model.site import SiteCalibration

MANIFEST = "manifest.json"
CARD = "MODEL_CARD.md"
GOLDEN = "golden.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One verified model.

    Attributes
    ----------
    graph
        The ONNX file's bytes.
    gate
        Those of the gate's graph; None where the manifest names no gate, and then all is read.
    card
        The model card, Markdown; empty where the manifest names none.
    golden
        The golden readings, JSON; empty where the manifest names none.
    site
        The calibration of a site that takes the place of the manifest's; None for the latter.
    """

    manifest: Manifest
    graph: bytes
    gate: bytes | None
    card: str
    golden: bytes
    site: SiteCalibration | None = None

    @classmethod
    def open(
        cls, folder: Path, key: Path | None = None, calibration: Path | None = None
    ) -> "Bundle":
        """Read and verify a model folder.

        Parameters
        ----------
        folder
            Holds ``manifest.json`` and every file the manifest names.
        key
            Public key that must have signed the manifest; None for no such check.
        calibration
            File of ``cxr calibrate`` to read with; None for the model's own calibration.

        Raises
        ------
        ModelUnsigned, ModelSignatureInvalid
            If there is a key, and no valid signature of the manifest.
        ModelUnavailable
            If the folder or a file that the manifest names is missing or not readable.
        ModelCorrupt
            If a file's SHA-256 is not the manifest's.
        InvalidManifest
            If the manifest is not readable, contradicts itself or names a file elsewhere.
        InvalidCalibration, CalibrationMismatch
            If ``calibration`` cannot be used, or is that of another model.
        """
        if not (folder / MANIFEST).is_file():
            raise ModelUnavailable(
                f"No model: {folder.name!r} has no {MANIFEST}. Set CXR_MODEL to a model folder."
            )
        described = _content(folder / MANIFEST)
        if key is not None:
            check_signature(folder, described, key)
        manifest = Manifest.from_json(described)
        for name in manifest.sha256:
            _refuse_path(name)
        content = {name: _read(folder / name, digest) for name, digest in manifest.sha256.items()}
        return cls(
            manifest=manifest,
            graph=content[manifest.graph],
            gate=content[manifest.gate.graph] if manifest.gate else None,
            card=content.get(CARD, b"").decode(errors="replace"),
            golden=content.get(GOLDEN, b""),
            site=None if calibration is None else SiteCalibration.open(calibration, manifest),
        )


def _refuse_path(name: str) -> None:
    if name in {"", ".", ".."} or not name.isprintable() or set(name) & set("/\\:"):
        raise InvalidManifest(
            f"manifest names {name!r}; only files beside the manifest are read, without a path"
        )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelUnavailable(
            f"Cannot read {path.name}: {error.strerror}. Copy the whole model folder."
        ) from error


def _read(path: Path, expected: str) -> bytes:
    content = _content(path)
    found = sha256(content)
    if found != expected.lower():
        raise ModelCorrupt(
            f"{path.name} has SHA-256 {found[:12]}..., the manifest says {expected[:12]}...: "
            "the file was changed or cut. Copy the model folder again, or package it again."
        )
    return content

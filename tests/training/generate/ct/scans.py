"""A small computed chest: ellipsoids of tissue and air, as arrays, DICOM series and NIfTI file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.factories import dicom_bytes
from training.generate.ct.patient import CONTROL, Patient
from training.generate.ct.series import Provenance, Scan

SPACING = (4.0, 2.5, 2.5)  # mm
SHAPE = (48, 72, 88)  # slices, rows, columns
SERIES = "1.2.826.0.1.3680043.8.498.1"
TABLE_ROW = 66
PROVENANCE = Provenance(
    name="made", collection="computed", licence="CC0", series=SERIES, sha256="0" * 64
)


def ball(
    centre: tuple[float, float, float], radii: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Mark an ellipsoid; centre and radii in mm along x, y, z, from the middle of the scan."""
    z, y, x = (
        ((np.arange(n) - (n - 1) / 2) * size).astype(np.float32)
        for n, size in zip(SHAPE, SPACING, strict=True)
    )
    distance = (
        ((x[None, None, :] - centre[0]) / radii[0]) ** 2
        + ((y[None, :, None] - centre[1]) / radii[1]) ** 2
        + ((z[:, None, None] - centre[2]) / radii[2]) ** 2
    )
    return np.asarray(distance < 1)


def hounsfield() -> NDArray[np.int16]:
    """A chest from the feet up: the heart on the left (high x), a table behind it."""
    values = np.full(SHAPE, -1000, np.int16)
    values[ball((0, 0, 0), (95, 65, 400))] = 30
    values[ball((-42, 0, 0), (32, 45, 70))] = -850
    values[ball((44, 0, 5), (30, 45, 65))] = -850
    for side in (-1, 1):
        values[ball((side * 42, 5, 0), (3, 3, 60))] = 30  # a vessel
    values[ball((15, -15, -20), (28, 25, 30))] = 40
    values[ball((0, -5, 75), (6, 6, 30))] = -1000
    values[ball((0, 48, 0), (11, 11, 400))] = 400
    values[:, TABLE_ROW : TABLE_ROW + 2] = 200
    return values


def scan(values: NDArray[np.int16] | None = None) -> Scan:
    """The chest as if it had been read."""
    taken = hounsfield() if values is None else values
    return Scan(hounsfield=taken, spacing=SPACING, provenance=PROVENANCE)


def write_series(folder: Path, values: NDArray[np.int16] | None = None, **changes: Any) -> Path:
    """Write a DICOM series whose names say nothing about the order, with its sidecar."""
    folder.mkdir(parents=True)
    taken = hounsfield() if values is None else values
    for index, plane in enumerate(taken):
        tags: dict[str, Any] = {
            "Modality": "CT",
            "SeriesInstanceUID": SERIES,
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [0, 0, -100 + SPACING[0] * index],
            "PixelSpacing": list(SPACING[1:]),
            "RescaleSlope": 2,
            "RescaleIntercept": -1024,
        }
        stored = ((plane.astype(np.int32) + 1024) // 2).astype(np.uint16)
        file = dicom_bytes(stored, view=None, **tags | changes)
        (folder / f"{(index * 7) % len(taken):03d}.dcm").write_bytes(file)
    told = {"collection": "computed", "licence": "CC0"}
    (folder / "provenance.json").write_text(json.dumps(told))
    (folder / "annotations.xml").write_text("<nothing/>")
    return folder


def patient(**changes: Any) -> Patient:
    """A patient who is the CT itself, filmed straight."""
    plain: dict[str, Any] = {
        "age": 40.0,
        "view": "PA",
        "supine": False,
        "scale": (1.0, 1.0, 1.0),
        "turn": (0.0, 0.0, 0.0),
        "rib_lift": 0.0,
        "expiration": 0.0,
        "heart": 0.0,
        "mediastinum": 0.0,
        "girth": 1.0,
        "bone": 1.0,
        "lung_haze": 0.0,
        "arms": False,
        "bends": np.zeros((3, CONTROL, CONTROL, CONTROL), np.float32),
        "source_distance": 1800.0,
        "crispness": 0.0,
    }
    return Patient(**plain | changes)

"""Find and read chest CT series: DICOM folders and NIfTI files, with where they come from.

[files -> scan] -> volume -> patient -> projection -> film
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.misc import is_dicom

_NIFTI = (".nii", ".nii.gz")
_SIDECAR = "provenance.json"
_AXIAL = np.array([1, 0, 0, 0, 1, 0])
_LEAST_SLICES = 16


class VolumeError(ValueError):
    """A chest CT that cannot be used; ``code`` is stable."""

    code = "unusable_volume"


class NoSeries(VolumeError):
    """The folder holds no CT series."""

    code = "no_series"


class UnusableSeries(VolumeError):
    """A series that is not a chest CT in axial slices."""

    code = "unusable_series"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a volume comes from, as the data set records it.

    Attributes
    ----------
    name
        Of its folder or file below the folder of volumes.
    collection, licence
        From ``provenance.json`` in the series' folder, or ``<file>.json`` beside a NIfTI file;
        empty where it says nothing.
    series
        SeriesInstanceUID (0020,000E), or ``series`` of the sidecar.
    sha256
        Of the Hounsfield units, int16, with their shape and spacing.
    """

    name: str
    collection: str
    licence: str
    series: str
    sha256: str

    def record(self) -> dict[str, str]:
        """Return the fields for ``generation.json``."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A CT as it was read.

    Attributes
    ----------
    hounsfield
        int16 of shape (slices, rows, columns): from the feet up, from front to back, from the
        patient's right to the left.
    spacing
        Millimetres between slices, rows and columns.
    """

    hounsfield: NDArray[np.int16]
    spacing: tuple[float, float, float]
    provenance: Provenance


def find_series(folder: Path) -> list[Path]:
    """List the volumes of ``folder`` by name: NIfTI files, and sub-folders that hold files.

    Raises
    ------
    NoSeries
        If there is none.
    """
    found = [path for path in sorted(folder.iterdir()) if _is_series(path)]
    if not found:
        raise NoSeries(
            f"{NoSeries.code}: {folder} holds no CT series. Put each DICOM series in a sub-folder "
            "of its own, or NIfTI files (.nii, .nii.gz) beside each other."
        )
    return found


def _is_series(path: Path) -> bool:
    if path.is_dir():
        return any(entry.is_file() and entry.suffix != ".json" for entry in path.iterdir())
    return path.name.endswith(_NIFTI)


def read_scan(path: Path) -> Scan:
    """Read one volume of :func:`find_series`.

    Raises
    ------
    UnusableSeries
        If it is not one CT series of parallel axial slices.
    """
    hounsfield, spacing, series = _read_dicom(path) if path.is_dir() else _read_nifti(path)
    digest = hashlib.sha256(repr((hounsfield.shape, spacing)).encode())
    digest.update(np.ascontiguousarray(hounsfield, "<i2").tobytes())
    told = _sidecar(path)
    provenance = Provenance(
        name=path.name,
        collection=told.get("collection", ""),
        licence=told.get("licence", ""),
        series=series or told.get("series", ""),
        sha256=digest.hexdigest(),
    )
    return Scan(hounsfield=hounsfield, spacing=spacing, provenance=provenance)


def _sidecar(path: Path) -> dict[str, str]:
    beside = path.with_name(path.name.split(".nii", maxsplit=1)[0] + ".json")
    file = path / _SIDECAR if path.is_dir() else beside
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _refuse(path: Path, cause: str, remedy: str) -> UnusableSeries:
    return UnusableSeries(f"{UnusableSeries.code}: {path} {cause}. {remedy}")


def _read_dicom(path: Path) -> tuple[NDArray[np.int16], tuple[float, float, float], str]:
    """Slices sorted along the patient's axis (DICOM PS3.3 C.7.6.2.1)."""
    slices = list(_slices(path))
    if len(slices) < _LEAST_SLICES:
        raise _refuse(path, f"holds {len(slices)} slices", "A chest CT is needed.")
    if len({str(dataset.SeriesInstanceUID) for dataset in slices}) > 1:
        raise _refuse(path, "holds several series", "Put each in a folder of its own.")
    for dataset in slices:
        turned = np.abs(np.asarray(dataset.ImageOrientationPatient, float) - _AXIAL).max()
        if dataset.Modality != "CT" or turned > 0.2:
            raise _refuse(
                path, "is not an axial CT (0008,0060; 0020,0037)", "Choose another series."
            )
    slices.sort(key=lambda dataset: float(dataset.ImagePositionPatient[2]))
    heights = np.array([float(dataset.ImagePositionPatient[2]) for dataset in slices])
    gap = float(np.median(np.diff(heights)))
    if gap <= 0 or np.abs(np.diff(heights) - gap).max() > 0.5 * gap:
        raise _refuse(path, "lacks slices or repeats them (0020,0032)", "Copy the whole series.")
    rows, columns = (float(value) for value in slices[0].PixelSpacing)
    return (
        np.stack([_hounsfield(d) for d in slices]),
        (gap, rows, columns),
        str(slices[0].SeriesInstanceUID),
    )


def _slices(path: Path) -> Iterator[Any]:
    """Yield the images of a folder; public collections keep annotations beside them."""
    for file in sorted(path.iterdir()):
        if file.is_file() and is_dicom(file):
            dataset = pydicom.dcmread(file)
            if "ImagePositionPatient" in dataset and "PixelData" in dataset:
                yield dataset


def _hounsfield(dataset: Any) -> NDArray[np.int16]:
    slope = float(dataset.get("RescaleSlope", 1))
    values = dataset.pixel_array * slope + float(dataset.get("RescaleIntercept", 0))
    return np.asarray(np.clip(np.round(values), -1024, 4000), np.int16)


def _read_nifti(path: Path) -> tuple[NDArray[np.int16], tuple[float, float, float], str]:
    """Turn to slices from the feet up; NIfTI counts to the right, the front and the head."""
    try:
        import nibabel  # noqa: PLC0415 - of the extra `training`; DICOM needs it not
    except ModuleNotFoundError:
        raise _refuse(path, "needs nibabel", 'Install ".[training]".') from None
    image: Any = nibabel.as_closest_canonical(nibabel.load(path))  # type: ignore[no-untyped-call]
    if len(image.shape) != 3 or image.shape[2] < _LEAST_SLICES:
        raise _refuse(path, f"has shape {image.shape}", "One volume of a chest is needed.")
    values = np.asarray(image.dataobj)[::-1, ::-1].transpose(2, 1, 0)
    x, y, z = (float(size) for size in image.header.get_zooms()[:3])
    return np.asarray(np.clip(np.round(values), -1024, 4000), np.int16), (z, y, x), ""

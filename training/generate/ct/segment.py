"""Find body, airway and lungs in a CT by thresholds and connection.

files -> scan -> [volume] -> patient -> projection -> film
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.generate.ct.series import UnusableSeries

Mask = NDArray[np.bool_]

RIGHT, LEFT = 1, 2

_TISSUE, _AIR, _AIRWAY = -300, -400, -850  # Hounsfield units
_ENHANCED, _BLOOD = 110, 60
_AIRWAY_AREA = (40.0, 900.0)  # cross section in mm^2
_SMALLER_LUNG = 0.12  # least share of the larger one
_LEAST_LUNG = 150_000  # mm^3 of air; gas in the bowel and in sinuses is less


def find_body(hounsfield: NDArray[np.int16]) -> Mask:
    """Mark the patient, slice by slice: the largest piece of tissue with its holes filled.

    Opening cuts thin bridges to table, sheets and cables.
    """
    body = np.zeros(hounsfield.shape, bool)
    for index, plane in enumerate(hounsfield):
        tissue = ndimage.binary_opening(plane > _TISSUE, iterations=2)
        body[index] = ndimage.binary_fill_holes(_largest(tissue))
    return body


def find_lungs(hounsfield: NDArray[np.int16], body: Mask, spacing: float) -> tuple[Mask, Any]:
    """Mark the airway above the hila, and both lungs with their vessels.

    Parameters
    ----------
    hounsfield
        Isotropic, slices from the feet up.
    spacing
        Millimetres between voxels.

    Returns
    -------
    airway
        Of the volume's shape.
    lungs
        uint8: 1 in the right lung, 2 in the left.
    """
    airway = _find_airway(hounsfield, body, spacing)
    air = (hounsfield < _AIR) & body & ~ndimage.binary_dilation(airway, iterations=2)
    labels, count = ndimage.label(ndimage.binary_opening(air))
    if not count:
        raise UnusableSeries(f"{UnusableSeries.code}: no lungs found. A chest CT is needed.")
    sizes = np.bincount(labels.ravel())[1:]
    order = np.argsort(sizes)[::-1]
    first = labels == order[0] + 1
    second = labels == order[1] + 1 if count > 1 else np.zeros_like(first)
    if second.sum() < _SMALLER_LUNG * first.sum():
        first, second = _cut_apart(first)
    if min(first.sum(), second.sum()) * spacing**3 < _LEAST_LUNG:
        raise UnusableSeries(
            f"{UnusableSeries.code}: no two lungs found. A chest CT with both lungs is needed."
        )
    sides = sorted((first, second), key=lambda part: float(np.nonzero(part)[2].mean()))
    lungs = np.zeros(hounsfield.shape, np.uint8)
    rounds = max(1, round(6 / spacing))
    for name, part in zip((RIGHT, LEFT), sides, strict=True):
        lungs[ndimage.binary_closing(part, iterations=rounds) & (lungs == 0) & ~airway] = name
    return airway, lungs


def _largest(mask: Mask) -> Mask:
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    return np.asarray(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))


def _cut_apart(both: Mask) -> tuple[Mask, Mask]:
    """Part lungs that touch: erode until two remain, then give each voxel to the nearer."""
    seeds = both
    for _ in range(12):
        seeds = ndimage.binary_erosion(seeds)
        labels, count = ndimage.label(seeds)
        sizes = np.bincount(labels.ravel())[1:] if count else np.zeros(0)
        order = np.argsort(sizes)[::-1]
        if count > 1 and sizes[order[1]] > _SMALLER_LUNG * sizes[order[0]]:
            names = np.isin(labels, order[:2] + 1) * labels
            nearest = ndimage.distance_transform_edt(
                names == 0, return_distances=False, return_indices=True
            )
            owner = names[tuple(nearest)]
            return both & (owner == order[0] + 1), both & (owner == order[1] + 1)
    raise UnusableSeries(
        f"{UnusableSeries.code}: found no two lungs. A chest CT with both lungs is needed."
    )


def _find_airway(hounsfield: NDArray[np.int16], body: Mask, spacing: float) -> Mask:
    """Follow the trachea down from the neck until it opens into something larger."""
    airway = np.zeros(hounsfield.shape, bool)
    least, most = (area / spacing**2 for area in _AIRWAY_AREA)
    previous: Mask | None = None
    for index in range(len(hounsfield) - 1, -1, -1):
        labels, count = ndimage.label((hounsfield[index] < _AIRWAY) & body[index])
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        fitting = [k for k in range(1, count + 1) if least <= sizes[k] <= most]
        if previous is None:
            fitting = [k for k in fitting if _is_central(labels == k, body[index])]
        else:
            fitting = [k for k in fitting if (previous & (labels == k)).any()]
        if fitting:
            previous = np.isin(labels, fitting)
            airway[index] = previous
        elif previous is not None:
            break
    return airway


def _is_central(part: Mask, body: Mask) -> bool:
    """Whether a part lies in the middle fifth of the body's width."""
    columns = np.flatnonzero(body.any(axis=0))
    middle, width = (columns[0] + columns[-1]) / 2, columns[-1] - columns[0]
    return bool(abs(np.nonzero(part)[1].mean() - middle) < 0.1 * width)


def find_contrast(hounsfield: NDArray[np.int16], lungs: NDArray[np.uint8], spacing: float) -> Mask:
    """Mark blood and organs with contrast medium: radiographs are made without it.

    They are thick pieces brighter than soft tissue between and below the lungs; the spine is one
    too, and lies in the back third of the lungs' depth in the middle.
    """
    rounds = max(1, round(5 / spacing))
    bright = ndimage.gaussian_filter(hounsfield.astype(np.float32), 1) > _ENHANCED
    thick = ndimage.binary_erosion(bright, iterations=rounds)
    where = np.nonzero(lungs)
    low, high = ([int(f(axis)) for axis in where] for f in (np.min, np.max))
    spine_front = low[1] + round(0.62 * (high[1] - low[1]))
    thick[:, spine_front:, :] = False
    thick[:, :, : low[2]] = thick[:, :, high[2] :] = False
    thick[low[0] + round(0.92 * (high[0] - low[0])) :] = False
    grown = ndimage.binary_dilation(thick, iterations=rounds + 2)
    return np.asarray(grown & (hounsfield > _BLOOD))

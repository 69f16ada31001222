"""How near synthetic films come to real ones: simple numbers of both, side by side.

generate -> [realism] -> generate

Nothing is fitted to these numbers, and none of them is a target to be met exactly. They show where
a generator is far off, and above all whether disease changes its films in the direction, and by the
amount, by which it changes real ones.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from service.imaging.decode import Limits, decode
from service.imaging.radiograph import FloatImage
from service.imaging.standardise import InputSpec, standardise
from training.generate.manifest import manifest_of

# The whole film, grey values stretched to [0, 1] as serving would, but not equalised.
_INPUT = InputSpec(size=224, crop=1.0, equalise=False, mean=0.0, std=1.0, least_side=32)
# Boxes in fractions of the side (top, bottom, left, right). They are the same on every film, so
# that nothing has to be found; over many films they show what lies there.
_LUNGS = ((0.22, 0.62, 0.14, 0.38), (0.22, 0.62, 0.62, 0.86))
_MEDIASTINUM = (0.3, 0.65, 0.46, 0.56)
_ABDOMEN = (0.9, 0.98, 0.3, 0.7)
_GRADIENT_BLUR = 1.0  # pixels; below lies noise
_FINE, _COARSE = 1.5, 4.0  # pixels, band of ribs' edges and vessels
_WHITE = 0.98

_COLUMNS = ["set", "stratum", "class", "films"]


def _box(image: FloatImage, box: tuple[float, float, float, float]) -> FloatImage:
    top, bottom, left, right = (round(share * len(image)) for share in box)
    return image[top:bottom, left:right]


def _blur(image: FloatImage, sigma: float) -> FloatImage:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _lungs(image: FloatImage) -> FloatImage:
    """Pixels of both lung boxes, side by side."""
    return np.hstack([_box(image, box) for box in _LUNGS])


def _gradient_ratio(image: FloatImage) -> float:
    smooth = _blur(image, _GRADIENT_BLUR)
    down, across = (
        np.square(_lungs(np.asarray(np.gradient(smooth, axis=axis), np.float32))).sum()
        for axis in (0, 1)
    )
    return float(down / max(across, 1e-9))


def _detail(image: FloatImage) -> float:
    return float(_lungs(_blur(image, _FINE) - _blur(image, _COARSE)).std())


MEASURES: dict[str, Callable[[FloatImage], float]] = {
    "lungs": lambda image: float(np.median(_lungs(image))),
    "v/h gradient": _gradient_ratio,
    "detail": _detail,
    "mediastinum": lambda image: float(np.median(_box(image, _MEDIASTINUM))),
    "deviation": lambda image: float(image.std()),
    "white": lambda image: float((image > _WHITE).mean()),
    "abdomen": lambda image: float(np.median(_box(image, _ABDOMEN))),
}


def measure(content: bytes) -> dict[str, float]:
    """Measure one image file; keys are those of MEASURES, grey values in [0, 1].

    Raises
    ------
    ReadingError
        If the file cannot be read.
    """
    tensor, _ = standardise(decode(content, Limits()), _INPUT)
    return {name: number(tensor[0]) for name, number in MEASURES.items()}


def compare(data: Path, films: Path) -> pd.DataFrame:
    """Medians by class: of a data set by age band, and of real films by source.

    Parameters
    ----------
    data
        Folder with manifest.parquet.
    films
        Folder with labels.csv (path, label and source at least).

    Raises
    ------
    ValueError
        If a column of labels.csv is missing, or a label, source or age band is no usable one.

    Returns
    -------
    pandas.DataFrame
        A row for each set, stratum and class: their names, number of films, and MEASURES.
    """
    drawn = pd.read_parquet(manifest_of(data))
    labels = films / "labels.csv"
    real = pd.read_csv(labels)
    missing = [name for name in ("path", "label", "source") if name not in real]
    if missing:
        raise ValueError(f"{labels} has no column {', '.join(missing)}; add it")
    return pd.concat(
        [
            _medians(data, drawn.rename(columns={"age_band": "stratum"}), "data"),
            _medians(films, real.rename(columns={"source": "stratum"}), "films"),
        ],
        ignore_index=True,
    )


def _medians(folder: Path, listed: pd.DataFrame, name: str) -> pd.DataFrame:
    if not listed["label"].isin([0, 1]).all() or listed["stratum"].isna().any():
        raise ValueError(f"a label of the {name} is not 0 or 1, or its source or age band is empty")
    numbers = pd.DataFrame([measure((folder / path).read_bytes()) for path in listed["path"]])
    numbers["set"] = name
    numbers["stratum"] = listed["stratum"].to_numpy()
    numbers["class"] = np.where(listed["label"].to_numpy() == 1, "pneumonia", "healthy")
    grouped = numbers.groupby(_COLUMNS[:3], sort=True)
    table = grouped[list(MEASURES)].median()
    table.insert(0, "films", grouped.size())
    return table.reset_index()

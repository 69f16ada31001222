"""Result objects of a film, by kind."""

from pydicom.dataset import Dataset

from clients import Prediction, Problem
from clients.dicom import KINDS, Heatmap, Kind, report

REFUSAL = Problem(status=422, code="not_a_chest", detail="Body Part Examined is 'HAND'.")
MODALITIES: dict[str, Kind] = {"SR": "sr", "OT": "sc", "PR": "gsps", "SEG": "seg"}


def by_kind(
    film: bytes,
    reading: Prediction | Problem,
    heatmap: Heatmap | None = None,
    kinds: frozenset[Kind] = KINDS,
) -> dict[Kind, Dataset]:
    made = report(film, reading, heatmap, kinds)
    return {MODALITIES[dataset.Modality]: dataset for dataset in made}


def texts(dataset: Dataset) -> list[str]:
    """Every value of an object, at all levels, as text."""
    found: list[str] = []
    dataset.walk(lambda _, element: found.append(f"{element.keyword}={element.value}"))
    return found

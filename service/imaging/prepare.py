"""From a file's bytes to what the network takes, with the facts that are kept of the radiograph.

bytes -> [decode -> standardise] -> session -> calibration
Needs no model and no onnxruntime: only the input that a manifest describes. Whoever reads many
files can therefore prepare them in processes of their own.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from service.imaging.decode import Limits, decode
from service.imaging.display import grey_values
from service.imaging.overlay import GreyImage, grey_picture
from service.imaging.picture import PictureSize
from service.imaging.radiograph import FileFacts, FloatImage, Radiograph
from service.imaging.standardise import Geometry, InputSpec, standardise


@dataclass(frozen=True, slots=True, kw_only=True)
class RadiographFacts(FileFacts):
    """A :class:`Radiograph` without its pixels; ``rows`` and ``columns`` in display orientation."""

    rows: int
    columns: int

    @classmethod
    def of(cls, radiograph: Radiograph) -> "RadiographFacts":
        """Everything but pixels and warnings."""
        return cls(**{fact.name: getattr(radiograph, fact.name) for fact in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One radiograph, ready for inference; ``tensor`` is float32 (1, S, S) in [0, 1]."""

    tensor: FloatImage
    facts: RadiographFacts
    geometry: Geometry
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, radiograph: Radiograph, spec: InputSpec) -> "Prepared":
        """Standardise a decoded radiograph."""
        tensor, geometry = standardise(radiograph, spec)
        facts = RadiographFacts.of(radiograph)
        return cls(tensor=tensor, facts=facts, geometry=geometry, warnings=radiograph.warnings)


RESULTS = (Prepared, RadiographFacts, Geometry)  # what the functions below return, whole


def prepare(data: bytes, limits: Limits, spec: InputSpec) -> Prepared:
    """Decode and standardise one file.

    Parameters
    ----------
    data
        A DICOM, PNG or JPEG file.
    limits
        Checked before any pixel is decoded.
    spec
        The model's input, from its manifest.

    Raises
    ------
    ReadingError
        If the file is not one frontal chest radiograph that can be decoded.
    """
    return Prepared.of(decode(data, limits), spec)


def prepare_with_picture(
    data: bytes, limits: Limits, spec: InputSpec, size: PictureSize = "film"
) -> tuple[Prepared, GreyImage]:
    """Decode and standardise one file as :func:`prepare` does, and keep its picture."""
    radiograph = decode(data, limits)
    return Prepared.of(radiograph, spec), grey_picture(radiograph, size)


def prepare_for_screen(
    data: bytes, limits: Limits, spec: InputSpec
) -> tuple[Prepared, NDArray[np.uint16]]:
    """Decode and standardise one file as :func:`prepare` does, and keep its grey values."""
    radiograph = decode(data, limits)
    return Prepared.of(radiograph, spec), grey_values(radiograph)


def prepare_unread(data: bytes, limits: Limits, _: InputSpec) -> NDArray[np.uint16]:
    """Decode one file for its grey values alone, those of too few pixels to be read included."""
    return grey_values(decode(data, limits))

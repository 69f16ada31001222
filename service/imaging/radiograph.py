"""What decoding yields: one frontal chest radiograph, whatever file it came from."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]
View = Literal["PA", "AP"]
Format = Literal["DICOM", "PNG", "JPEG"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What a file says of its radiograph.

    Attributes
    ----------
    photometric
        Photometric interpretation or colour mode as stored, e.g. ``"MONOCHROME1"``, ``"RGB"``.
    view
        Projection where the file states it; None where it does not (every PNG and JPEG).
    pixel_spacing_mm
        Row and column spacing at the detector in millimetres, None where unknown.
    """

    format: Format
    photometric: str
    view: View | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    transfer_syntax: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Radiograph(FileFacts):
    """One radiograph in display orientation.

    Attributes
    ----------
    pixels
        float32 of shape (H, W) in [0, 1]; dense tissue (bone) is bright.
    warnings
        What a reader of the result should know about the file, in sentences without patient values.
    """

    pixels: FloatImage
    warnings: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def columns(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

"""Turn a Radiograph into the tensor the network was trained on.

bytes -> decode -> [standardise] -> session -> calibration
Used by service.model.reader and training.dataset, and nowhere re-implemented.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from service.errors import InvalidManifest
from service.imaging.radiograph import FloatImage, Radiograph
from service.observe.stages import stage


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What :func:`standardise` must produce; stored with the weights.

    Attributes
    ----------
    size
        Side of the square input in pixels; a multiple of 32, the network's stride.
    crop
        Fraction of each side that is kept, centred, in (0, 1]: margins hold collimation and text.
    equalise
        Whether grey values are replaced by their rank (histogram equalisation), which makes the
        input independent of window, gamma and exposure.
    mean, std
        What the network subtracts and divides by; part of the graph, kept here for the record.
    """

    size: int
    crop: float
    equalise: bool
    mean: float
    std: float

    def __post_init__(self) -> None:
        if self.size < 32 or self.size % 32:
            raise InvalidManifest(f"input size {self.size} is not a positive multiple of 32")
        if not 0 < self.crop <= 1:
            raise InvalidManifest(f"input crop {self.crop} is not in (0, 1]")
        if self.std <= 0:
            raise InvalidManifest(f"input std {self.std} is not positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where the network's square input lies on the radiograph's pixel grid.

    ``left``, ``top``, ``width`` and ``height`` are in pixels of an image of ``rows`` x ``columns``.
    """

    rows: int
    columns: int
    left: int
    top: int
    width: int
    height: int


@stage("standardise")
def standardise(radiograph: Radiograph, spec: InputSpec) -> tuple[FloatImage, Geometry]:
    """Crop, resize and equalise one radiograph.

    Parameters
    ----------
    radiograph
        Pixels of shape (H, W) in [0, 1]; not changed.
    spec
        The model's input; there is no default, it comes from the manifest.

    Returns
    -------
    tensor
        float32 of shape (1, S, S) in [0, 1].
    geometry
        Maps a heatmap back to the original pixel grid.
    """
    geometry = _centred_crop(radiograph.rows, radiograph.columns, spec.crop)
    box = (
        geometry.left,
        geometry.top,
        geometry.left + geometry.width,
        geometry.top + geometry.height,
    )
    # reducing_gap: integer box reduction first, so a 3,000-pixel side costs one pass over it.
    resized = np.asarray(
        Image.fromarray(radiograph.pixels).resize(
            (spec.size, spec.size), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0
        ),
        dtype=np.float32,
    )
    tensor = equalise(resized) if spec.equalise else resized
    return np.clip(tensor, 0.0, 1.0)[np.newaxis], geometry


def _centred_crop(rows: int, columns: int, fraction: float) -> Geometry:
    height = max(1, round(rows * fraction))
    width = max(1, round(columns * fraction))
    return Geometry(
        rows=rows,
        columns=columns,
        left=(columns - width) // 2,
        top=(rows - height) // 2,
        width=width,
        height=height,
    )


def equalise(image: FloatImage) -> FloatImage:
    """Replace each grey value by the fraction of pixels that are darker (half of ties counted).

    Any strictly increasing change of grey values (window, gamma, exposure) leaves the result
    exactly the same, and the inverse image gives 1 minus the result.

    Parameters
    ----------
    image
        float32 of shape (H, W).

    Returns
    -------
    FloatImage
        New float32 array of shape (H, W) in [0, 1]; all 0.5 where the image is constant.
    """
    _, rank, counts = np.unique(image, return_inverse=True, return_counts=True)
    darker = (np.cumsum(counts) - counts / 2) / image.size
    return darker.astype(np.float32)[rank].reshape(image.shape)

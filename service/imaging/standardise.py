"""Turn a Radiograph into the tensor the network was trained on.

bytes -> decode -> [standardise] -> session -> calibration
Used by service.model.reader and training.fit.dataset, and nowhere re-implemented.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from service.errors import InvalidManifest, TooSmall
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
    least_side
        Fewest pixels of a radiograph's side that are read: below it, what is missing is read as
        disease. 0, as in manifests that do not name it, stands for ``size``.
    """

    size: int
    crop: float
    equalise: bool
    mean: float
    std: float
    least_side: int = 0

    def __post_init__(self) -> None:
        if self.size < 32 or self.size % 32:
            raise InvalidManifest(f"input size {self.size} is not a positive multiple of 32")
        if not 0 < self.crop <= 1:
            raise InvalidManifest(f"input crop {self.crop} is not in (0, 1]")
        if self.least_side < 0:
            raise InvalidManifest(f"input least side {self.least_side} is below 0")
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

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, upper, right and lower edge, as Pillow takes them."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    def reduced(self, side: int) -> "Geometry":
        """The same on the grid that has one pixel for ``side`` x ``side``.

        What is cut at the end of a row or column has a pixel too. The edges of the square input are
        moved by half of such a pixel at most.
        """
        left, top, right, lower = ((edge + side // 2) // side for edge in self.box)
        return Geometry(
            rows=math.ceil(self.rows / side),
            columns=math.ceil(self.columns / side),
            left=left,
            top=top,
            width=right - left,
            height=lower - top,
        )


@stage("standardise")
def standardise(radiograph: Radiograph, spec: InputSpec) -> tuple[FloatImage, Geometry]:
    """Crop, resize, and stretch or equalise one radiograph.

    The darkest pixel of the result is 0 and the brightest 1, whatever the file's scale: the same
    film with fewer bits, another slope or another linear window gives the same tensor.

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

    Raises
    ------
    TooSmall
        If a side has fewer pixels than the model reads.
    """
    least = spec.least_side or spec.size
    if min(radiograph.rows, radiograph.columns) < least:
        raise TooSmall(
            f"the image has {radiograph.rows} x {radiograph.columns} pixels; at least "
            f"{least} a side are read. Send it at its original size."
        )
    resized, geometry = resample(radiograph, spec)
    tensor = equalise(resized) if spec.equalise else stretch(resized)
    return tensor[np.newaxis], geometry


def resample(radiograph: Radiograph, spec: InputSpec) -> tuple[FloatImage, Geometry]:
    """Crop and resize alone, grey values as they are: float32 (S, S)."""
    geometry = _centred_crop(radiograph.rows, radiograph.columns, spec.crop)
    film, size = Image.fromarray(radiograph.pixels), (spec.size, spec.size)
    # reducing_gap: integer box reduction first, so a 3,000-pixel side costs one pass over it.
    resized = film.resize(size, Image.Resampling.BILINEAR, box=geometry.box, reducing_gap=3.0)
    return np.clip(np.asarray(resized, np.float32), 0.0, 1.0), geometry


def stretch(image: FloatImage) -> FloatImage:
    """Map the darkest pixel of a (H, W) image to 0 and the brightest to 1; all 0 if constant."""
    low, high = image.min(), image.max()
    if high <= low:
        return np.zeros_like(image)
    stretched: FloatImage = (image - low) / (high - low)
    return stretched


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

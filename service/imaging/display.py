"""Grey values and heat for a screen that windows and blends them itself.

decode -> [grey_values]; session -> [heat_values]
16 bits, because 8 would show steps as soon as a narrow window is stretched over the screen; plain
values, because a browser reduces every picture it decodes to 8 bits.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.imaging.overlay import heat_levels
from service.imaging.radiograph import FloatImage, Radiograph
from service.imaging.standardise import Geometry
from service.observe.stages import stage

MAX_SIDE = 2048  # pixels: more than most screens have; a 15-megapixel film becomes 7 MB


@stage("render")
def grey_values(radiograph: Radiograph) -> NDArray[np.uint16]:
    """Reduce a radiograph to at most :data:`MAX_SIDE` pixels a side.

    Returns
    -------
    numpy.ndarray
        uint16 of shape (h, w); 0 is black, 65535 white, bone bright.
    """
    picture = _reduced(Image.fromarray(radiograph.pixels))
    return np.rint(np.asarray(picture) * np.float32(65535)).astype(np.uint16)


@stage("render")
def heat_values(heatmap: FloatImage, geometry: Geometry, *, full_scale: float) -> NDArray[np.uint8]:
    """Lay a heatmap over the grey values.

    Parameters
    ----------
    heatmap, geometry, full_scale
        As for :func:`service.imaging.overlay.draw_heatmap`.

    Returns
    -------
    numpy.ndarray
        uint8 of the shape of :func:`grey_values` of the same radiograph; 255 stands for
        ``full_scale`` and more.
    """
    return np.asarray(_reduced(heat_levels(heatmap, geometry, full_scale)))


def _reduced(picture: Image.Image) -> Image.Image:
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BILINEAR)
    return picture

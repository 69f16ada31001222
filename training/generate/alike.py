"""Whether two films are one picture: saved anew, in another size or at another brightness.

generator -> [alike] -> archive

The halves of a pair are meant to be alike but for the lesion. Where nothing else is left, one
picture has both labels.
"""

import cv2
import numpy as np

from training.generate.request import GreyImage

_SIDE = 32  # pixels; what saving with losses changes averages out in them
_MOST = 99  # percentile of the differences: a lesion covers more than the 10 pixels beyond
# Of the range of grey values. WebP, JPEG, noise, and other sizes and brightness stay below 1.6 %;
# the lesions of 300 phantom pairs are above 5 %.
_DIFFERENT = 0.025


def alike(one: GreyImage, other: GreyImage) -> bool:
    """Whether two images of shape (H, W), each of its own size, show the same picture."""
    first, second = _small(one), _small(other)
    levels = np.column_stack([first, np.ones_like(first)])
    matched = levels @ np.linalg.lstsq(levels, second, rcond=None)[0]
    low, high = np.percentile(second, (1, 99))
    return bool(np.percentile(np.abs(second - matched), _MOST) <= _DIFFERENT * (high - low))


def _small(image: GreyImage) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Shape (1024,)."""
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float64).ravel()

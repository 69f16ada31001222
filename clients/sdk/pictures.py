"""What a reading can be asked of -> the bytes of a file.

path, bytes, array or Pillow image -> [content_of] -> request
Pixels in memory are sent as PNG, without loss and without anything else that they came with.
"""

from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps

Image = bytes | bytearray | memoryview | str | PathLike[str] | NDArray[Any] | Pillow.Image

DEEP = ("I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes of 16 bits
AS_RGB = ("CMYK", "YCbCr", "LAB", "HSV")  # which PNG has not
PLAIN = ("1", "L", "LA", "P", "RGB", "RGBA")


def content_of(image: Image) -> bytes:
    """Bytes of a file.

    Parameters
    ----------
    image
        The content of a DICOM, PNG or JPEG file; the path of one; an array of uint8 or uint16,
        shape (rows, columns), where 0 is black, or of uint8, shape (rows, columns, 3); or a Pillow
        image of 8 or 16 bits. An array of uint16 may use 8, 10, 12, 14 or 16 bits, in either order
        of bytes.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If an array or image has another shape or type.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | PathLike):
        return Path(image).read_bytes()
    return _png(_picture(image))


def _picture(image: NDArray[Any] | Pillow.Image) -> Pillow.Image:
    if isinstance(image, Pillow.Image):
        upright = ImageOps.exif_transpose(image)
        if upright.mode in DEEP:
            return Pillow.fromarray(np.asarray(upright).astype(np.uint16))
        if upright.mode not in PLAIN + AS_RGB:
            raise ValueError(
                f"a Pillow image of mode {upright.mode} has no known white; convert it to L or I;16"
            )
        return upright.convert("RGB") if upright.mode in AS_RGB else upright
    native = image.dtype.newbyteorder("=")  # Pillow has a mode for each order of bytes
    grey = image.ndim == 2 and native in (np.uint8, np.uint16)
    colour = image.ndim == 3 and image.shape[2] == 3 and native == np.uint8
    if not (grey or colour) or not image.size:
        raise ValueError(
            f"an array of {image.dtype} and shape {image.shape} is no picture; scale it to uint8 "
            "or uint16 of shape (rows, columns), black 0"
        )
    return Pillow.fromarray(np.ascontiguousarray(image, dtype=native))


def _png(picture: Pillow.Image) -> bytes:
    bare = picture.copy()
    bare.info = {}  # colour profile, comments and dates stay here
    file = BytesIO()
    bare.save(file, "PNG", compress_level=1)
    return file.getvalue()

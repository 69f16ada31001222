"""Decode the stored values of one frame, by the fastest plugin for its transfer syntax.

bytes -> file structure -> acceptance -> [pixels] -> grey
The size a codestream claims is compared with Rows x Columns first: it decides the memory used.
"""

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    RLE_LOSSLESS_ALIAS,
    UID,
)

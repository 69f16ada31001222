"""What a picture of a heatmap may be: words that service and clients share.

Nothing is imported but types: clients need no library that draws.
"""

from typing import Literal, get_args

PictureFormat = Literal["png", "jpeg"]
FORMATS: tuple[PictureFormat, ...] = get_args(PictureFormat)
PictureSize = Literal["film", "reduced"]  # the radiograph's rows and columns, or fewer

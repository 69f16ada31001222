"""The picture of a secondary capture: the film with its heat, above a band that says what it is.

overlay -> [picture] -> sc
The band covers nothing of the film. Its text is as wide as the film lets it be.
"""

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from service.imaging.overlay import colour_map

LEGEND = "Heat: evidence for pneumonia (Grad-CAM), none to the model's full scale"
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
LARGEST_SHARE = 1 / 45  # of the width: height of a letter
LEAST_LETTER = 6  # pixels
LINE = 1.4  # letters from line to line
REFERENCE = 100  # pixels: the size at which the text is measured


def annotated(overlay: bytes, lines: list[str]) -> Image.Image:
    """Put the band with lines and legend under the picture of ``/explain``.

    Parameters
    ----------
    overlay
        A PNG or JPEG file.
    lines
        Text, the first line being the notice.

    Returns
    -------
    PIL.Image.Image
        RGB, as wide as the picture.
    """
    with Image.open(BytesIO(overlay)) as picture:
        width, height = picture.size
        letter = _letter([*lines, LEGEND], width)
        step = round(letter * LINE)
        whole = Image.new("RGB", (width, height + step * (len(lines) + 3)), BLACK)
        whole.paste(picture)
    draw = ImageDraw.Draw(whole)
    font = _font(letter)
    top = height + step // 2
    for number, line in enumerate([*lines, LEGEND]):
        draw.text((step // 2, top + number * step), line, WHITE, font=font)
    _draw_scale(whole, top + (len(lines) + 1) * step, step)
    return whole


@lru_cache(8)
def _font(letter: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(letter)


def _letter(lines: list[str], width: int) -> int:
    font = _font(REFERENCE)
    longest = max(font.getlength(line) for line in lines)
    fits = REFERENCE * width * 0.96 / longest
    return max(LEAST_LETTER, int(min(width * LARGEST_SHARE, fits)))


def _draw_scale(picture: Image.Image, top: int, step: int) -> None:
    """The colours, from none on the left to full scale on the right."""
    scale = Image.fromarray(colour_map()[np.newaxis])
    picture.paste(scale.resize((picture.width - step, step // 2)), (step // 2, top))

"""Draw a heatmap on the original pixel grid, or on a coarser one.

session -> (heatmap, geometry) -> [overlay] -> PNG or JPEG
Colours have an absolute scale: a map that is nearly zero stays nearly invisible, whatever its
own maximum.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import InvalidParameter
from service.imaging.picture import PictureFormat, PictureSize
from service.imaging.png import png
from service.imaging.radiograph import FloatImage, Radiograph
from service.imaging.standardise import Geometry
from service.observe.stages import stage

GreyImage = NDArray[np.uint8]

JPEG_QUALITY = 90
JPEG_SIDE = 65_500  # what libjpeg writes at most
ROWS_AT_ONCE = 64  # a block of rows stays in the cache
REDUCED_SIDE = 640  # pixels of the short side of a reduced picture, at least
SQUARES = (8, 4, 2)  # pixels a side of what becomes one pixel of a reduced picture

DRAWING_BYTES = 12  # a pixel, of all copies at once; fewer than decoding takes (imaging.claim)

MAX_OPACITY = 0.6  # anatomy stays visible under the strongest colour

# Ends of the colour map in OKLab (lightness, green-red, blue-yellow): dark red and light yellow.
DARK_END = np.array([0.40, 0.16, 0.05])
LIGHT_END = np.array([0.95, -0.03, 0.16])


@stage("render")
def draw_heatmap(
    grey: GreyImage | None,
    heatmap: FloatImage,
    geometry: Geometry,
    *,
    full_scale: float,
    form: PictureFormat = "png",
) -> bytes:
    """Write a heatmap as a picture of exactly the rows and columns of a grid.

    Parameters
    ----------
    grey
        The radiograph, see :func:`grey_picture`; None leaves it out of the picture.
    heatmap
        float32 of shape (h, w), at least 0, as the graph gives it: each cell's share of the logit,
        which is its local logit divided by h x w.
    geometry
        From :func:`service.imaging.standardise.standardise` for the radiograph; for a reduced
        picture :func:`picture_grid` of it.
    full_scale
        Local logit of the strongest colour, ``heatmap_scale`` of the manifest; an absolute scale,
        never the map's own maximum.
    form
        PNG is exact; JPEG, with a tenth of its bytes, is made in half of its time.

    Returns
    -------
    bytes
        A file. With the radiograph: RGB, the heat over it; opacity and colour follow the local
        logit. Without: 8-bit grey, the heat alone, as :func:`heat_levels` gives it.

    Raises
    ------
    InvalidParameter
        If the picture is longer or wider than a JPEG can be.
    """
    heat = heat_levels(heatmap, geometry, full_scale)
    if grey is None:
        return png([np.asarray(heat)], heat.height) if form == "png" else _jpeg(heat)
    blocks = _blended(grey, np.asarray(heat))
    return png(blocks, heat.height) if form == "png" else _jpeg(_joined(blocks, *grey.shape))


@stage("render")
def grey_picture(radiograph: Radiograph, size: PictureSize) -> GreyImage:
    """What :func:`draw_heatmap` shows of a radiograph: uint8 of its rows and columns, or fewer.

    A pixel of a reduced picture is the mean of those that it stands for.
    """
    pixels = radiograph.pixels
    square = _square(radiograph.rows, radiograph.columns, size)
    if square > 1:
        pixels = np.asarray(Image.fromarray(pixels).reduce(square))
    levels = pixels * np.float32(255)
    levels += np.float32(0.5)
    return levels.astype(np.uint8)


def picture_grid(geometry: Geometry, size: PictureSize) -> Geometry:
    """Where a heatmap lies on a picture of ``size``.

    A reduced picture has one pixel for 2 x 2, 4 x 4 or 8 x 8 of the film, the most that leave its
    short side :data:`REDUCED_SIDE` pixels; smaller films stay as they are.
    """
    return geometry.reduced(_square(geometry.rows, geometry.columns, size))


def _square(rows: int, columns: int, size: PictureSize) -> int:
    """Pixels of a film, a side, that become one of the picture."""
    if size == "film":
        return 1
    most = min(rows, columns) // REDUCED_SIDE
    return next((side for side in SQUARES if side <= most), 1)


def heat_levels(heatmap: FloatImage, geometry: Geometry, full_scale: float) -> Image.Image:
    """Upsample bilinearly into the crop.

    Parameters
    ----------
    heatmap, geometry, full_scale
        As for :func:`draw_heatmap`.

    Returns
    -------
    PIL.Image.Image
        Mode L, of the radiograph's rows and columns; 255 stands for ``full_scale`` and more, 0 for
        none and for all that lies outside the crop.
    """
    # Rounded before: Pillow stretches bytes in a third of the time that it takes for floats. A
    # product of matrices is faster alone, but its threads wait for cores that others use.
    return laid_out(levels_of(heatmap, full_scale), geometry)


def levels_of(heatmap: FloatImage, full_scale: float) -> GreyImage:
    """The heatmap's own grid in 256 levels, of which the last is ``full_scale`` and more."""
    relative = heatmap * (heatmap.size / full_scale)
    levels: GreyImage = np.rint(np.clip(relative, 0.0, 1.0) * 255).astype(np.uint8)
    return levels


def laid_out(levels: GreyImage, geometry: Geometry) -> Image.Image:
    """Stretch levels over the crop of a radiograph, mode L; there is none outside of it."""
    inside = Image.fromarray(levels).resize(
        (geometry.width, geometry.height), Image.Resampling.BILINEAR
    )
    whole = Image.new("L", (geometry.columns, geometry.rows))
    whole.paste(inside, (geometry.left, geometry.top))
    return whole


def _blended(grey: GreyImage, heat: GreyImage) -> Iterator[NDArray[np.uint8]]:
    """The heat over the radiograph, looked up for every pair of grey and heat.

    Yields blocks of rows, (h, W, 4): R, G, B and 0. The next takes the place of the last.
    """
    pairs = np.empty((ROWS_AT_ONCE, grey.shape[1]), np.uint16)
    mixed = np.empty(pairs.shape, np.uint32)
    for row in range(0, len(grey), ROWS_AT_ONCE):
        block = slice(row, row + ROWS_AT_ONCE)
        here, there = pairs[: len(grey[block])], mixed[: len(grey[block])]
        np.left_shift(heat[block], 8, out=here, dtype=np.uint16)
        here |= grey[block]
        np.take(_mixtures(), here, out=there, mode="clip")
        yield there.view(np.uint8).reshape(*there.shape, 4)


def _joined(blocks: Iterable[NDArray[np.uint8]], rows: int, columns: int) -> Image.Image:
    """All blocks as one picture, mode RGBX."""
    whole, row = np.empty((rows, columns, 4), np.uint8), 0
    for block in blocks:
        whole[row : row + len(block)] = block
        row += len(block)
    return Image.frombuffer("RGBX", (columns, rows), whole, "raw", "RGBX", 0, 1)


@cache
def _mixtures() -> NDArray[np.uint32]:
    """Colours of all pairs, at index heat x 256 + grey; the bytes of each are R, G, B and 0."""
    level = np.arange(256)
    opacity = np.rint(level * MAX_OPACITY)[:, np.newaxis, np.newaxis] / 255
    film, heat = level[np.newaxis, :, np.newaxis], colour_map()[:, np.newaxis, :]
    colours = np.zeros((256, 256, 4), np.uint8)
    colours[..., :3] = np.rint((1 - opacity) * film + opacity * heat)
    return colours.view(np.uint32).ravel()


def _jpeg(picture: Image.Image) -> bytes:
    if max(picture.size) > JPEG_SIDE:
        raise InvalidParameter(
            f"The radiograph has more than {JPEG_SIDE:,} pixels a side. Ask for the format 'png'."
        )
    file = BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")  # heat is smooth
    return file.getvalue()


def colour_map() -> NDArray[np.uint8]:
    """Return 256 perceptually uniform colours from dark red to light yellow.

    A straight line in OKLab: equal steps of heat are equal steps of perceived colour, and
    lightness only rises, so that the map also reads in grey and with colour-blind eyes.

    Returns
    -------
    numpy.ndarray
        uint8 of shape (256, 3), sRGB.

    References
    ----------
    B. Ottosson (2020), "A perceptual color space for image processing"; IEC 61966-2-1 (sRGB).
    """
    share = np.linspace(0, 1, 256)[:, np.newaxis]
    oklab = DARK_END + share * (LIGHT_END - DARK_END)
    to_lms = np.array(
        [
            [1.0, 0.3963377774, 0.2158037573],
            [1.0, -0.1055613458, -0.0638541728],
            [1.0, -0.0894841775, -1.2914855480],
        ]
    )
    to_linear_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((oklab @ to_lms.T) ** 3 @ to_linear_rgb.T, 0, 1)
    gamma = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(gamma * 255), dtype=np.uint8)

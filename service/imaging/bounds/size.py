"""Bounds on rows and columns, checked in the header of every format before a pixel is decoded.

header -> [size] -> pixels
"""

from service.errors import TooManyPixels, UnsupportedPixels

# The largest film is 43 cm (17 in) long: 8,636 pixels of 50 um, finer than detectors for the chest.
MAX_SIDE = 16_384
MAX_ASPECT = 8  # a film of 35 cm x 43 cm has 1.2; a strip that shows one lung of it has 3


def check_size(rows: int, columns: int, max_pixels: int, names: tuple[str, str]) -> None:
    """Refuse what has more pixels, or another shape, than a film of the chest.

    Parameters
    ----------
    rows, columns
        In pixels, at least 1, as the header claims them.
    max_pixels
        Bound on rows x columns.
    names
        What the header calls rows and columns, for people.

    Raises
    ------
    TooManyPixels
        If there are more than ``max_pixels``, or a side has more than ``MAX_SIDE``.
    UnsupportedPixels
        If one side is more than ``MAX_ASPECT`` times as long as the other.
    """
    fact = f"{names[0]} x {names[1]} is {rows} x {columns}"
    if rows * columns > max_pixels:
        raise TooManyPixels(
            f"{fact}; at most {max_pixels:,} pixels are read. Send a smaller image."
        )
    shorter, longer = sorted((rows, columns))
    if longer > MAX_SIDE:
        raise TooManyPixels(
            f"{fact}; at most {MAX_SIDE:,} pixels a side are read. Send a smaller image."
        )
    if longer > MAX_ASPECT * shorter:
        raise UnsupportedPixels(
            f"{fact}; one side is more than {MAX_ASPECT} times as long as the other. "
            "Send the whole radiograph."
        )

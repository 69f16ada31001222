"""Bounds on rows, columns and bytes, checked before a pixel is decoded, in every format.

header -> [size] -> pixels
"""

from service.errors import CorruptImage, TooManyPixels, UnsupportedPixels

# The largest film is 43 cm (17 in) long: 8,636 pixels of 50 um, finer than detectors for the chest.
MAX_SIDE = 16_384
SPARE_BYTES = 1 << 20  # of headers and tables
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


def check_length(length: int, frame: int) -> None:
    """Refuse what is far longer than its picture: decoders hold copies of all.

    Parameters
    ----------
    length
        Bytes of a compressed picture; no encoder makes it twice as long as it was.
    frame
        Bytes of the same picture uncompressed.

    Raises
    ------
    CorruptImage
        If ``length`` is more than twice ``frame``, headers apart.
    """
    if length > 2 * frame + SPARE_BYTES:
        raise CorruptImage("the file is far longer than its picture: it is damaged. Save it again.")

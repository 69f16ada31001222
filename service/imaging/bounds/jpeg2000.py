"""Bounds on the structure of a JPEG 2000 codestream before a decoder takes it apart.

items -> [structure] -> codestreams
A codestream of 200 bytes can ask for an image of 40 million precincts, or of a thousand million
packets, all of them empty: OpenJPEG then works for hours, or fills gigabytes. The sizes of image,
tiles, precincts and code-blocks say beforehand what it will cost.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from service.errors import CorruptImage, TruncatedImage

MAX_TILES = 4096  # 8,192 x 8,192 pixels in tiles of 128 x 128
MAX_PACKETS = 1_000_000  # layers x resolutions x precincts; a large radiograph has a few thousand
MIN_CODE_BLOCK_BITS = 8  # log2 of its area: 16 x 16 and its like; encoders take 64 x 64 or 32 x 32
MAX_MARKERS = 20_000  # of main header and tile-parts
LARGEST_PRECINCT = 15  # log2 of its side where none is given

SOT, SOD, EOC, COD, COC = 0xFF90, 0xFF93, 0xFFD9, 0xFF52, 0xFF53  # ITU-T T.800 table A.2


@dataclass(frozen=True, slots=True)
class Grid:
    """Image and tiles, of SIZ (ITU-T T.800 A.5.1)."""

    width: int
    height: int
    tiles: int
    components: int


def check_jpeg2000(codestream: bytes, start: int) -> None:
    """Refuse a structure that costs far more than an image does.

    Parameters
    ----------
    codestream
        Perhaps with a JP2 header before it.
    start
        Of SOC; the whole of SIZ is there.

    Raises
    ------
    CorruptImage
        With too many tiles, packets or tile-parts, or with tiny code-blocks.
    TruncatedImage
        If a tile, or a part of one, is not there.

    References
    ----------
    ITU-T T.800 A.5 (SIZ), A.6 (COD, COC), B.6 and B.7 (precincts and code-blocks).
    """
    grid = _grid(codestream, start)
    if grid is None or grid.tiles > MAX_TILES:
        raise CorruptImage(f"the JPEG 2000 image is not in 1 to {MAX_TILES:,} tiles.")
    layers = 1
    (siz_length,) = struct.unpack_from(">H", codestream, start + 4)
    tiles = set()
    for marker, content in _markers(codestream, start + 4 + siz_length):
        if marker == SOT:
            tiles.add(content[:2])
            continue
        if marker == COD:
            layers = max(layers, int.from_bytes(content[2:4], "big"))
            style = content[5:] if content[:1] and content[0] & 1 else content[5:10]
        else:  # the component's number has one byte: there are at most three
            style = content[2:] if content[1:2] and content[1] & 1 else content[2:7]
        if len(style) < 5:
            raise CorruptImage("the JPEG 2000 coding style is cut off. Send the image again.")
        if style[1] + style[2] + 4 < MIN_CODE_BLOCK_BITS:
            raise CorruptImage("the JPEG 2000 code-blocks are too small. Send the image again.")
        if layers * _precincts(grid, style[0], style[5:]) > MAX_PACKETS:
            raise CorruptImage(f"the JPEG 2000 image has more than {MAX_PACKETS:,} packets.")
    if len(tiles) < grid.tiles:
        raise TruncatedImage("the JPEG 2000 image lacks tiles. Send the complete file.")


def _grid(codestream: bytes, start: int) -> Grid | None:
    fields = struct.unpack_from(">8LH", codestream, start + 8)
    right, bottom, left, top, tile_width, tile_height, tiles_left, tiles_top, components = fields
    if not tile_width or not tile_height:
        return None
    columns = -((tiles_left - right) // tile_width)
    rows = -((tiles_top - bottom) // tile_height)
    return Grid(right - left, bottom - top, max(1, columns * rows), components)


def _markers(codestream: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    """Find COD and COC, in the main header and in those of tile-parts, and the tile-parts."""
    tile_part_end = len(codestream)
    for _ in range(MAX_MARKERS):
        if position + 4 > len(codestream):
            return
        marker, length = struct.unpack_from(">HH", codestream, position)
        if marker == EOC:
            return
        if marker == SOD:
            if tile_part_end <= position:
                raise CorruptImage("a JPEG 2000 tile-part has no content. Send the image again.")
            position = tile_part_end
            continue
        if marker == SOT and position + 10 <= len(codestream):
            (tile_part,) = struct.unpack_from(">L", codestream, position + 6)
            tile_part_end = position + tile_part if tile_part else len(codestream)
            if tile_part_end > len(codestream):
                raise TruncatedImage("a JPEG 2000 tile-part is cut off. Send the complete file.")
        if marker in {SOT, COD, COC}:
            yield marker, codestream[position + 4 : position + 2 + length]
        position += 2 + length
    raise CorruptImage("the JPEG 2000 codestream has too many markers. Send the image again.")


def _precincts(grid: Grid, levels: int, sizes: bytes) -> int:
    """Count the precincts of all resolutions; tiles cut them, so there is one a tile at least."""
    count = 0
    for resolution in range(levels + 1):
        size = sizes[resolution] if resolution < len(sizes) else LARGEST_PRECINCT * 0x11
        shrink = levels - resolution
        columns = (grid.width >> shrink >> (size & 15)) + 1
        rows = (grid.height >> shrink >> (size >> 4)) + 1
        count += max(grid.tiles, columns * rows)
    return count * grid.components

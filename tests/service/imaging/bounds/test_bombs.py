import zlib
from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image
from pydicom.uid import JPEG2000

from service.errors import (
    CorruptImage,
    ReadingError,
    TooManyBytes,
    TooManyPixels,
)
from service.imaging.decode import Limits, decode
from tests.bombs import (
    BOMBS,
    EMPTY_ITEM,
    with_chunks,
    with_items,
    with_segments,
)
from tests.encoders import chunk, segment
from tests.factories import chest, dicom_bytes, jpeg_bytes

LIMITS = Limits()
MIB = 1 << 20
OTHERWISE: dict[str, type[ReadingError]] = {
    "deflated data set": TooManyBytes,
} | dict.fromkeys([name for name in BOMBS if name.startswith("60,000")], TooManyPixels)


REPLACED = {"empty items of a lookup table", "lookup table descriptor"}


@pytest.mark.parametrize("name", sorted(BOMBS.keys() - REPLACED))
def test_bomb_is_refused(name: str) -> None:
    data = BOMBS[name](2 * MIB)
    assert len(data) < 4 * MIB
    with pytest.raises(OTHERWISE.get(name, CorruptImage)):
        decode(data, LIMITS)


@pytest.mark.parametrize("name", sorted(REPLACED))
def test_bomb_in_what_can_be_replaced_is_not_taken_apart(name: str) -> None:
    assert any("(0028,3010)" in warning for warning in decode(BOMBS[name](MIB), LIMITS).warnings)


def jpeg2000(**options: object) -> bytes:
    """A DICOM file whose codestream Pillow wrote with these options."""
    pixels, buffer = chest(512, 512, bits=8), BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG2000", no_jp2=True, **options)
    return dicom_bytes(pixels, transfer_syntax=JPEG2000, codestream=buffer.getvalue())


HONEST: dict[str, Callable[[], bytes]] = {
    "JPEG 2000 in tiles": lambda: jpeg2000(tile_size=(128, 128)),
    "JPEG 2000 in precincts and layers": lambda: jpeg2000(
        precinct_size=(128, 128), quality_layers=[80, 40, 20, 10, 5, 1], num_resolutions=6
    ),
    "JPEG 2000 in small code-blocks": lambda: jpeg2000(codeblock_size=(16, 16)),
    "JPEG 2000 resolution by resolution": lambda: jpeg2000(progression="RPCL"),
    "progressive JPEG": lambda: jpeg_bytes(chest(64, 64, bits=8), progressive=True),
    "JPEG with a profile in 255 segments": lambda: with_segments(
        segment(0xE2, b"x" * 60_000) * 255
    ),
    "PNG with a profile and text": lambda: with_chunks(
        chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(500_000)))
        + chunk(b"tEXt", b"key\0value") * 200
    ),
    "1,000 empty fragments": lambda: with_items(EMPTY_ITEM * 1000),
}


@pytest.mark.parametrize("name", HONEST)
def test_what_encoders_write_is_read(name: str) -> None:
    assert decode(HONEST[name](), LIMITS).pixels.any()

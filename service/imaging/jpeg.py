"""Bounds on the segments of a JPEG before a decoder takes it apart.

bytes -> [segments] -> pixels, raster
Pillow reads marker segments in Python, a few bytes at a time, and joins what belongs together: 64
MiB of them would keep it busy for minutes. A radiograph has a dozen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from service.errors import CorruptImage

MAX_SEGMENTS = 1000
MAX_JUNK_BYTES = 65_536  # between segments, fill bytes counted
MAX_EXIF_SEGMENTS = 1  # several are joined, each time with a copy of all
MAX_SCANS = 64  # every scan of a progressive JPEG passes over the whole image; encoders write 10
STANDALONE = frozenset({0x01, *range(0xD0, 0xDA)})  # ITU-T T.81 table B.1: TEM, RST, SOI, EOI
START_OF_SCAN = 0xDA
APP1 = 0xE1
JPEG_LS = frozenset({0xF7, 0xF8})  # ITU-T T.87: SOF55, LSE
# Hierarchical images, which have sizes of their own, and marker codes that some decoders skip with
# their content and others without it.
REFUSED = frozenset({0xC8, 0xDE, 0xDF, *range(0xF0, 0xFE)})


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker segment of a JPEG: its code, and where its content starts."""

    kind: int
    start: int


def check_jpeg(data: bytes, *, jpeg_ls: bool = False) -> None:
    """Refuse a JPEG that costs far more to take apart than an image does.

    Parameters
    ----------
    data
        Starts with SOI.
    jpeg_ls
        Whether a decoder of JPEG-LS will read it.

    Raises
    ------
    CorruptImage
        With too many segments, scans or bytes between segments; with Exif in several segments; or
        with a segment that decoders read differently.
    """
    exif = 0
    refused = REFUSED - JPEG_LS if jpeg_ls else REFUSED
    for segment in segments(data):
        if segment.kind in refused:
            raise CorruptImage("the JPEG has a reserved marker. Send it as baseline JPEG.")
        exif += segment.kind == APP1 and data.startswith(b"Exif\0\0", segment.start)
    if exif > MAX_EXIF_SEGMENTS:
        raise CorruptImage("the JPEG has Exif data in several segments. Send it without.")
    if data.count(b"\xff\xda") > MAX_SCANS:  # FF in entropy-coded data is followed by 00
        raise CorruptImage(f"the JPEG has more than {MAX_SCANS} scans. Send it as baseline JPEG.")


def segments(data: bytes) -> Iterator[Segment]:
    """List the marker segments up to and with the first start of scan.

    Raises
    ------
    CorruptImage
        With more than ``MAX_SEGMENTS``, or more than ``MAX_JUNK_BYTES`` between them.

    References
    ----------
    ITU-T T.81 B.1.1 (markers, fill bytes and segments).
    """
    position, junk, count = 2, 0, 0
    while (found := data.find(b"\xff", position)) >= 0 and found + 1 < len(data):
        kind = data[found + 1]
        filler = kind in {0x00, 0xFF}
        junk += found - position + filler
        count += not filler
        if junk > MAX_JUNK_BYTES or count > MAX_SEGMENTS:
            raise CorruptImage("the JPEG has too many segments or fill bytes. Save it again.")
        position = found + (1 if kind == 0xFF else 2)
        if filler or kind in STANDALONE:
            continue
        yield Segment(kind, position + 2)
        if kind == START_OF_SCAN:
            return
        position += max(2, int.from_bytes(data[position : position + 2], "big"))

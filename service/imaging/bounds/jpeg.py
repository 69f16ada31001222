"""The segments of a JPEG: bounds on them, what they say of the picture, and whether all are there.

bytes -> [segments] -> codestreams, raster
Pillow reads marker segments in Python, a few bytes at a time, and joins what belongs together: 64
MiB of them would keep it busy for minutes. A radiograph has a dozen.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from service.errors import CorruptImage

MAX_SEGMENTS = 1000
MAX_JUNK_BYTES = 65_536  # between segments, fill bytes counted
MAX_EXIF_SEGMENTS = 1  # several are joined, each time with a copy of all
MAX_SCANS = 64  # every scan of a progressive JPEG passes over the whole image; encoders write 10
STANDALONE = frozenset({0x01, *range(0xD0, 0xDA)})  # ITU-T T.81 table B.1: TEM, RST, SOI, EOI
END_OF_IMAGE = 0xD9
START_OF_SCAN = 0xDA
RESTART_INTERVAL = 0xDD
APP0, APP1, APP14 = 0xE0, 0xE1, 0xEE
COMMENTS = frozenset({0xFE, *range(0xE0, 0xF0)})  # COM, APP0 to APP15
# What is looked at all the same: colours and orientation.
TELLING = (b"JFIF\0", b"Adobe", b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0")
MAX_TELLING = 16  # of these; four are usual
ADOBE = {b"\0": "RGB", b"\1": "YBR_FULL"}  # its transforms, but that of four components
END_MARKER = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
NOT_SOF = frozenset({0xC4, 0xC8, 0xCC})  # DHT, JPG and DAC lie among the SOF markers
PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
SOF_OF_JPEG_LS = 0xF7
JPEG_LS = frozenset({0xF7, 0xF8})  # ITU-T T.87: SOF55, LSE
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # neither stuffed, nor a fill byte, nor RST
RESTARTS = tuple(bytes([0xFF, kind]) for kind in range(0xD0, 0xD8))
# Hierarchical images, which have sizes of their own, and marker codes that some decoders skip with
# their content and others without it.
REFUSED = frozenset({0xC8, 0xDE, 0xDF, *range(0xF0, 0xFE)})


class Frame(NamedTuple):
    """What the frame header says (ITU-T T.81 B.2.2, T.87 C.2.2)."""

    kind: int  # of its marker
    precision: int  # bits
    rows: int
    columns: int
    components: int

    @property
    def lossless(self) -> bool:
        """Whether samples are predicted, not transformed (T.81 annex H)."""
        return self.kind in LOSSLESS


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan: its header (ITU-T T.81 B.2.3), and what was counted in it."""

    components: bytes  # their identifiers
    first: int  # coefficient
    last: int
    low_bit: int  # Al: how many bits of each coefficient are still to come
    restarts: int  # markers in its data
    interval: int  # MCUs between them; 0 for no markers


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
    for kind, start in segments(data):
        if kind in refused:
            raise CorruptImage("the JPEG has a reserved marker. Send it as baseline JPEG.")
        exif += kind == APP1 and data.startswith(b"Exif\0\0", start)
    if exif > MAX_EXIF_SEGMENTS:
        raise CorruptImage("the JPEG has Exif data in several segments. Send it without.")
    if data.count(b"\xff\xda") > MAX_SCANS:  # FF in entropy-coded data is followed by 00
        raise CorruptImage(f"the JPEG has more than {MAX_SCANS} scans. Send it as baseline JPEG.")


def frame_of(data: bytes) -> Frame:
    """Read the frame header; raises CorruptImage where there is none."""
    for kind, start in segments(data):
        if is_frame(kind) and len(data) >= start + 6:
            return Frame(kind, *struct.unpack_from(">BHHB", data, start))
    raise CorruptImage("the JPEG has no frame header. Send the image again.")


def without_comments(data: bytes) -> bytes:
    """Leave out comments and profiles, of which decoders would hold copies.

    Raises
    ------
    CorruptImage
        As :func:`segments`, or where more than ``MAX_TELLING`` would stay.
    """
    view, parts, end, telling = memoryview(data), list[memoryview](), 0, 0
    for kind, start in segments(data):
        if kind not in COMMENTS:
            continue
        if data.startswith(TELLING, start):
            telling += 1
            continue
        parts.append(view[end : start - 4])  # before marker and length
        end = start - 2 + max(2, int.from_bytes(data[start - 2 : start]))
    if telling > MAX_TELLING:
        raise CorruptImage("the JPEG has too many profiles. Save it without.")
    return b"".join((*parts, view[end:])) if parts else data


def colours_of(data: bytes) -> str | None:
    """Say what three components are, by the markers of JFIF and Adobe, in the terms of DICOM.

    None where neither is there. Adobe's wins, which is the more exact.

    References
    ----------
    ITU-T T.871 10.1 (JFIF), T.872 6.5.3 (Adobe's APP14).
    """
    found = None
    for kind, start in segments(data):
        if kind == APP0 and data.startswith(b"JFIF\0", start):
            found = "YBR_FULL"
        if kind == APP14 and data.startswith(b"Adobe", start):
            return ADOBE.get(data[start + 11 : start + 12], found)
    return found


def is_frame(kind: int) -> bool:
    """Whether a marker is one of the starts of frame."""
    return kind == SOF_OF_JPEG_LS or (0xC0 <= kind <= 0xCF and kind not in NOT_SOF)


def missing_parts(data: bytes) -> str | None:
    """Name what the headers announce and the file does not hold; None where it is whole.

    A progressive JPEG lacks scans where some bit of some coefficient never comes (ITU-T T.81
    G.1.1.1.2), a sequential one where a component has none; a scan lacks restart intervals.
    """
    frame = frame_of(data)
    scans = list(_scans(data))
    coming: dict[int, np.typing.NDArray[np.int64]] = {}
    for scan in scans:
        for component in scan.components:
            bits = coming.setdefault(component, np.full(64, 1))
            bits[scan.first : scan.last + 1] = scan.low_bit
    if len(coming) < frame.components:
        return "components"
    if frame.kind in PROGRESSIVE and any(bits.any() for bits in coming.values()):
        return "scans"
    if frame.components == 1 and any(_restarts(frame, scan) > scan.restarts for scan in scans):
        return "restart intervals"
    return None


def _restarts(frame: Frame, scan: Scan) -> int:
    """How many restart markers the only component's scan should have."""
    side = 1 if frame.lossless else 8
    units = -(-frame.rows // side) * -(-frame.columns // side)
    return (units - 1) // scan.interval if scan.interval else 0


def _scans(data: bytes) -> Iterator[Scan]:
    """List the scans of a JPEG for which :func:`check_jpeg` passed."""
    interval, place = 0, 2
    for _ in range(MAX_SEGMENTS + MAX_SCANS):
        found = MARKER.search(data, place)
        if found is None:
            return
        kind, place = data[found.start() + 1], found.end()
        if kind == END_OF_IMAGE:
            return
        if kind in STANDALONE:
            continue
        length = int.from_bytes(data[place : place + 2])
        content, place = data[place + 2 : place + length], place + max(2, length)
        if kind == RESTART_INTERVAL and len(content) == 2:
            interval = int.from_bytes(content)
        if kind == START_OF_SCAN and len(content) >= 4 and len(content) == 4 + 2 * content[0]:
            following = MARKER.search(data, place)
            end = following.start() if following else len(data)
            first, last, bits = content[-3:]
            yield Scan(
                components=content[1:-3:2],
                first=first,
                last=last,
                low_bit=bits & 15,
                restarts=sum(data.count(marker, place, end) for marker in RESTARTS),
                interval=interval,
            )


def segments(data: bytes) -> Iterator[tuple[int, int]]:
    """List codes of marker segments and where their content starts, to the first start of scan.

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
        yield kind, position + 2
        if kind == START_OF_SCAN:
            return
        position += max(2, int.from_bytes(data[position : position + 2], "big"))

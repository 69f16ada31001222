"""Take a DICOM file apart: transfer syntax, the elements that matter, the bytes of Pixel Data.

bytes -> [file structure] -> acceptance -> pixels -> grey
Only the listed elements are ever parsed: names, dates and comments stay bytes in the upload.
"""

import logging
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydicom import config
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from service.errors import CorruptImage, NoPixelData, TooManyBytes, TruncatedImage
from service.imaging.bounds.dicom import MAX_VALUE_BYTES, BoundedReader
from service.imaging.bounds.unknown_vr import KNOWN_VRS, byte_order
from service.imaging.claim import claim_inflation
from service.imaging.dicom.elements import HEADER_TAGS, SHORT_VALUES

# pydicom quotes offending values in its warnings and logs, and a value may identify a patient.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
config.settings.reading_validation_mode = config.IGNORE

PREFIX_END = 132  # PS3.10 7.1: 128 bytes of preamble, then DICM
UNDEFINED_LENGTH = 0xFFFFFFFF
BLOCK = 512  # bytes
PIECE = 65_536  # bytes that are inflated at a time to count them
PIXEL_DATA = Tag("PixelData")
PIXEL_TAGS = {PIXEL_DATA, Tag("FloatPixelData"), Tag("DoubleFloatPixelData")}
MAX_ELEMENTS = 20_000  # a radiograph has a few hundred; more would only cost time


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomFile:
    """A parsed header in front of unparsed pixels.

    Attributes
    ----------
    header
        The elements that were asked for and are present.
    transfer_syntax
        Of the data set.
    body
        The bytes that hold the data set, inflated where it was deflated.
    pixel_offset
        Where in ``body`` the first element after the header starts.
    truncated
        Whether the header itself ends too early.
    """

    header: Dataset
    transfer_syntax: UID
    body: bytes
    pixel_offset: int
    truncated: bool

    @property
    def pixel_vr(self) -> str:
        """Value representation of Pixel Data; always OW in Implicit VR (PS3.5 A.1)."""
        vr = self.body[self.pixel_offset + 4 : self.pixel_offset + 6]
        return "OB" if vr == b"OB" and not self.header.original_encoding[0] else "OW"

    def pixel_value(self) -> memoryview:
        """Return the value of Pixel Data (7FE0,0010), encapsulated or not, without a copy.

        Raises
        ------
        NoPixelData
            If the data set has no such element.
        TruncatedImage
            If the file ends within the header or within the value.

        References
        ----------
        DICOM PS3.5 7.1 (data elements).
        """
        if self.truncated:
            raise TruncatedImage("the file ends within its header. Send the complete file.")
        implicit, little = self.header.original_encoding
        order = "<" if little else ">"
        head = self.body[self.pixel_offset : self.pixel_offset + 12]
        if len(head) < 8 or struct.unpack(f"{order}HH", head[:4]) != (0x7FE0, 0x0010):
            raise NoPixelData(
                "there is no Pixel Data (7FE0,0010): a report, a presentation state, or a file cut "
                "before its pixels. Send the image object itself."
            )
        start = 8 if implicit else 12
        if len(head) < start:
            raise TruncatedImage("the file ends where its pixels should begin. Send all of it.")
        (length,) = struct.unpack(f"{order}L", head[start - 4 : start])
        value = memoryview(self.body)[self.pixel_offset + start :]
        if length == UNDEFINED_LENGTH:
            return value
        if len(value) < length:
            raise TruncatedImage(
                f"Pixel Data (7FE0,0010) should have {length:,} bytes; the file ends after "
                f"{len(value):,}. Send the complete file."
            )
        return value[:length]

    def end_warning(self, value: memoryview) -> str | None:
        """Warn where the value of Pixel Data is followed by what is no data element.

        Bytes that were written twice, or behind a part that is lost, push others out of the value.
        Zeros that fill the last block of a storage system are nothing.
        """
        implicit, little = self.header.original_encoding
        start = self.pixel_offset + (8 if implicit else 12)
        order = "<" if little else ">"
        (length,) = struct.unpack_from(f"{order}L", self.body, start - 4)
        rest = memoryview(self.body)[start + len(value) :]
        blocks = len(self.body) % BLOCK == 0 and len(rest) < BLOCK and not any(rest)
        if length == UNDEFINED_LENGTH or not rest or blocks:
            return None
        *tag, length = struct.unpack_from(f"{order}HHL", rest) if len(rest) >= 8 else (0, 0, 0)
        if [0x7FE0, 0x0010] < tag < [0xFFFE, 0]:
            known = length == UNDEFINED_LENGTH or length <= len(rest)
            if known if implicit else bytes(rest[4:6]) in KNOWN_VRS:
                return None
        return "Pixel Data (7FE0,0010) is followed by other bytes: the file may be damaged."


def is_dicom(data: bytes) -> bool:
    """Whether the content is DICOM: ``DICM`` at 128, or a data set that starts at once.

    Parameters
    ----------
    data
        The file, or its first ``PREFIX_END`` bytes: no other byte is looked at.

    References
    ----------
    DICOM PS3.10 7.1; data sets without preamble come from archives older than it.
    """
    if data[128:PREFIX_END] == b"DICM":
        return True
    if len(data) < 12:
        return False
    for order in "<>":
        group, element, short_length = struct.unpack(f"{order}HH2xH", data[:8])
        (long_length,) = struct.unpack(f"{order}L", data[4:8])
        if group not in (0x0002, 0x0008) or element > 0x0070:
            continue
        explicit = data[4:6] in KNOWN_VRS and short_length <= 128
        if explicit or (order == "<" and long_length <= 128):
            return True
    return False


def parse(data: bytes, max_bytes: int, tags: Sequence[BaseTag | int] = HEADER_TAGS) -> DicomFile:
    """Parse the header; Pixel Data is found, not read.

    Parameters
    ----------
    data
        A file for which :func:`is_dicom` holds.
    max_bytes
        Bound on a deflated data set after inflation.
    tags
        The elements that are parsed, by default those that a reading needs.

    Raises
    ------
    CorruptImage
        If the structure of data elements is broken.
    TooManyBytes
        If a deflated data set inflates beyond ``max_bytes``.
    TruncatedImage
        If a deflated data set ends too early.
    """
    stream = BoundedReader(data, "<")
    stream.seek(PREFIX_END if data[128:PREFIX_END] == b"DICM" else 0)
    meta = read_dataset(stream, False, True, stop_when=_after_meta)  # noqa: FBT003 - pydicom's
    body, start = data, stream.tell()
    syntax = UID(str(meta.get("TransferSyntaxUID") or _guessed(data[start : start + 6])))
    if syntax == DeflatedExplicitVRLittleEndian:
        body = _inflate(data[start:], max_bytes)
        stream = BoundedReader(body)
    stream.order = byte_order(syntax)
    header = read_dataset(
        stream,
        syntax == ImplicitVRLittleEndian,
        syntax != ExplicitVRBigEndian,
        stop_when=_at_pixels(),
        specific_tags=list(tags),
    )
    return DicomFile(
        header=header,
        transfer_syntax=syntax,
        body=body,
        pixel_offset=stream.tell(),
        truncated=stream.tell() > len(body) or any(map(_is_cut, _raw_elements(header))),
    )


def _after_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != 0x0002


def _at_pixels() -> Callable[[BaseTag, str | None, int], bool]:
    count = 0

    def stop(tag: BaseTag, _vr: str | None, length: int) -> bool:
        nonlocal count
        count += 1
        if count > MAX_ELEMENTS:
            raise CorruptImage(f"the data set has more than {MAX_ELEMENTS:,} elements.")
        if tag in SHORT_VALUES and length > MAX_VALUE_BYTES:
            raise CorruptImage(f"{tag} has more than {MAX_VALUE_BYTES:,} bytes. Send it again.")
        return tag in PIXEL_TAGS

    return stop


def _guessed(head: bytes) -> UID:
    """Guess the syntax of a data set without file meta information from its first element."""
    if not head[4:6].isalpha():
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if head[1:2] == b"\0" else ExplicitVRBigEndian


def _inflate(deflated: bytes, max_bytes: int) -> bytes:
    """Inflate a data set (PS3.5 A.5), never beyond ``max_bytes``: a megabyte can hold gigabytes."""
    try:
        size = _inflated_size(deflated, max_bytes)
    except zlib.error:
        raise CorruptImage("the deflated data set cannot be inflated. Send it again.") from None
    if size > max_bytes:
        raise TooManyBytes(
            f"the deflated data set has more than {max_bytes:,} bytes after inflation. "
            "Send one radiograph at its original size."
        )
    claim_inflation(size)
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    body = inflater.decompress(deflated)
    if not inflater.eof:
        raise TruncatedImage("the deflated data set ends too early. Send the complete file.")
    return body


def _inflated_size(deflated: bytes, max_bytes: int) -> int:
    """Bytes after inflation, or some number above ``max_bytes``; only a piece of them is held."""
    inflater, size = zlib.decompressobj(wbits=-zlib.MAX_WBITS), 0
    for start in range(0, len(deflated), PIECE):
        piece = deflated[start : start + PIECE]
        while piece and not inflater.eof:
            size += len(inflater.decompress(piece, PIECE))
            piece = inflater.unconsumed_tail
            if size > max_bytes:
                return size
    return size + len(inflater.flush())


def _raw_elements(header: Dataset) -> list[RawDataElement]:
    items: list[object] = [header.get_item(tag) for tag in list(header.keys())]
    return [item for item in items if isinstance(item, RawDataElement)]


def _is_cut(element: RawDataElement) -> bool:
    declared = element.length
    return declared != UNDEFINED_LENGTH and len(element.value or b"") < declared

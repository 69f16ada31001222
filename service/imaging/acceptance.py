"""Decide from a DICOM header alone whether the image is one frontal chest radiograph.

bytes -> file structure -> [acceptance] -> pixels -> grey
Every refusal names the tag that caused it, and what to send instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import SecondaryCaptureImageStorage

from service.errors import (
    MultipleFrames,
    NotAChest,
    NotFrontal,
    TooManyPixels,
    UnsupportedModality,
    UnsupportedPixels,
)
from service.imaging.bounded import MAX_VALUE_BYTES, byte_length, first_item
from service.imaging.dicom_file import MALFORMED
from service.imaging.radiograph import View
from service.imaging.terms import (
    CHEST_WORDS,
    FRONTAL_VIEW_CODES,
    FRONTAL_VIEWS,
    MODALITIES,
    OTHER_BODY_PARTS,
    OTHER_VIEW_CODES,
    OTHER_VIEWS,
    PROJECTION_MODALITIES,
    SECONDARY_CAPTURE_MODALITIES,
    compact,
    quoted,
)

GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
YBR = frozenset({"YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
SAMPLES = dict.fromkeys(GREY | {"PALETTE COLOR"}, 1) | dict.fromkeys(YBR | {"RGB"}, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the pixels are stored: the Image Pixel module (PS3.3 C.7.6.3), validated."""

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    @property
    def frame_bytes(self) -> int:
        """Size of the uncompressed frame; two chroma samples of YBR_FULL_422 serve two pixels."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * (self.bits_allocated // 8)


def code(header: Dataset, keyword: str) -> str:
    """Return the first value of an element as text; empty where absent, empty or malformed."""
    if byte_length(header, keyword) > MAX_VALUE_BYTES:  # within an item
        return ""
    try:
        value = header.get(keyword)
    except MALFORMED:
        return ""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        value = value[0] if len(value) else ""
    return "" if value is None else str(value).strip()


def check_modality(header: Dataset) -> str | None:
    """Accept projection radiography, and secondary captures with a warning (PS3.3 C.7.3.1.1.1)."""
    modality = compact(code(header, "Modality"))
    if modality in PROJECTION_MODALITIES:
        return None
    captured = code(header, "SOPClassUID") == SecondaryCaptureImageStorage
    if captured and modality in SECONDARY_CAPTURE_MODALITIES:
        return "Secondary capture: Modality (0008,0060) does not say that this is a radiograph."
    fact = quoted(modality, MODALITIES) if modality else "absent or empty"
    raise UnsupportedModality(
        f"Modality (0008,0060) is {fact}; only CR, DX, DR and RG are read. "
        "Send a projection radiograph of the chest."
    )


def check_body_part(header: Dataset) -> str | None:
    """Refuse a body part other than the chest; warn where none is given (PS3.16 annex L)."""
    part = code(header, "BodyPartExamined").upper()
    if not part:
        return "Body Part Examined (0018,0015) is absent or empty; a chest is assumed."
    if any(word in part for word in CHEST_WORDS):
        return None
    raise NotAChest(
        f"Body Part Examined (0018,0015) is {quoted(part, OTHER_BODY_PARTS)}; "
        "only the chest is read. Send the chest radiograph of this study."
    )


def check_view(header: Dataset) -> tuple[View | None, str | None]:
    """Return the frontal view and a warning where none is stated; refuse every other view.

    View Position (0018,5101) comes first, then View Code Sequence (0054,0220), and where both are
    silent Patient Orientation (0020,0020): rows that run towards anterior or posterior are a
    lateral view.

    References
    ----------
    DICOM PS3.3 C.8.7.1, C.8.11.5 and C.7.6.1.1.1; PS3.16 CID 4010.
    """
    words = code(header, "ViewPosition").upper().replace("_", " ").split()
    if words:
        return _stated_view(words), None
    value = _view_code(header)
    if value in OTHER_VIEW_CODES:
        raise NotFrontal(
            f"View Code Sequence (0054,0220) is {value}, not frontal; only PA and AP are read. "
            "Send the frontal view of this study."
        )
    if value in FRONTAL_VIEW_CODES:
        return ("PA" if FRONTAL_VIEW_CODES[value] == "PA" else "AP"), None
    if code(header, "PatientOrientation").upper() in {"A", "P"}:
        raise NotFrontal(
            "Patient Orientation (0020,0020) is that of a lateral view; only PA and AP are read. "
            "Send the frontal view of this study."
        )
    return None, "View Position (0018,5101) is absent or empty; a frontal view is assumed."


def _stated_view(words: list[str]) -> View:
    frontal = FRONTAL_VIEWS.intersection(words)
    if len(frontal) != 1 or OTHER_VIEWS.intersection(words):
        raise NotFrontal(
            f"View Position (0018,5101) is {quoted(''.join(words), OTHER_VIEWS)}; "
            "only PA and AP are read. Send the frontal view of this study."
        )
    return "PA" if "PA" in frontal else "AP"


def _view_code(header: Dataset) -> str:
    try:
        item = first_item(header, "ViewCodeSequence")
        return code(item, "CodeValue") if item else ""
    except MALFORMED:
        return ""


def check_frames(header: Dataset) -> None:
    """Refuse more than one frame (PS3.3 C.7.6.6)."""
    text = code(header, "NumberOfFrames") or "1"
    if not text.isdecimal() or int(text[:9]) != 1:
        count = f"{int(text[:9]):,}" if text.isdecimal() else "not a number"
        raise MultipleFrames(
            f"Number of Frames (0028,0008) is {count}; one is read. Send a single radiograph."
        )


def pixel_layout(header: Dataset, max_pixels: int) -> Layout:
    """Validate the Image Pixel module.

    Raises
    ------
    TooManyPixels
        If Rows x Columns exceeds ``max_pixels``.
    UnsupportedPixels
        If a value is missing, contradicts another or has no use in radiographs.
    """
    rows, columns = _integer(header, "Rows"), _integer(header, "Columns")
    if rows < 1 or columns < 1:
        raise UnsupportedPixels(
            "Rows (0028,0010) or Columns (0028,0011) is missing or 0. Send an image object."
        )
    if rows * columns > max_pixels:
        raise TooManyPixels(
            f"Rows (0028,0010) x Columns (0028,0011) is {rows} x {columns}; "
            f"at most {max_pixels:,} pixels are read. Send a smaller image."
        )
    photometric = code(header, "PhotometricInterpretation").upper()
    samples = _integer(header, "SamplesPerPixel", 1)
    if photometric not in SAMPLES or samples != SAMPLES[photometric]:
        raise UnsupportedPixels(
            f"Photometric Interpretation (0028,0004) is {quoted_photometric(photometric)} with "
            f"Samples per Pixel (0028,0002) {samples}. Send a grey image."
        )
    allocated = _integer(header, "BitsAllocated")
    stored = _integer(header, "BitsStored", allocated)
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise UnsupportedPixels(
            f"Bits Allocated (0028,0100) is {allocated} and Bits Stored (0028,0101) {stored}; "
            "8 or 16 allocated bits are read. Send the image as acquired."
        )
    high = _integer(header, "HighBit", stored - 1)
    if not stored - 1 <= high < allocated:
        raise UnsupportedPixels(
            f"High Bit (0028,0102) is {high}, with Bits Stored (0028,0101) {stored} and Bits "
            f"Allocated (0028,0100) {allocated}. Send the image as acquired."
        )
    return Layout(
        rows=rows,
        columns=columns,
        samples=samples,
        photometric=photometric,
        planar=min(_integer(header, "PlanarConfiguration", 0), 1),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high,
        signed=_integer(header, "PixelRepresentation", 0) == 1,
    )


def quoted_photometric(photometric: str) -> str:
    """Quote a photometric interpretation where it is a defined term (PS3.3 C.7.6.3.1.2)."""
    return f"'{photometric}'" if photometric in SAMPLES else "not one that is read"


def _integer(header: Dataset, keyword: str, default: int = 0) -> int:
    text = code(header, keyword)
    return int(text) if text.isdecimal() else default


def integer(header: Dataset, element: str | tuple[int, int]) -> int | None:
    """The first value of an element with the VR US or SS; None where there is none."""
    tag = Tag(element)
    if tag not in header or byte_length(header, tag) > MAX_VALUE_BYTES:
        return None
    try:
        value = header[tag].value
        return int(value[0] if isinstance(value, MultiValue) else value)
    except MALFORMED:
        return None


def pixel_spacing(header: Dataset) -> tuple[float, float] | None:
    """Row and column spacing in millimetres: at the detector (0018,1164), else (0028,0030)."""
    for keyword in ("ImagerPixelSpacing", "PixelSpacing"):
        try:
            row, column = (float(value) for value in header.get(keyword) or ())
        except MALFORMED:
            continue
        if 0 < row < 10 and 0 < column < 10:
            return row, column
    return None

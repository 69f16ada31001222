"""Decide from a DICOM header alone whether the image is one radiograph, and how it is stored.

Body part and view are decided in modules of their own.
bytes -> file structure -> [acceptance] -> pixels -> grey
Every refusal names the tag that caused it, and what to send instead.
"""

import re
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import (
    DigitalIntraOralXRayImageStorageForProcessing,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from service.errors import MultipleFrames, UnsupportedModality, UnsupportedPixels
from service.imaging.bounds.size import check_size
from service.imaging.dicom.header import code, unsigned, values
from service.imaging.dicom.terms import (
    MODALITIES,
    PROJECTION_MODALITIES,
    SECONDARY_CAPTURE_MODALITIES,
    compact,
    quoted,
)

# An integer, as an Integer String or as software writes it that knows floats only.
FRAMES = re.compile(r"([+-]?[0-9]{1,12})(?:\.0*)?")
FOR_PROCESSING_CLASSES = frozenset(
    {
        DigitalXRayImageStorageForProcessing,
        DigitalMammographyXRayImageStorageForProcessing,
        DigitalIntraOralXRayImageStorageForProcessing,
    }
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


def check_kind(header: Dataset) -> None:
    """Refuse what is no radiograph as displayed: raw detector data and localizers.

    References
    ----------
    DICOM PS3.3 C.8.11.1.1.1 (Presentation Intent Type) and C.7.6.1.1.2 (Image Type).
    """
    intent = compact(code(header, "PresentationIntentType"))
    if intent == "FORPROCESSING" or code(header, "SOPClassUID") in FOR_PROCESSING_CLASSES:
        raise UnsupportedPixels(
            "Presentation Intent Type (0008,0068) or SOP Class UID (0008,0016) is that of raw "
            "detector data, For Processing. Send the image For Presentation."
        )
    if "LOCALIZER" in map(compact, values(header, "ImageType")):
        raise UnsupportedModality(
            "Image Type (0008,0008) is that of a localizer. Send a projection radiograph of the "
            "chest."
        )


def check_polarity(header: Dataset) -> str | None:
    """Warn where two elements disagree on which end of the scale is white.

    References
    ----------
    DICOM PS3.3 table C.8-71: INVERSE shall be used with MONOCHROME1, IDENTITY with MONOCHROME2.
    """
    keywords = ("PhotometricInterpretation", "PresentationLUTShape")
    pair = tuple(compact(code(header, keyword)) for keyword in keywords)
    if pair not in {("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")}:
        return None
    return (
        "Photometric Interpretation (0028,0004) and Presentation LUT Shape (2050,0020) contradict "
        "each other; black and white may be exchanged."
    )


def check_frames(header: Dataset) -> None:
    """Refuse more than one frame (PS3.3 C.7.6.6); 0 and nothing are what writers put for one.

    References
    ----------
    DICOM PS3.5 6.2: an Integer String may have a sign, and blanks around it.
    """
    number = FRAMES.fullmatch(code(header, "NumberOfFrames").strip(" \0") or "1")
    count = int(number[1]) if number else None
    if count not in (0, 1):
        fact = "not a number of frames" if count is None or count < 0 else f"{count:,}"
        raise MultipleFrames(
            f"Number of Frames (0028,0008) is {fact}; one is read. Send a single radiograph."
        )


def pixel_layout(header: Dataset, max_pixels: int) -> Layout:
    """Validate the Image Pixel module.

    Raises
    ------
    TooManyPixels
        If Rows x Columns exceeds ``max_pixels``, or one of them what any film has.
    UnsupportedPixels
        If they have no film's shape, or a value is missing, contradicts another or has no use in
        radiographs.
    """
    rows, columns = unsigned(header, "Rows"), unsigned(header, "Columns")
    if rows < 1 or columns < 1:
        raise UnsupportedPixels(
            "Rows (0028,0010) or Columns (0028,0011) is missing or 0. Send an image object."
        )
    check_size(rows, columns, max_pixels, ("Rows (0028,0010)", "Columns (0028,0011)"))
    photometric = code(header, "PhotometricInterpretation").upper()
    samples = unsigned(header, "SamplesPerPixel", 1)
    if photometric not in SAMPLES or samples != SAMPLES[photometric]:
        raise UnsupportedPixels(
            f"Photometric Interpretation (0028,0004) is {quoted_photometric(photometric)} with "
            f"Samples per Pixel (0028,0002) {samples}. Send a grey image."
        )
    allocated = unsigned(header, "BitsAllocated")
    stored = unsigned(header, "BitsStored", allocated)
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise UnsupportedPixels(
            f"Bits Allocated (0028,0100) is {allocated} and Bits Stored (0028,0101) {stored}; "
            "8 or 16 allocated bits are read. Send the image as acquired."
        )
    high = unsigned(header, "HighBit", stored - 1)
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
        planar=min(unsigned(header, "PlanarConfiguration", 0), 1),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high,
        signed=unsigned(header, "PixelRepresentation", 0) == 1,
    )


def quoted_photometric(photometric: str) -> str:
    """Quote a photometric interpretation where it is a defined term (PS3.3 C.7.6.3.1.2)."""
    return f"'{photometric}'" if photometric in SAMPLES else "not one that is read"

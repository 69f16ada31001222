"""The elements of a header that are parsed; all others stay bytes in the upload."""

from pydicom.datadict import tag_for_keyword
from pydicom.tag import BaseTag, Tag

HEADER_KEYWORDS = (
    "ImageType",
    "SOPClassUID",
    "Modality",
    "PresentationIntentType",
    "AnatomicRegionSequence",
    "BodyPartExamined",
    "ViewPosition",
    "ViewCodeSequence",
    "PatientOrientation",
    "ImagerPixelSpacing",
    "PixelSpacing",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "PresentationLUTShape",
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
)
# (60xx,0100) and (60xx,0102): where old files keep overlays in the unused bits of pixels.
OVERLAY_GROUPS = range(0x6000, 0x6020, 2)
HEADER_TAGS: list[BaseTag | int] = [
    *(Tag(tag) for tag in map(tag_for_keyword, HEADER_KEYWORDS) if tag is not None),
    *(Tag(group, element) for group in OVERLAY_GROUPS for element in (0x0100, 0x0102)),
]
LONG_VALUES = {  # bounded where they are used
    Tag(keyword) for keyword in HEADER_KEYWORDS if keyword.endswith(("Sequence", "Data"))
}
SHORT_VALUES = {*HEADER_TAGS, Tag("SpecificCharacterSet")} - LONG_VALUES

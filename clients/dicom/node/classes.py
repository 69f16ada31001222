"""How the films that the node takes are encoded, and what it sends: docs/conformance.md."""

from pydicom.uid import (
    JPEG2000,
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

VERIFICATION = UID("1.2.840.10008.1.1")
COMMITMENT = UID("1.2.840.10008.1.20.1")
PLAIN_ENCODINGS: tuple[UID, ...] = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
# The order of preference, too: pynetdicom accepts the sender's first that is among them.
ENCODINGS: tuple[UID, ...] = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    RLELossless,
)
# A report goes as the first of these that the archive takes.
REPORTS: tuple[UID, ...] = (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage)
SENT: dict[UID, UID] = {
    **dict.fromkeys(REPORTS, ExplicitVRLittleEndian),
    SecondaryCaptureImageStorage: JPEGBaseline8Bit,
    GrayscaleSoftcopyPresentationStateStorage: ExplicitVRLittleEndian,
    SegmentationStorage: ExplicitVRLittleEndian,
}
PDU_BYTES = 128 * 1024

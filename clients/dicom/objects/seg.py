"""Where the heatmap has half of its peak or more, as a binary segmentation.

heatmap -> [seg]
It says where a network looked, not where a lesion ends.

References
----------
DICOM PS3.3 A.51.
"""

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.uid import UID, ExplicitVRLittleEndian

from clients.dicom.film import Film
from clients.dicom.heatmap import Heatmap
from clients.dicom.objects.common import PNEUMONIA, Device, identifiers, seal, stand_in
from clients.dicom.objects.uids import derived_uid

ABNORMAL = CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure")
INTELLIGENCE = CodedConcept("123110", "DCM", "Artificial Intelligence")
LABEL = "Grad-CAM, half of its peak"


def segmentation(film: Film, heatmap: Heatmap, device: Device) -> Dataset:
    """Mark the region; the heatmap must hold some heat."""
    description = SegmentDescription(
        segment_number=1,
        segment_label=LABEL,
        segmented_property_category=ABNORMAL,
        segmented_property_type=PNEUMONIA,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=device.name, version=device.version, family=INTELLIGENCE
        ),
        tracking_id="region",
        tracking_uid=device.tracking_uid(film, "region"),
    )
    made = Segmentation(
        source_images=[stand_in(film)],
        pixel_array=heatmap.mask.astype(np.uint8)[np.newaxis],
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        transfer_syntax_uid=ExplicitVRLittleEndian,
        content_label="GRADCAM",
        **identifiers("seg"),
        **device.equipment(),
    )
    made.PatientOrientation = film.orientation or None  # compulsory without a frame of reference
    _fix_dimensions(made, film, device)
    correct_ambiguous_vr(made, is_little_endian=True)
    return seal(made, film, device, "seg")


def _fix_dimensions(made: Dataset, film: Film, device: Device) -> None:
    """Put a UID that follows from the film where highdicom puts a random one."""
    uid = UID(derived_uid("dimensions", film.sop_instance, device.sha256))
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid

"""The reading as a structured report: Comprehensive 3D SR by TID 1500.

reading, outlines -> [sr]
The root, 126000, is the one that viewers look for. Preliminary and unverified: nobody has looked.

References
----------
DICOM PS3.16 TID 1500, 1501, 1410, 1204, 1002, 1004, 1600 and 4019.
"""

from collections.abc import Sequence

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from clients import Prediction, Problem
from clients.dicom.film import Film
from clients.dicom.heatmap import Outline
from clients.dicom.objects.common import (
    ACTIVATION,
    LUNG,
    PNEUMONIA,
    Device,
    identifiers,
    seal,
    stand_in,
)

TITLE = CodedConcept("126000", "DCM", "Imaging Measurement Report")
PROCEDURE = CodedConcept("363679005", "SCT", "Imaging procedure")
COMMENT = CodedConcept("121106", "DCM", "Comment")
UNDETERMINED = CodedConcept("121059", "DCM", "Undetermined")
PRESENCE = codes.DCM.PresenceOfProperty
OBSERVER_DEVICE = codes.DCM.Device


def structured_report(
    film: Film,
    reading: Prediction | Problem,
    device: Device,
    *,
    region: Outline | None,
    others: Sequence[Dataset],
) -> Dataset:
    """Build the report of a reading, or of a refusal.

    Parameters
    ----------
    film
        What was read.
    reading
        A refusal gives Undetermined and its code, and no probability.
    device
        What read it.
    region
        Outline of the evidence around its peak, for a second group (TID 1410); None for none.
    others
        Objects of the same reading, named as evidence.
    """
    source = stand_in(film)
    groups: list[
        MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations
    ] = [
        _refused(source, film, reading, device)
        if isinstance(reading, Problem)
        else _finding(source, film, reading, device)
    ]
    if region is not None:
        groups.append(_region(source, film, device, region))
    content = MeasurementReport(
        observation_context=_context(device),
        procedure_reported=PROCEDURE,
        imaging_measurements=groups,
        referenced_images=_library(film),
        title=TITLE,
    )
    made = Comprehensive3DSR(
        evidence=[source, *others],
        content=content[0],
        is_complete=True,
        is_final=False,
        is_verified=False,
        **identifiers("sr"),
        **device.equipment(),
    )
    return seal(made, film, device, "sr")


def _context(device: Device) -> ObservationContext:
    attributes = DeviceObserverIdentifyingAttributes(
        uid=device.uid,
        name=device.name,
        manufacturer_name=device.equipment()["manufacturer"],
        model_name=device.name,
        serial_number=device.serial,
    )
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=OBSERVER_DEVICE, observer_identifying_attributes=attributes
        )
    )


def _library(film: Film) -> list[Dataset] | None:
    """TID 1600 where the film has what it describes: highdicom asks for both without looking."""
    if film.spacing is None or not film.orientation:
        return None
    described = stand_in(film)
    described.PatientOrientation = film.orientation
    described.ImagerPixelSpacing = described.PixelSpacing = list(film.spacing)
    return [described]


def _finding(
    source: Dataset, film: Film, reading: Prediction, device: Device
) -> MeasurementsAndQualitativeEvaluations:
    probability = Measurement(
        name=codes.DCM.Probability,
        value=100 * reading.probability,
        unit=codes.UCUM.Percent,
    )
    # The exact value stands in Floating Point Value; the one that is read has two decimals.
    probability[0].MeasuredValueSequence[0].NumericValue = f"{100 * reading.probability:.2f}"
    present = codes.DCM.Present if reading.call == "pneumonia" else codes.DCM.Absent
    threshold = f"threshold {reading.operating_point.threshold}"
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(film, device, "pneumonia"),
        finding_type=PNEUMONIA,
        finding_sites=[FindingSite(anatomic_location=LUNG)],
        algorithm_id=_algorithm(device, threshold),
        measurements=[probability],
        qualitative_evaluations=[QualitativeEvaluation(name=PRESENCE, value=present)],
        source_images=[SourceImageForMeasurementGroup.from_source_image(source)],
    )


def _refused(
    source: Dataset, film: Film, refusal: Problem, device: Device
) -> MeasurementsAndQualitativeEvaluations:
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(film, device, "pneumonia"),
        finding_type=PNEUMONIA,
        finding_sites=[FindingSite(anatomic_location=LUNG)],
        algorithm_id=_algorithm(device),
        qualitative_evaluations=[QualitativeEvaluation(name=PRESENCE, value=UNDETERMINED)],
        source_images=[SourceImageForMeasurementGroup.from_source_image(source)],
    )
    # In ASCII, which every character set that a film may declare can write.
    reason = f"Not read: {refusal.code}: {refusal.detail}".encode("ascii", "replace").decode()
    group[0].ContentSequence.append(
        TextContentItem(
            name=COMMENT, value=reason, relationship_type=RelationshipTypeValues.CONTAINS
        )
    )
    return group


def _region(
    source: Dataset, film: Film, device: Device, outline: Outline
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(film, device, "region"),
        referenced_region=ImageRegion(
            graphic_type=GraphicTypeValues.POLYLINE,
            graphic_data=outline.astype(np.float32),
            source_image=SourceImageForRegion.from_source_image(source),
        ),
        finding_type=ACTIVATION,
        finding_sites=[FindingSite(anatomic_location=LUNG)],
        algorithm_id=_algorithm(device),
    )


def _tracking(film: Film, device: Device, what: str) -> TrackingIdentifier:
    return TrackingIdentifier(uid=device.tracking_uid(film, what), identifier=what)


def _algorithm(device: Device, *parameters: str) -> AlgorithmIdentification:
    digest = [f"SHA-256 {device.sha256}"] if device.sha256 else []
    return AlgorithmIdentification(
        name=device.name,
        version=device.version,
        parameters=[*digest, *parameters, "research use only"],
    )

"""The reading as a structured report: Comprehensive 3D SR by TID 1500.

reading, outlines -> form -> [sr]
The root, 126000, is the one that viewers look for. Preliminary and unverified: nobody has looked.

References
----------
DICOM PS3.16 TID 1500, 1501, 1410, 1204, 1002, 1004, 1600 and 4019.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

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
    in_ascii,
    seal,
    stand_in,
)
from clients.dicom.objects.form import KEPT, Form, entry, nobody
from service.findings.calibration import Call

TITLE = CodedConcept("126000", "DCM", "Imaging Measurement Report")
PROCEDURE = CodedConcept("363679005", "SCT", "Imaging procedure")
COMMENT = CodedConcept("121106", "DCM", "Comment")
UNDETERMINED = CodedConcept("121059", "DCM", "Undetermined")
PRESENCE = codes.DCM.PresenceOfProperty
OBSERVER_DEVICE = codes.DCM.Device
CALLS = {"pneumonia": codes.DCM.Present, "no pneumonia": codes.DCM.Absent, None: UNDETERMINED}


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
    shape = Shape.of(film, reading, device, region)
    entries = _entries(film, device, result_of(reading), region)
    made = _form(shape).filled(entries)
    (study,) = made.CurrentRequestedProcedureEvidenceSequence
    study.ReferencedSeriesSequence.extend(map(_evidence, others))
    return seal(made, film, device, "sr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """All that decides on a report but for its entries; a refused film has no call."""

    device: Device
    sop_class: str
    modality: str
    orientation: tuple[str, ...]
    spacing: tuple[float, float] | None
    call: Call | None
    threshold: float | None
    has_region: bool

    @classmethod
    def of(
        cls, film: Film, reading: Prediction | Problem, device: Device, region: Outline | None
    ) -> Self:
        """Say which form a report needs."""
        read = None if isinstance(reading, Problem) else reading
        return cls(
            device=device,
            sop_class=film.sop_class,
            modality=film.text("Modality"),
            orientation=tuple(film.orientation),
            spacing=film.spacing,
            call=None if read is None else read.call,
            threshold=None if read is None else read.operating_point.threshold,
            has_region=region is not None,
        )

    @property
    def film(self) -> Film:
        """The film that does not exist."""
        return nobody(
            self.sop_class,
            Modality=self.modality,
            PatientOrientation=list(self.orientation),
            ImagerPixelSpacing=None if self.spacing is None else list(self.spacing),
        )


def result_of(reading: Prediction | Problem) -> float | str:
    """A probability, or why there is none."""
    if isinstance(reading, Problem):
        return in_ascii(f"Not read: {reading.code}: {reading.detail}")
    return reading.probability


def _entries(
    film: Film, device: Device, result: float | str, region: Outline | None
) -> list[bytes]:
    """What a report says of its film alone; see :func:`result_of`."""
    entries = [
        entry("StudyInstanceUID", film.study),
        entry("SeriesInstanceUID", film.series),
        entry("ReferencedSOPInstanceUID", film.sop_instance),
        entry("UID", device.tracking_uid(film, "pneumonia")),
    ]
    if isinstance(result, str):
        entries.append(entry("TextValue", result))
    else:
        # The exact value stands in Floating Point Value; the one that is read has two decimals.
        entries.append(entry("NumericValue", f"{100 * result:.2f}"))
        entries.append(entry("FloatingPointValue", 100 * result))
    if region is not None:
        entries.append(entry("UID", device.tracking_uid(film, "region")))
        entries.append(entry("GraphicData", region.astype("<f4")))
    if _is_described(film):
        entries += [entry("NumericValue", f"{side:.1f}") for side in film.size]
    return entries


@lru_cache(KEPT)
def _form(shape: Shape) -> Form:
    film, result = shape.film, "Not read" if shape.call is None else 0.123456789
    region = np.array([(1, 2), (3, 4), (1, 2)], float) if shape.has_region else None
    made = unsealed(film, shape, result, region)
    return Form(made, _entries(film, shape.device, result, region))


def unsealed(film: Film, shape: Shape, result: float | str, region: Outline | None) -> Dataset:
    """Have highdicom make the report of a film, without other objects; see :func:`_entries`."""
    source = stand_in(film)
    groups: list[
        MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations
    ] = [_finding(source, film, shape, result)]
    if region is not None:
        groups.append(_region(source, film, shape.device, region))
    content = MeasurementReport(
        observation_context=_context(shape.device),
        procedure_reported=PROCEDURE,
        imaging_measurements=groups,
        referenced_images=_library(film),
        title=TITLE,
    )
    return Comprehensive3DSR(
        evidence=[source],
        content=content[0],
        is_complete=True,
        is_final=False,
        is_verified=False,
        **identifiers("sr"),
        **shape.device.equipment(),
    )


def _evidence(made: Dataset) -> Dataset:
    """Name another object of the same study, as highdicom names the film."""
    instance, series = Dataset(), Dataset()
    instance.ReferencedSOPClassUID = made.SOPClassUID
    instance.ReferencedSOPInstanceUID = made.SOPInstanceUID
    series.ReferencedSOPSequence = [instance]
    series.SeriesInstanceUID = made.SeriesInstanceUID
    return series


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


def _is_described(film: Film) -> bool:
    """Whether it has all that TID 1600 asks for; highdicom does not look."""
    return film.spacing is not None and bool(film.orientation)


def _library(film: Film) -> list[Dataset] | None:
    """TID 1600 where the film has what it describes."""
    if not _is_described(film):
        return None
    described = stand_in(film)
    described.PatientOrientation = film.orientation
    described.ImagerPixelSpacing = described.PixelSpacing = list(film.spacing or ())
    return [described]


def _finding(
    source: Dataset, film: Film, shape: Shape, result: float | str
) -> MeasurementsAndQualitativeEvaluations:
    parameters = [] if shape.threshold is None else [f"threshold {shape.threshold}"]
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(film, shape.device, "pneumonia"),
        finding_type=PNEUMONIA,
        finding_sites=[FindingSite(anatomic_location=LUNG)],
        algorithm_id=_algorithm(shape.device, *parameters),
        measurements=[_probability(result)] if isinstance(result, float) else None,
        qualitative_evaluations=[QualitativeEvaluation(name=PRESENCE, value=CALLS[shape.call])],
        source_images=[SourceImageForMeasurementGroup.from_source_image(source)],
    )
    if isinstance(result, str):
        comment = TextContentItem(
            name=COMMENT, value=result, relationship_type=RelationshipTypeValues.CONTAINS
        )
        group[0].ContentSequence.append(comment)
    return group


def _probability(share: float) -> Measurement:
    percent = 100 * share
    made = Measurement(name=codes.DCM.Probability, value=percent, unit=codes.UCUM.Percent)
    made[0].MeasuredValueSequence[0].NumericValue = f"{percent:.2f}"
    return made


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

"""The header of a film: what ties a result to it.

bytes -> [film] -> objects
The film is parsed as the service parses it, within the same bounds; no pixel is decoded here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

from service.errors import ReadingError
from service.imaging.bounds.dicom import MAX_VALUE_BYTES
from service.imaging.decode import Limits
from service.imaging.dicom.elements import HEADER_TAGS
from service.imaging.dicom.file import is_dicom, parse
from service.imaging.dicom.header import MALFORMED, byte_length, code, pixel_spacing, unsigned

# PS3.3 C.7.1.1, C.7.1.3 and C.7.2.3: who the patient is and who takes part in which trial.
PATIENT = (
    "PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID",
    "IssuerOfPatientIDQualifiersSequence", "PatientBirthDate", "PatientSex",
    "PatientBirthTime", "OtherPatientIDsSequence", "EthnicGroup", "PatientComments",
    "PatientSpeciesDescription", "PatientSpeciesCodeSequence", "PatientBreedDescription",
    "PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson",
    "ResponsiblePersonRole", "ResponsibleOrganization", "PatientIdentityRemoved",
    "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID",
)  # fmt: skip
# PS3.3 C.7.2.1 and C.7.2.2: the study, and the patient at its time.
STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription",
    "AccessionNumber", "IssuerOfAccessionNumberSequence", "ReferringPhysicianName",
    "ReferringPhysicianIdentificationSequence", "PhysiciansOfRecord",
    "RequestingService", "ReferencedStudySequence", "ProcedureCodeSequence",
    "AdmittingDiagnosesDescription", "PatientAge", "PatientSize", "PatientWeight",
    "PatientSexNeutered", "AdmissionID", "IssuerOfAdmissionIDSequence", "ServiceEpisodeID",
)  # fmt: skip
TYPE_2 = (  # present in every object, though empty
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
EQUIPMENT = (
    "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions",
    "InstitutionName", "StationName",
)  # fmt: skip
OTHER = (
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "SOPInstanceUID", "SeriesInstanceUID",
    "LossyImageCompressionRatio", "LossyImageCompressionMethod", "RescaleType",
)  # fmt: skip


CLASSES: tuple[UID, ...] = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
)
RAW_CLASSES: tuple[UID, ...] = (DigitalXRayImageStorageForProcessing,)
DIRECTION = re.compile("[LRAPHF]{1,3}")  # PS3.3 C.7.6.1.1.1
MAX_TEXT_BYTES = 0xFFFE  # what the length of an element of text can be
TAGS = [*HEADER_TAGS, *map(Tag, (*PATIENT, *STUDY, *EQUIPMENT, *OTHER))]


class FilmError(ValueError):
    """The file has nothing that a result can be tied to; the message holds no patient's value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """The header of one film.

    Attributes
    ----------
    header
        The elements of ``TAGS`` that are present.
    sop_class, sop_instance, series, study
        UIDs.
    """

    header: Dataset
    sop_class: str
    sop_instance: str
    series: str
    study: str

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Parse the header of a DICOM file.

        Raises
        ------
        FilmError
            If the file is no DICOM file, is of another class than radiographs are, or lacks one of
            the four UIDs.
        """
        if not is_dicom(data):
            raise FilmError(
                "This is no DICOM file: there is no study to add a result to. Send the film as "
                "the modality or the archive gives it."
            )
        try:
            header = parse(data, Limits().max_bytes, TAGS).header
        except (ReadingError, *MALFORMED):
            raise FilmError(
                "The header of the DICOM file cannot be parsed. Fetch the film again."
            ) from None
        sop_class = _uid(header, "SOPClassUID", "(0008,0016)")
        if sop_class not in CLASSES + RAW_CLASSES:
            raise FilmError(
                "SOP Class UID (0008,0016) is none of a radiograph (CR, DX or secondary capture). "
                "Send the radiograph of this study."
            )
        return cls(
            header=header,
            sop_class=sop_class,
            sop_instance=_uid(header, "SOPInstanceUID", "(0008,0018)"),
            series=_uid(header, "SeriesInstanceUID", "(0020,000E)"),
            study=_uid(header, "StudyInstanceUID", "(0020,000D)"),
        )

    def text(self, keyword: str) -> str:
        """Return the first value of an element; empty where it is absent, empty or malformed."""
        return code(self.header, keyword)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns; 0 where the header does not say."""
        return unsigned(self.header, "Rows"), unsigned(self.header, "Columns")

    @property
    def is_grey(self) -> bool:
        """Whether pixels have one grey sample, which a grayscale presentation state needs."""
        return self.text("PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2")

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Row and column spacing in mm that is possible; None where there is none."""
        return pixel_spacing(self.header)

    @property
    def orientation(self) -> list[str]:
        """Directions of rows and columns (0020,0020); empty where not both are stated and known."""
        element = self.element("PatientOrientation")
        values = [] if element is None or element.VM < 2 else [str(v) for v in element.value]
        return values if len(values) == 2 and all(map(DIRECTION.fullmatch, values)) else []

    def element(self, keyword: str) -> DataElement | None:
        """Return an element; None where it is absent, malformed or longer than any film needs."""
        if byte_length(self.header, keyword) > MAX_VALUE_BYTES:
            return None
        try:
            element: DataElement | None = self.header.get(Tag(keyword))
        except MALFORMED:
            return None
        return element

    def copy(self, keywords: Iterable[str], target: Dataset) -> None:
        """Put elements of the film into another data set, as they are.

        Text keeps its bytes, also where they are none of the character set that the film states.
        """
        for keyword in keywords:
            element = self._text_as_written(keyword) or self.element(keyword)
            if element is not None:
                target[element.tag] = element

    def _text_as_written(self, keyword: str) -> RawDataElement | None:
        """Return an element that depends on the character set; None where there is none to copy."""
        raw: object = self.header.get_item(Tag(keyword)) if keyword in self.header else None
        if not isinstance(raw, RawDataElement):
            return None
        vr = raw.VR or dictionary_VR(raw.tag)
        value = (raw.value or b"").rstrip(b"\0 ")
        if vr not in CUSTOMIZABLE_CHARSET_VR or len(value) > MAX_TEXT_BYTES:
            return None
        value += b" " * (len(value) % 2)
        return RawDataElement(raw.tag, vr, len(value), value, 0, False, True)  # noqa: FBT003


def _uid(header: Dataset, keyword: str, tag: str) -> str:
    uid = code(header, keyword).strip("\0 ")
    if not uid or set(uid) - set("0123456789.") or len(uid) > 64:
        raise FilmError(
            f"{keyword} {tag} is missing or no UID: a result could not refer to the film. Send "
            "the film as the modality or the archive gives it."
        )
    return uid

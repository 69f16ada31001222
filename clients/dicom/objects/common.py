"""What all result objects share: the patient and study of the film, equipment, flags, UIDs.

film, reading -> [common] -> sc, seg, gsps -> sr
highdicom builds each object on a stand-in for the film that names nobody: it refuses films that
lack what it expects, and logs names that it takes for wrong. :func:`seal` then puts in what the
film says, as it says it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from io import BytesIO
from typing import Any, Self

from highdicom.sr import CodedConcept
from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataset import Dataset
from pydicom.uid import UID

from clients import Prediction, Problem
from clients.dicom.film import EQUIPMENT, PATIENT, STUDY, TYPE_2, Film
from clients.dicom.marks import MANUFACTURER, SERIES, Kind
from clients.dicom.objects.uids import DEVICE, TRACKING, derived_uid
from service.version import VERSION

NOTICE = "RESEARCH USE ONLY - not a medical device"
SERIES_NUMBERS: dict[Kind, int] = {"sr": 9901, "sc": 9903, "seg": 9904, "gsps": 9905}
DESCRIPTIONS: dict[Kind, str] = {
    "sr": "pneumonia reading", "sc": "heatmap", "seg": "evidence region", "gsps": "overlay",
}  # fmt: skip

PNEUMONIA = CodedConcept("233604007", "SCT", "Pneumonia")
LUNG = CodedConcept("39607008", "SCT", "Lung")
ACTIVATION = CodedConcept("130403", "DCM", "Gradient-weighted class activation")
SOURCE_IMAGE = CodedConcept("121322", "DCM", "Source image for image processing operation")
ACQUISITION = CodedConcept("109101", "DCM", "Acquisition Equipment")

MADE = ("InstanceCreation", "Content", "PresentationCreation")  # ...Date and ...Time
FORMS = {"DA": "%Y%m%d", "TM": "%H%M%S.%f"}
UNKNOWN_UID = UID("2.25.0")  # until the content is known
SHOWN_DIGITS = 12  # of a digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The software that read: the model where there is a reading, else nanocxr itself.

    ``sha256`` is that of the model's graph; empty where no model has read.
    """

    name: str
    version: str
    sha256: str

    @classmethod
    def of(cls, reading: Prediction | Problem) -> Self:
        """Say who gave a reading, or refused."""
        if isinstance(reading, Problem):
            return cls(name=MANUFACTURER, version=VERSION, sha256="")
        model = reading.model
        return cls(
            name=f"{MANUFACTURER} {in_ascii(model.name)}",
            version=in_ascii(model.version),
            sha256=model.sha256,
        )

    @property
    def uid(self) -> str:
        """Of the device as an observer."""
        return derived_uid(DEVICE, self.name, self.version, self.sha256)

    @property
    def serial(self) -> str:
        """Start of the digest; the version where there is none."""
        return self.sha256[:SHOWN_DIGITS] or self.version

    @property
    def software(self) -> list[str]:
        """Versions: of nanocxr, then of the model."""
        return [VERSION] if not self.sha256 else [VERSION, f"{self.version} {self.serial}"]

    def equipment(self) -> dict[str, Any]:
        """Arguments by which highdicom describes the device."""
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.name,
            "software_versions": self.software,
            "device_serial_number": self.serial,
        }

    def tracking_uid(self, film: Film, what: str) -> str:
        """Of a finding, or region, of this device on this film: the same in all objects."""
        return derived_uid(TRACKING, what, film.sop_instance, self.sha256)


def in_ascii(text: str) -> str:
    """Text that every character set which a film may declare can write."""
    return text.encode("ascii", "replace").decode()


def identifiers(kind: Kind) -> dict[str, Any]:
    """Arguments by which highdicom identifies an object, until :func:`seal` knows its content."""
    return {
        "series_instance_uid": UNKNOWN_UID,
        "series_number": SERIES_NUMBERS[kind],
        "sop_instance_uid": UNKNOWN_UID,
        "instance_number": 1,
        "series_description": f"{SERIES} {DESCRIPTIONS[kind]}",
        "content_qualification": "RESEARCH",
    }


def stand_in(film: Film) -> Dataset:
    """Give what highdicom needs to know of the film, complete and without the patient."""
    source = Dataset()
    source.SOPClassUID, source.SOPInstanceUID = UID(film.sop_class), UID(film.sop_instance)
    source.SeriesInstanceUID, source.StudyInstanceUID = UID(film.series), UID(film.study)
    source.Modality = film.text("Modality")
    source.Rows, source.Columns = film.size
    source.SamplesPerPixel = 1
    for keyword in TYPE_2:
        setattr(source, keyword, None)
    return source


def seal(made: Dataset, film: Film, device: Device, kind: Kind) -> Dataset:
    """Finish an object: patient, study, equipment of the film, then UIDs and times.

    The digest in the UIDs is that of the whole object but for the moment at which it was made.
    """
    for keyword in TYPE_2:
        setattr(made, keyword, None)
    film.copy(("SpecificCharacterSet", "TimezoneOffsetFromUTC", *PATIENT, *STUDY), made)
    _state_encoding(made, film)
    if kind != "sr":  # a document has no body part
        made.BodyPartExamined = "CHEST"
    made.ContributingEquipmentSequence = list(_acquisition(film))
    if not made.ContributingEquipmentSequence:
        del made.ContributingEquipmentSequence
    for keyword in _times(made):
        made[keyword].value = None
    content = hashlib.sha256(encoded(made)).hexdigest()
    identity = (kind, film.sop_instance, device.sha256, content)
    made.SeriesInstanceUID = UID(derived_uid("series", *identity))
    made.SOPInstanceUID = UID(derived_uid("instance", *identity))
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    moment = datetime.now(_zone(film))
    for keyword in _times(made):
        made[keyword].value = moment.strftime(FORMS[made[keyword].VR])
    return made


def encoded(dataset: Dataset) -> bytes:
    """Write an object as a DICOM file."""
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def statement(reading: Prediction, device: Device) -> list[str]:
    """Lines that a picture bears: what it is, what was read, by which model."""
    side = "at or above" if reading.call == "pneumonia" else "below"
    model, threshold = reading.model, f"{100 * reading.operating_point.threshold:.1f} %"
    return [
        f"{MANUFACTURER} {NOTICE}",
        f"Pneumonia: {100 * reading.probability:.1f} %, {side} the threshold of {threshold}",
        f"Model {in_ascii(model.name)} {device.version}, SHA-256 {device.serial}",
    ]


def _state_encoding(made: Dataset, film: Film) -> None:
    """Have text taken for what the film's is: pydicom then writes its bytes as they are."""
    stated = film.element("SpecificCharacterSet")
    made.set_original_encoding(
        is_implicit_vr=False,
        is_little_endian=True,
        character_encoding=(
            convert_encodings(stated.value) if stated and stated.value else default_encoding
        ),
    )


def _times(made: Dataset) -> list[str]:
    keywords = [f"{moment}{part}" for moment in MADE for part in ("Date", "Time")]
    keywords += ["DateOfSecondaryCapture", "TimeOfSecondaryCapture"]
    return [keyword for keyword in keywords if keyword in made]


def _zone(film: Film) -> tzinfo | None:
    """The time zone that the film states, since the object states the same; else the machine's."""
    text = film.text("TimezoneOffsetFromUTC")
    try:
        stated = datetime.strptime(text, "%z").utcoffset()
    except ValueError:
        return None
    return UTC if stated is None else timezone(timedelta(seconds=stated.total_seconds()))


def _acquisition(film: Film) -> Iterator[Dataset]:
    """The device that took the film (PS3.3 C.12.1); its maker is compulsory."""
    if not film.text("Manufacturer"):
        return
    item = Dataset()
    _state_encoding(item, film)
    film.copy(EQUIPMENT, item)
    item.PurposeOfReferenceCodeSequence = [ACQUISITION]
    yield item

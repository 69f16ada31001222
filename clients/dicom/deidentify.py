"""Take the patient out of films: the Basic Profile of PS3.15 Annex E, edition 2026c.

file -> [table E.1-1 at every level, UIDs by key, flags] -> file
UIDs are replaced by a keyed hash: what belonged together still does, and without the key nobody
can tell what it was. Pixels are not changed.

References
----------
DICOM PS3.15 E.1 and table E.1-1; PS3.3 C.7.1.1 and C.12.1 (flags); PS3.16 CID 7050 (methods).
"""

import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import pydicom
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from dicomanonymizer.simpledicomanonymizer import (
    anonymize_dataset,
    delete,
    initialize_actions,
    keep,
)
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from clients.dicom.marks import UID_ROOT
from service.imaging.dicom.file import is_dicom
from service.imaging.dicom.header import MALFORMED
from service.version import VERSION

Place = tuple[int, int]  # group and element
Rule = Callable[[Dataset, Place], None]

EDITION = "dicomfields_2026c"
METHOD = ("113100", "Basic Application Confidentiality Profile")  # PS3.16 CID 7050
PATIENT_GROUPS = (0x0010, 0x0038)  # the patient; visit and stay
OVERLAY_GROUPS = range(0x6000, 0x6100)  # without the data, which go, nothing shows what is left
LEAST_KEY = 16  # bytes
UUID_BITS = 128


class DeidentificationError(ValueError):
    """The file cannot be de-identified; the message holds no patient's value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deidentified:
    """A film without its patient.

    Attributes
    ----------
    name
        Its new SOP Instance UID.
    data
        The file.
    warnings
        What somebody should look at before it is given away.
    """

    name: str
    data: bytes
    warnings: tuple[str, ...]


class Deidentifier:
    """De-identifies the films of one run.

    Parameters
    ----------
    key
        Secret, at least 16 bytes. The same key gives the same UIDs.

    Raises
    ------
    DeidentificationError
        If the key is shorter.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < LEAST_KEY:
            raise DeidentificationError(
                f"The key has fewer than {LEAST_KEY} bytes. Make one: head -c 32 /dev/urandom."
            )
        self._key = key
        table = dicom_anonymization_database_selector(EDITION)
        self._rules: dict[Place, Rule] = {
            tag: _careful(action) for tag, action in initialize_actions(EDITION).items()
        }
        self._rules |= dict.fromkeys(table["U_TAGS"], self._replace_uids)
        # Their items stay, and are cleaned as every other: references lead to the new UIDs.
        self._rules |= dict.fromkeys(table["X_Z_U_STAR_TAGS"], keep)

    def __call__(self, film: bytes) -> Deidentified:
        """De-identify a DICOM file.

        Raises
        ------
        DeidentificationError
            If it is no DICOM file, cannot be parsed, or holds no image.
        """
        if not is_dicom(film):
            raise DeidentificationError("This is no DICOM file.")
        try:
            dataset = pydicom.dcmread(BytesIO(film), force=True)
            self._clean(dataset)
            _flag(dataset)
            file = BytesIO()
            dataset.save_as(file, enforce_file_format=True)
        except MALFORMED:
            raise DeidentificationError(
                "The DICOM file cannot be parsed to its end. Nothing was written of it."
            ) from None
        if "PixelData" not in dataset:
            raise DeidentificationError(
                "There is no Pixel Data (7FE0,0010): only films are de-identified."
            )
        return Deidentified(
            name=str(dataset.SOPInstanceUID),
            data=file.getvalue(),
            warnings=tuple(_warnings(dataset)),
        )

    def _clean(self, dataset: Dataset) -> None:
        anonymize_dataset(dataset, base_rules_gen=lambda: dict(self._rules))
        for element in list(dataset):
            is_overlay = element.tag.group in OVERLAY_GROUPS
            if is_overlay or self._is_about_somebody(element) or _is_closed(element):
                del dataset[element.tag]
            elif element.VR == "SQ":
                for item in element.value:
                    self._clean(item)

    def _is_about_somebody(self, element: DataElement) -> bool:
        """Whether it names a person, or tells of patient or visit, and the table has no rule."""
        place = (element.tag.group, element.tag.element)
        return place not in self._rules and (element.VR == "PN" or place[0] in PATIENT_GROUPS)

    def _replace_uids(self, dataset: Dataset, tag: Place) -> None:
        if tag not in dataset or dataset[tag].is_empty:
            return
        element = dataset[tag]
        uids = element.value if element.VM > 1 else [element.value]
        element.value = [self._uid(uid) for uid in uids]

    def _uid(self, old: str) -> UID:
        digest = hmac.digest(self._key, str(old).encode(), "sha256")
        return UID(UID_ROOT + str(int.from_bytes(digest[: UUID_BITS // 8], "big")))


def _is_closed(element: DataElement) -> bool:
    """Whether nobody can tell what is in it: pydicom leaves a sequence of 64 KiB as UN, too."""
    return element.VR == "UN" and element.keyword != "PixelData"


def _careful(action: Rule) -> Rule:
    """Empty a sequence rather than fill it with dummies, and remove what has no dummy."""

    def act(dataset: Dataset, tag: Place) -> None:
        if tag not in dataset:
            return
        if dataset[tag].VR == "SQ" and action is not delete:
            dataset[tag].value = Sequence()
            return
        try:
            action(dataset, tag)
        except NotImplementedError:
            del dataset[tag]

    return act


def _flag(dataset: Dataset) -> None:
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = f"nanocxr {VERSION}: PS3.15 2026c, Basic Profile"
    code = Dataset()
    code.CodeValue, code.CodeMeaning = METHOD
    code.CodingSchemeDesignator = "DCM"
    dataset.DeidentificationMethodCodeSequence = [code]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    meta = FileMetaDataset()  # a new one: the old may name stations
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    dataset.file_meta = meta
    dataset.preamble = bytes(128)


def _warnings(dataset: Dataset) -> Iterator[str]:
    stated = str(dataset.get("BurnedInAnnotation", "")).strip().upper()
    if stated != "NO":
        fact = "says that text is" if stated == "YES" else "does not say whether text is"
        yield (
            f"Burned In Annotation (0028,0301) {fact} burned into the pixels, which were not "
            "changed. Look at the film before giving it away."
        )

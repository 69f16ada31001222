"""Films as hospitals have them, with a patient who does not exist, and readings of a real model.

film(PatientName="DOE^JANE")     a CR film of a study; keywords as for tests.factories
FILMS["japanese"]                one of those that result objects must be right for
"""

from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import DigitalXRayImageStorageForPresentation

from clients import Prediction
from clients.dicom import Heatmap
from service import schemas
from service.imaging.standardise import Geometry
from service.model.reader import Reader
from tests.factories import Pixels, chest, dicom_bytes

STUDY, SERIES, FILM = "1.2.3.4", "1.2.3.4.5", "1.2.3.4.5.6"
PATIENT: dict[str, Any] = {
    "PatientName": "DOE^JANE", "PatientID": "P-17", "PatientBirthDate": "19530217",
    "PatientSex": "F", "StudyID": "S-1", "StudyDate": "20260102", "StudyTime": "101112",
    "StudyDescription": "THORAX PA", "AccessionNumber": "A-1",
    "ReferringPhysicianName": "WARD^B", "SpecificCharacterSet": "ISO_IR 100",
    "Manufacturer": "ACME", "ManufacturerModelName": "Tube",
}  # fmt: skip
IDENTITY: dict[str, Any] = {
    "SOPInstanceUID": FILM, "SeriesInstanceUID": SERIES, "StudyInstanceUID": STUDY
}  # fmt: skip
DX: dict[str, Any] = {
    "SOPClassUID": DigitalXRayImageStorageForPresentation, "Modality": "DX",
    "PresentationIntentType": "FOR PRESENTATION", "PatientOrientation": ["L", "F"],
    "ImagerPixelSpacing": ["0.148", "0.148"], "WindowCenter": "2048", "WindowWidth": "4096",
    "RescaleIntercept": "0", "RescaleSlope": "1", "PresentationLUTShape": "IDENTITY",
}  # fmt: skip


def film(pixels: Pixels | None = None, **tags: Any) -> bytes:
    """A CR film of :data:`PATIENT`; None leaves an element out."""
    return dicom_bytes(pixels, **(IDENTITY | PATIENT | tags))


@cache
def nema() -> bytes:
    """A film of NEMA's with JPEG 2000, and a pixel spacing of 0."""
    path = get_testdata_file("RG1_J2KI.dcm")
    assert path is not None
    return Path(str(path)).read_bytes()


FILMS: dict[str, Callable[[], bytes]] = {
    "RG1_J2KI": nema,
    "8 bits, MONOCHROME1": lambda: film(chest(bits=8), photometric="MONOCHROME1"),
    "DX with spacing": lambda: film(**DX),
    "UTF-8": lambda: film(SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Zoë"),
    "Japanese": lambda: film(
        SpecificCharacterSet=["", "ISO 2022 IR 87"],
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    "without type 2": lambda: film(**dict.fromkeys(PATIENT)),
    "spacing of 0": lambda: film(**DX | {"ImagerPixelSpacing": None, "PixelSpacing": [0, 0]}),
}


def drawn(picture: bytes, overlay: bytes | None = None) -> Heatmap:
    """What ``/explain`` draws, a grey PNG, as a heatmap of one level for each pixel."""
    with Image.open(BytesIO(picture)) as opened:
        levels = np.asarray(opened.convert("L"))
    rows, columns = levels.shape
    frame = Geometry(rows=rows, columns=columns, left=0, top=0, width=columns, height=rows)
    return Heatmap(levels=levels, frame=frame, overlay=overlay)


def read_by(reader: Reader, data: bytes) -> tuple[Prediction, Heatmap]:
    """What a client gets of a service with this model."""
    reading, levels = reader.explain(data, bare=True)
    _, overlay = reader.explain(data, bare=False, form="jpeg", size="reduced")
    answer = schemas.Prediction.from_reading(reading).model_dump_json()
    return Prediction.model_validate_json(answer), drawn(levels, overlay)

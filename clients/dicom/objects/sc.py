"""The heatmap over the film as a secondary capture, which every viewer shows.

heatmap -> picture; film -> form -> [sc]
In colour and JPEG Baseline: RLE took a hundred times as long.

References
----------
DICOM PS3.3 A.8.1 and C.8.6.
"""

import re
from functools import lru_cache
from io import BytesIO

import numpy as np
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from clients import Prediction
from clients.dicom.film import Film
from clients.dicom.heatmap import Heatmap
from clients.dicom.objects.common import (
    SOURCE_IMAGE,
    Device,
    identifiers,
    seal,
    stand_in,
    statement,
)
from clients.dicom.objects.form import KEPT, Form, entry, nobody
from clients.dicom.objects.picture import annotated
from service.imaging.dicom.header import values
from service.imaging.overlay import JPEG_QUALITY

ANY_ORIENTATION = ("L", "F")  # highdicom wants one; the film's takes its place
CHANNELS = 3
METHOD = "ISO_10918_1"
RATIO_TEXT, METHOD_TEXT = re.compile(r"[0-9.+\-Ee]{1,16}"), re.compile(r"[A-Z0-9_ ]{1,16}")
DERIVATION = "Heatmap (Grad-CAM) over the source image; research use only"


def secondary_capture(film: Film, reading: Prediction, heatmap: Heatmap, device: Device) -> Dataset:
    """Draw the heatmap with legend, probability and notice; all of it is burned in.

    Raises
    ------
    ValueError
        If the heatmap has no picture of the film.
    """
    if heatmap.overlay is None:
        raise ValueError(
            "a secondary capture needs the picture: predict(film, heatmap='jpeg', size='reduced')"
        )
    picture = annotated(heatmap.overlay, statement(reading, device))
    made = _form(device, film.sop_class).filled(_entries(film))
    made.Rows, made.Columns = picture.height, picture.width
    made["PatientOrientation"].value = film.orientation or None
    jpeg = BytesIO()
    picture.save(jpeg, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:2")
    made.PixelData = encapsulate([jpeg.getvalue()])
    ratio = CHANNELS * picture.height * picture.width / jpeg.tell()
    ratios, methods = _history(film)
    made.LossyImageCompressionRatio = [*ratios, f"{ratio:.2f}"]
    made.LossyImageCompressionMethod = [*methods, METHOD]
    return seal(made, film, device, "sc")


def _history(film: Film) -> tuple[list[str], list[str]]:
    """Ratios and methods of what the film lost before; none where they do not belong together.

    PS3.3 C.7.6.1.1.5: one value for each step, the oldest first.
    """
    ratios = values(film.header, "LossyImageCompressionRatio")
    methods = values(film.header, "LossyImageCompressionMethod")
    sound = all(map(RATIO_TEXT.fullmatch, ratios)) and all(map(METHOD_TEXT.fullmatch, methods))
    return (ratios, methods) if sound and len(ratios) == len(methods) else ([], [])


def _entries(film: Film) -> list[bytes]:
    return [entry("ReferencedSOPInstanceUID", film.sop_instance)]


@lru_cache(KEPT)
def _form(device: Device, sop_class: str) -> Form:
    film = nobody(sop_class)
    return Form(unsealed(film, device), _entries(film))


def unsealed(film: Film, device: Device) -> Dataset:
    """Have highdicom make the capture of a film, with other pixels."""
    made = SCImage.from_ref_dataset(
        ref_dataset=stand_in(film),
        pixel_array=np.zeros((8, 8, CHANNELS), np.uint8),
        photometric_interpretation="YBR_FULL_422",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=ANY_ORIENTATION,
        transfer_syntax_uid=JPEGBaseline8Bit,
        **identifiers("sc"),
        **device.equipment(),
    )
    made.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    made.BurnedInAnnotation = "YES"
    made.DerivationDescription = DERIVATION
    made.SourceImageSequence = [_source(film)]
    made.LossyImageCompression = "01"
    return made


def _source(film: Film) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = film.sop_class
    item.ReferencedSOPInstanceUID = film.sop_instance
    item.PurposeOfReferenceCodeSequence = [SOURCE_IMAGE]
    return item

"""Outline and probability as a presentation state: drawn over the film, and taken off at will.

heatmap, film -> form -> [gsps]
A presentation state replaces every step from stored values to the screen, also those that it does
not mention. So modality, VOI and polarity are the film's own.

References
----------
DICOM PS3.3 A.33.1 and C.10; PS3.4 N.2.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from highdicom import (
    VOILUT,
    ModalityLUT,
    ModalityLUTTransformation,
    PresentationLUTShapeValues,
    PresentationLUTTransformation,
)
from highdicom.color import CIELabColor
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    SoftcopyVOILUTTransformation,
    TextJustificationValues,
    TextObject,
)
from highdicom.sr import CodedConcept
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from clients import Prediction
from clients.dicom.film import Film
from clients.dicom.heatmap import Heatmap, Outline
from clients.dicom.objects.common import Device, identifiers, seal, stand_in, statement
from clients.dicom.objects.form import KEPT, Form, entry, nobody
from service.imaging.dicom.header import MALFORMED, first_item, unsigned
from service.imaging.dicom.lut import Lut, read_lut

SUMMARY = CodedConcept("111412", "DCM", "Narrative Summary")
ORANGE = CIELabColor(80.0, 20.0, 70.0)
BOX = (0.02, 0.02, 0.6, 0.12)  # of the displayed area: left, top, right, bottom
UNIT = re.compile(r"[ -\[\]-~]{1,64}")  # of values, a Rescale Type (0028,1054) of ASCII
LARGEST = 1e9  # of what is rescaled or windowed: pixels have 16 bits


def presentation_state(
    film: Film, reading: Prediction, heatmap: Heatmap, device: Device
) -> Dataset:
    """Draw the outlines of half of the heatmap's peak, probability and notice over the film.

    The film must be grey.
    """
    lines = heatmap.outlines
    text = "\r\n".join(statement(reading, device))
    entries = _entries(film, device, text, lines)
    made = _form(device, film.sop_class, len(lines)).filled(entries)
    for element in _transformations(film):
        made[element.tag] = element
    return seal(made, film, device, "gsps")


def _entries(film: Film, device: Device, text: str, lines: Sequence[Outline]) -> list[bytes]:
    """What a presentation state says of its film alone."""
    rows, columns = film.size
    entries = [
        entry("SeriesInstanceUID", film.series),
        entry("ReferencedSOPInstanceUID", film.sop_instance),
        entry("DisplayedAreaBottomRightHandCorner", [columns, rows]),
        entry("UnformattedTextValue", text),
    ]
    if lines:
        entries.append(entry("TrackingUID", device.tracking_uid(film, "region")))
    for line in lines:
        entries.append(entry("NumberOfGraphicPoints", len(line)))
        entries.append(entry("GraphicData", line.astype("<f4")))
    return entries


@lru_cache(KEPT)
def _form(device: Device, sop_class: str, outlines: int) -> Form:
    film, text = nobody(sop_class), "text"
    # All different, as are the numbers of their points.
    lines = [np.ones((2 + number, 2)) for number in range(outlines)]
    made = unsealed(film, device, text, lines)
    return Form(made, _entries(film, device, text, lines))


def unsealed(film: Film, device: Device, text: str, lines: Sequence[Outline]) -> Dataset:
    """Have highdicom make the state of a film, but for what :func:`_transformations` gives."""
    source = stand_in(film)
    layer = GraphicLayer(
        layer_name="NANOCXR", order=1, description="research reading", display_color=ORANGE
    )
    box = TextObject(
        text_value=text,
        units=AnnotationUnitsValues.DISPLAY,
        bounding_box=BOX,
        text_justification=TextJustificationValues.LEFT,
    )
    note = GraphicAnnotation(
        referenced_images=[source],
        graphic_layer=layer,
        graphic_objects=[_drawn(film, device, line) for line in lines] or None,
        text_objects=[box],
    )
    return GrayscaleSoftcopyPresentationState(
        referenced_images=[source],
        content_label="NANOCXR",
        concept_name=SUMMARY,
        graphic_layers=[layer],
        graphic_annotations=[note],
        **identifiers("gsps"),
        **device.equipment(),
    )


def _drawn(film: Film, device: Device, line: Outline) -> GraphicObject:
    return GraphicObject(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=line,
        units=AnnotationUnitsValues.PIXEL,  # 0, 0 is the corner of the film, as in an outline
        tracking_id="region",
        tracking_uid=device.tracking_uid(film, "region"),
    )


def _transformations(film: Film) -> Iterator[DataElement]:
    """From stored values to the screen: modality, VOI and polarity."""
    modality, voi = _modality(film), _voi(film)
    if modality is not None:
        yield from modality
    if voi is not None:
        yield DataElement(Tag("SoftcopyVOILUTSequence"), "SQ", [voi])
    yield from _polarity(film)


def _polarity(film: Film) -> PresentationLUTTransformation:
    inverse = film.text("PhotometricInterpretation") == "MONOCHROME1"
    shape = PresentationLUTShapeValues("INVERSE" if inverse else "IDENTITY")
    return PresentationLUTTransformation(presentation_lut_shape=shape)


def _modality(film: Film) -> ModalityLUTTransformation | None:
    lut = _lut(film, "ModalityLUTSequence")
    if lut is not None:
        table = ModalityLUT(
            "US", first_mapped_value=lut.first, lut_data=lut.entries.astype(np.uint16)
        )
        _sign(table, lut.signed_first(*_stored_range(film)))
        return ModalityLUTTransformation(modality_lut=table)
    slope, intercept = _number(film, "RescaleSlope"), _number(film, "RescaleIntercept")
    if slope is None or intercept is None or slope == 0:
        return None
    stated = film.text("RescaleType")
    return ModalityLUTTransformation(
        rescale_intercept=intercept,
        rescale_slope=slope,
        rescale_type=stated if UNIT.fullmatch(stated) else "US",
    )


def _voi(film: Film) -> SoftcopyVOILUTTransformation | None:
    """The first VOI LUT of the film, else its first window; nothing where neither is usable."""
    lut = _lut(film, "VOILUTSequence")
    if lut is not None:
        # Of the depth that the data type stands for, else the picture would be too dark.
        entries = np.rint(lut.entries * (65535 / lut.white)).astype(np.uint16)
        table = VOILUT(first_mapped_value=lut.first, lut_data=entries)
        _sign(table, lut.signed_first(*_modality_range(film)))
        return SoftcopyVOILUTTransformation(voi_luts=[table])
    centre, width = _number(film, "WindowCenter"), _number(film, "WindowWidth")
    function = film.text("VOILUTFunction").upper()
    known = function in ("LINEAR", "LINEAR_EXACT", "SIGMOID")
    narrow = function in ("LINEAR_EXACT", "SIGMOID")  # may be narrower than 1
    if centre is None or width is None or width <= 0 or (width < 1 and not narrow):
        return None
    return SoftcopyVOILUTTransformation(
        window_center=centre,
        window_width=width,
        voi_lut_function=function if known else None,
    )


def _sign(table: Dataset, first: int) -> None:
    """State a first value below 0, which highdicom refuses."""
    if np.iinfo(np.int16).min <= first < 0:
        count, _, bits = table.LUTDescriptor
        table["LUTDescriptor"] = DataElement(Tag("LUTDescriptor"), "SS", [count, first, bits])


def _stored_range(film: Film) -> tuple[float, float]:
    """The smallest and the largest value that a pixel can have."""
    levels = 1 << min(unsigned(film.header, "BitsStored") or 16, 16)
    low = -levels // 2 if film.text("PixelRepresentation") == "1" else 0
    return low, low + levels - 1


def _modality_range(film: Film) -> tuple[float, float]:
    """The same of what the modality's table, or slope and intercept, make of it."""
    lut = _lut(film, "ModalityLUTSequence")
    if lut is not None:
        return 0, lut.white
    slope, intercept = _number(film, "RescaleSlope"), _number(film, "RescaleIntercept")
    low, high = sorted((slope or 1.0) * end + (intercept or 0.0) for end in _stored_range(film))
    return low, high


def _lut(film: Film, keyword: str) -> Lut | None:
    try:
        item = first_item(film.header, keyword)
        return None if item is None else read_lut(item, "LUTDescriptor", "LUTData")
    except MALFORMED:
        return None


def _number(film: Film, keyword: str) -> float | None:
    try:
        number = float(film.text(keyword))
    except ValueError:
        return None
    return number if abs(number) < LARGEST else None

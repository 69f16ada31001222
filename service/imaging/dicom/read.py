"""Read a DICOM file: structure, acceptance, pixels and grey, in that order.

bytes -> [file structure -> acceptance -> pixels -> grey] -> standardise
Used by service.imaging.decode. Each step is a module of this package; this one joins them.
"""

from service.errors import CorruptImage
from service.imaging.claim import claim
from service.imaging.dicom import acceptance
from service.imaging.dicom.acceptance import GREY, Layout
from service.imaging.dicom.body_part import check_body_part
from service.imaging.dicom.file import DicomFile, parse
from service.imaging.dicom.grayscale import colour_pixels, grey_pixels, palette_pixels
from service.imaging.dicom.header import MALFORMED, pixel_spacing
from service.imaging.dicom.pixels import check_transfer_syntax, stored_pixels
from service.imaging.dicom.view import check_view
from service.imaging.radiograph import FloatImage, Radiograph


def read_dicom(data: bytes, *, max_bytes: int, max_pixels: int) -> Radiograph:
    """Read one frontal chest radiograph.

    Parameters
    ----------
    data
        A DICOM file, with or without preamble and file meta information.
    max_bytes
        Bound on the data set after inflation of a deflated transfer syntax.
    max_pixels
        Bound on Rows x Columns.

    Returns
    -------
    Radiograph
        With its view, pixel spacing and transfer syntax where the file states them.

    Raises
    ------
    ReadingError
        Every check of the header comes before the first pixel is decoded. No message and no
        chained exception carries a value of the file: pydicom's would.
    """
    try:
        return _read(parse(data, max_bytes), max_pixels)
    except MALFORMED as error:
        raise CorruptImage(
            f"the DICOM data set cannot be parsed ({type(error).__name__}). Send it again."
        ) from None


def _read(file: DicomFile, max_pixels: int) -> Radiograph:
    header = file.header
    warnings = [acceptance.check_modality(header), check_body_part(header)]
    view, view_warning = check_view(header)
    acceptance.check_kind(header)
    acceptance.check_frames(header)
    value = file.pixel_value()
    check_transfer_syntax(file.transfer_syntax)
    layout = acceptance.pixel_layout(header, max_pixels)
    claim(layout.rows * layout.columns, samples=layout.samples, file=len(file.body))
    polarity = acceptance.check_polarity(header)
    pixels, pixel_warnings = _grey(file, value, layout)
    warnings += [view_warning, polarity, file.end_warning(value), *pixel_warnings]
    return Radiograph(
        pixels=pixels,
        format="DICOM",
        photometric=layout.photometric,
        view=view,
        pixel_spacing_mm=pixel_spacing(header),
        transfer_syntax=str(file.transfer_syntax),
        warnings=tuple(warning for warning in warnings if warning),
    )


def _grey(file: DicomFile, value: memoryview, layout: Layout) -> tuple[FloatImage, list[str]]:
    stored = stored_pixels(value, file.transfer_syntax, layout, file.pixel_vr)
    layout = stored.layout
    if layout.photometric in GREY:
        pixels, warnings = grey_pixels(stored.patterns, file.header, layout)
    elif layout.photometric == "PALETTE COLOR":
        pixels, warnings = palette_pixels(stored.patterns, file.header, layout)
    else:
        pixels, warnings = colour_pixels(stored.patterns, layout)
    return pixels, [*stored.warnings, *warnings]

"""Film and reading -> result objects."""

from collections.abc import Iterator

from pydicom.dataset import Dataset

from clients import Prediction, Problem
from clients.dicom.film import Film
from clients.dicom.heatmap import Heatmap
from clients.dicom.marks import Kind
from clients.dicom.objects.common import Device
from clients.dicom.objects.gsps import presentation_state
from clients.dicom.objects.sc import secondary_capture
from clients.dicom.objects.seg import segmentation
from clients.dicom.objects.sr import structured_report


def report(
    film: bytes,
    reading: Prediction | Problem,
    heatmap: Heatmap | None,
    kinds: frozenset[Kind],
) -> list[Dataset]:
    """Turn a reading into DICOM objects of the film's study.

    Parameters
    ----------
    film
        The DICOM file as it came, patient and all.
    reading
        What the service answered. A refusal gives no object but a report that says so.
    heatmap
        Of the same film. Without it there is a report, and no region in it.
    kinds
        Which objects to make.

    Returns
    -------
    list of pydicom.Dataset
        With file meta information, to be written by ``save_as(path, enforce_file_format=True)``.
        The report comes last, as it names the others. Where there is no heat at all there is no
        segmentation; where the film is not grey, no presentation state. Where the pixels have
        another size than the header says, nothing is drawn on the header's.

    Raises
    ------
    FilmError
        If the film lacks what ties a result to it.
    ValueError
        If a secondary capture is to be made of a heatmap without a picture.
    """
    source = Film.of(film)
    device = Device.of(reading)
    pictures: list[Dataset] = []
    if isinstance(reading, Prediction) and heatmap is not None:
        pictures = list(_pictures(source, reading, heatmap, kinds))
    if "sr" not in kinds:
        return pictures
    fitting = heatmap if heatmap and heatmap.size == source.size else None
    region = fitting.outlines[0] if fitting and fitting.outlines else None
    made = structured_report(source, reading, device, region=region, others=pictures)
    return [*pictures, made]


def _pictures(
    film: Film, reading: Prediction, heatmap: Heatmap, kinds: frozenset[Kind]
) -> Iterator[Dataset]:
    device = Device.of(reading)
    if "sc" in kinds:
        yield secondary_capture(film, reading, heatmap, device)
    if heatmap.size != film.size:
        return
    if "gsps" in kinds and film.is_grey:
        yield presentation_state(film, reading, heatmap, device)
    if "seg" in kinds and heatmap.mask.any():
        yield segmentation(film, heatmap, device)

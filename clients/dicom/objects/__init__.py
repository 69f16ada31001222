"""Result objects: structured report, secondary capture, presentation state, segmentation."""

from clients.dicom.film import FilmError
from clients.dicom.heatmap import Heatmap
from clients.dicom.objects.build import report

__all__ = ["FilmError", "Heatmap", "report"]

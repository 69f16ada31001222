"""Readings for hospitals: DICOM in, DICOM out. Needs the extra `dicom`.

The names in ``__all__`` are for users, see docs/hospital.md; modules may move.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clients.dicom.film import FilmError
    from clients.dicom.heatmap import Heatmap
    from clients.dicom.marks import KINDS, Kind
    from clients.dicom.objects import report
    from clients.dicom.reading import read

__all__ = ["KINDS", "FilmError", "Heatmap", "Kind", "read", "report"]


def __getattr__(name: str) -> object:
    """Import the libraries of DICOM where a name is asked for: highdicom alone takes a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from clients.dicom import film, heatmap, marks, objects, reading  # noqa: PLC0415

    modules = (film, heatmap, marks, objects, reading)
    return next(vars(module)[name] for module in modules if name in vars(module))

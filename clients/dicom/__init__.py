"""Readings for hospitals: DICOM in, DICOM out. Needs the extra `dicom`.

The names in ``__all__`` are for users, see docs/hospital.md; modules may move.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clients.dicom.film import FilmError
    from clients.dicom.minimal import minimal
    from clients.dicom.objects import KINDS, Kind, report
    from clients.dicom.reading import Heatmap, read

__all__ = ["KINDS", "FilmError", "Heatmap", "Kind", "minimal", "read", "report"]


def __getattr__(name: str) -> object:
    """Import the libraries of DICOM where a name is asked for: highdicom alone takes a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from clients.dicom import film, minimal, objects, reading  # noqa: PLC0415

    return (vars(film) | vars(minimal) | vars(objects) | vars(reading))[name]

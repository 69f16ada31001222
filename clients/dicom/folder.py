"""Films in files to result objects in a folder.

film.dcm -> read -> report -> SR-<uid>.dcm, OT-<uid>.dcm, ...
"""

from dataclasses import dataclass
from pathlib import Path

from clients import ChestXrayClient, Problem
from clients.dicom.film import FilmError
from clients.dicom.marks import Kind
from clients.dicom.objects import report
from clients.dicom.objects.common import encoded
from clients.dicom.reading import read
from service.files import write_new


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What became of a film: its objects, and why there is no reading (empty where there is)."""

    files: tuple[Path, ...]
    refusal: str


def report_file(
    client: ChestXrayClient, path: Path, out: Path, kinds: frozenset[Kind], *, refusals: bool
) -> Reported:
    """Read one film and write its objects.

    Parameters
    ----------
    client
        Of the service.
    path
        The film.
    out
        A folder. Objects that are there already are left as they are.
    kinds
        Which objects to write.
    refusals
        Whether a film that is refused gets a report that says so.

    Raises
    ------
    ChestXrayError
        Where the service cannot be asked, or is at fault.
    OSError
        Where a file cannot be read or written.
    """
    film = path.read_bytes()
    try:
        reading, heatmap = read(client, film, kinds)
        refusal = f"{reading.code}: {reading.detail}" if isinstance(reading, Problem) else ""
        made = report(film, reading, heatmap, kinds) if refusals or not refusal else []
    except FilmError as error:
        return Reported(files=(), refusal=str(error))
    files = []
    for dataset in made:
        target = out / f"{dataset.Modality}-{dataset.SOPInstanceUID}.dcm"
        write_new(target, encoded(dataset))
        files.append(target)
    return Reported(files=tuple(files), refusal=refusal)

"""Take in images that were made elsewhere, by one label at a time.

[folder of images] -> archive -> dataset
"""

from pathlib import Path

from service.errors import ReadingError
from service.files import sha256
from service.imaging.decode import Limits, decode
from training.generate.archive import Archive
from training.generate.manifest import DatasetMismatch
from training.generate.request import Fact

LABELS = {"normal": 0, "pneumonia": 1}
_SUFFIXES = {".png", ".jpg", ".jpeg"}


def import_folder(source: Path, into: Path, *, label: str, generator: str, model: str = "") -> Path:
    """Copy every PNG and JPEG file below ``source`` into the data set ``into``.

    Parameters
    ----------
    source
        Searched with its subfolders; other files are left alone.
    into
        The data set, made where it does not exist; it holds images of one generator.
    label
        A key of ``LABELS``, for all of them.
    generator, model
        What drew them, for the records.

    Returns
    -------
    Path
        The manifest of the whole data set; each image is a group of its own.

    Raises
    ------
    ReadingError
        If a file cannot be decoded; nothing is copied then.
    ValueError
        If there is no image, one is there with the other label, or ``into`` holds another data set.
    """
    paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise ValueError(f"{source} holds no PNG or JPEG file")
    for path in paths:
        _check(path)
    archive = Archive(into, {"generator": generator, "version": "imported", "model": model})
    # Of an image nothing but its label is known.
    common: dict[str, Fact] = {
        "label": LABELS[label],
        "seed": -1,
        **dict.fromkeys(("age_band", "view", "pattern", "model_version", "prompt"), ""),
        "model": model,
    }
    for path in paths:
        content = path.read_bytes()
        name = sha256(content)[:20]
        if name not in archive.rows:
            own = {"group": f"{generator}-{name}", "source": path.relative_to(source).as_posix()}
            archive.save(name, content, common | own)
        elif archive.rows[name]["label"] != LABELS[label]:
            raise DatasetMismatch(f"{path} is in {into} already, with the other label")
    return archive.write_all()


def _check(path: Path) -> None:
    """Raise what serving would raise on this file, with its name."""
    try:
        decode(path.read_bytes(), Limits())
    except ReadingError as error:
        raise type(error)(f"{path}: {error}") from None

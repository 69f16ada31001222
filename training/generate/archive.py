"""Images that cannot be drawn again at no cost: one file and one record each, named by request.

design -> prompt -> generator -> [archive] -> dataset

::

    <folder>/images/<request>.png     as delivered, PNG or JPEG
    <folder>/images/<request>.json    its record: the manifest's row
    <folder>/manifest.parquet         the records of all complete pairs

The record is written last, atomically: an image with a record is complete, and is never asked for
again.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from service.files import replace_file, sha256
from service.imaging.decode import Limits, decode
from training.generate.manifest import Record, lock_folder, write_manifest
from training.generate.request import Fact

# What has to be said with every image of a generator.
NOTICES = {
    "nano-banana": "Made by Google AI. The image holds an invisible SynthID watermark, which "
    "cropping and re-encoding do not remove."
}


class Archive:
    """The images of one data set and their records.

    Parameters
    ----------
    folder
        Made where it does not exist.
    generation
        What is common to all images; at least ``generator`` and ``version``.

    Attributes
    ----------
    rows
        Records of all images by request.

    Raises
    ------
    DatasetMismatch
        (A ValueError.) If the folder was made with another ``generation``.
    """

    def __init__(self, folder: Path, generation: Mapping[str, Fact | None]) -> None:
        lock_folder(folder, generation)
        self.folder = folder
        self._generation = generation
        (folder / "images").mkdir(exist_ok=True)
        self.rows = read_records(folder)

    def save(self, request: str, content: bytes, facts: Mapping[str, Fact]) -> None:
        """Write one image and its record; safe from several threads for different requests.

        Parameters
        ----------
        request
            Name of the files, the request's digest.
        content
            PNG or JPEG, written as it is.
        facts
            At least label, group, seed, age_band, view and pattern.

        Raises
        ------
        ReadingError
            If the content cannot be decoded as serving would decode it; nothing is written.
        """
        radiograph = decode(content, Limits())
        name = f"images/{request}.{'jpg' if radiograph.format == 'JPEG' else 'png'}"
        generator = str(self._generation["generator"])
        row = dict(facts) | {
            "path": name,
            "mask": "",
            "generator": generator,
            "generator_version": str(self._generation["version"]),
            "request": request,
            "sha256": sha256(content),
            "rows": radiograph.pixels.shape[0],
            "columns": radiograph.pixels.shape[1],
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "notice": NOTICES.get(generator, ""),
        }
        replace_file(self.folder / name, content)
        record = json.dumps(row, indent=2, sort_keys=True) + "\n"
        replace_file(self.folder / "images" / f"{request}.json", record)
        self.rows[request] = row

    def write_pairs(self, requests: Iterable[str]) -> Path | None:
        """Write the manifest of these requests, in order, leaving out every incomplete pair.

        Otherwise a request that is always refused would unbalance the labels. Returns None, and
        writes nothing, where no pair is complete.
        """
        rows = [self.rows[request] for request in requests if request in self.rows]
        labels: dict[Fact, set[Fact]] = {}
        for row in rows:
            labels.setdefault(row["group"], set()).add(row["label"])
        complete = [row for row in rows if len(labels[row["group"]]) == 2]
        return write_manifest(self.folder, complete) if complete else None

    def write_all(self) -> Path:
        """Write the manifest of every image, in the order of their names."""
        return write_manifest(self.folder, [self.rows[name] for name in sorted(self.rows)])


def read_records(folder: Path) -> dict[str, Record]:
    """Read the records of a folder by request, of those images that are still there."""
    rows = {}
    for path in sorted((folder / "images").glob("*.json")):
        row: Record = json.loads(path.read_text(encoding="utf-8"))
        if (folder / str(row["path"])).is_file():
            rows[path.stem] = row
    return rows

"""Several data sets read as one.

generate -> [joined] -> dataset
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from service.files import replace_file, sha256
from training.generate.manifest import MANIFEST, lock_folder, manifest_of


def join(folder: Path, parts: Sequence[Path]) -> Path:
    """Write a data set whose images stay where they are, in the folders of ``parts``.

    Parameters
    ----------
    folder
        Made where it does not exist; its manifest names the images by paths from there.
    parts
        Folders of at least two data sets, each with a manifest.

    Returns
    -------
    Path
        The manifest; a fact that one of the parts does not know is empty there.

    Raises
    ------
    ValueError
        If two parts hold the same group, or ``folder`` holds another data set.
    """
    if len(parts) < 2:
        raise ValueError("a joined data set has two parts at least")
    frames = [_rows(part, folder) for part in parts]
    counts = pd.concat([frame["group"].drop_duplicates() for frame in frames]).value_counts()
    if counts.max() > 1:
        raise ValueError(
            f"group {counts.idxmax()} is in two of the data sets: they were drawn alike; "
            "take another seed for one of them"
        )
    manifests = {os.path.relpath(part, folder): sha256(part / MANIFEST) for part in parts}
    lock_folder(folder, {"joined": manifests})
    path = folder / MANIFEST
    replace_file(path, pd.concat(frames, ignore_index=True).to_parquet(index=False))
    return path


def _rows(part: Path, folder: Path) -> pd.DataFrame:
    """The manifest of a part, its paths from ``folder``."""
    frame = pd.read_parquet(manifest_of(part))
    way = os.path.relpath(part, folder)
    for column in ("path", "mask"):
        frame[column] = [f"{way}/{name}" if name else "" for name in frame[column]]
    return frame

"""Readings of synthetic images that travel with a model: they show that it reads alike elsewhere.

package -> [golden] -> service.model.golden
"""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from service.model.bundle import GOLDEN
from service.model.reader import Reader

OF_EACH_CLASS = 2  # images
SIDE = 256  # pixels; larger images are reduced to this before they are stored


def write_golden(model: Path, dataset: Path, frame: pd.DataFrame) -> None:
    """Read a few synthetic images with the packaged model, to be replayed wherever it is served.

    ``golden.json`` holds ``readings``: base64 PNG ``image``, ``label``, calibrated ``probability``
    and raw ``heatmap`` (h, w).

    Parameters
    ----------
    model
        Folder with graph and manifest; the file is written into it.
    dataset, frame
        Folder and rows to take images from, half of each class.
    """
    reader = Reader.open(model)
    rows = frame.sort_values("label", kind="stable").groupby("label").head(OF_EACH_CLASS)
    readings = []
    for row in rows.itertuples():
        png = _small_png(dataset / row.path)
        reading = reader.read(png)
        readings.append(
            {
                "image": base64.b64encode(png).decode("ascii"),
                "label": int(row.label),
                "probability": reading.probability,
                "heatmap": np.asarray(reading.heatmap, dtype=float).round(6).tolist(),
            }
        )
    text = json.dumps({"readings": readings}) + "\n"
    (model / GOLDEN).write_text(text, encoding="utf-8")


def _small_png(path: Path) -> bytes:
    with Image.open(path) as image:
        image.thumbnail((SIDE, SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()

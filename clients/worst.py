"""The images a model reads worst, with heatmaps: to see what it does not see.

score -> [worst] -> a PNG sheet
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from clients.items import Dataset
from service.model.reader import Reader

TILE = 224  # pixels
CAPTION = 16  # pixels above each tile


class NothingToShow(ValueError):
    """The scores hold no labelled reading of this dataset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The worst images of one class in one stratum, worst first."""

    title: str
    label: int
    names: tuple[str, ...]


def worst(scores: pd.DataFrame, *, by: str | None, count: int) -> list[Row]:
    """Choose the positives with the lowest and the negatives with the highest probability.

    Parameters
    ----------
    scores
        As :func:`clients.score.score` writes them; rows without label or probability are left out.
    by
        Column whose values get rows of their own, or None for all images together.
    count
        Images in a row at most.
    """
    read = scores.dropna(subset=["label", "probability"])
    if read.empty:
        raise NothingToShow("no image has both a label and a reading")
    strata = [("all", read)] if by is None else list(read.groupby(by, sort=True))
    rows = []
    for title, stratum in strata:
        for label in (1, 0):
            of_class = stratum[stratum["label"] == label]
            order = of_class.sort_values("probability", ascending=bool(label)).head(count)
            if len(order):
                rows.append(Row(title=str(title), label=label, names=tuple(order["path"])))
    return rows


def draw(rows: list[Row], dataset: Dataset, reader: Reader, out: Path) -> None:
    """Write the sheet: for each row the radiographs, and under them the same with the heatmap."""
    files = {item.name: item.file for item in dataset.items}
    missing = [name for row in rows for name in row.names if name not in files]
    if missing:
        raise NothingToShow(f"{len(missing)} scored images are not in this dataset")
    strips = [_strip(row, [files[name] for name in row.names], reader) for row in rows]
    width = max(strip.width for strip in strips)
    sheet = Image.new("RGB", (width, sum(strip.height for strip in strips)), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    sheet.save(out, "PNG", optimize=True)


def _strip(row: Row, files: list[Path], reader: Reader) -> Image.Image:
    strip = Image.new("RGB", (TILE * len(files), CAPTION + 2 * TILE), "white")
    pen = ImageDraw.Draw(strip)
    truth = "pneumonia" if row.label else "no pneumonia"
    for place, file in enumerate(files):
        content = file.read_bytes()
        reading, overlay = reader.explain(content, bare=False)
        pixels = reader.prepare(content).tensor[0]
        plain = Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).resize((TILE, TILE))
        with Image.open(io.BytesIO(overlay)) as heat:
            heated = heat.resize((TILE, TILE), Image.Resampling.BOX)
        left = place * TILE
        caption = f"{row.title}, {truth}: {reading.probability:.2f}"
        pen.text((left + 4, 2), caption, fill="black")
        strip.paste(plain.convert("RGB"), (left, CAPTION))
        strip.paste(heated, (left, CAPTION + TILE))
    return strip

"""The images a model reads worst, with heatmaps: to see what it does not see.

score -> [misread] -> a PNG sheet, a table of its files
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from clients.datasets.items import Dataset
from clients.metrics.strata import ALL, parts
from clients.reports.tables import aligned
from clients.scoring.scored import EvaluationError
from service.imaging.overlay import GreyImage, draw_heatmap
from service.imaging.standardise import Geometry
from service.model.reader import Reader, admitted

TILE = 224  # pixels
LINE = 14  # pixels
CAPTION = 2 * LINE + 4  # pixels above each tile: what was read, and the file
MARGIN = 4  # pixels beside a caption


class NothingToShow(EvaluationError):
    """The scores hold no labelled reading of this dataset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MisreadGroup:
    """The worst images of one class in one stratum, worst first."""

    title: str
    label: int
    names: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def truth(self) -> str:
        """The label in words."""
        return "pneumonia" if self.label else "no pneumonia"


def misread(scores: pd.DataFrame, *, by: Sequence[str] = (), count: int) -> list[MisreadGroup]:
    """Choose the positives with the lowest and the negatives with the highest probability.

    Parameters
    ----------
    scores
        As :func:`clients.scoring.score.score` writes them; rows without label or probability are
        left out.
    by
        Strata that get rows of their own, as for :func:`clients.metrics.evaluate.evaluate`; empty:
        all images together.
    count
        Images in a row at most.
    """
    read = scores.dropna(subset=["label", "probability"])
    if read.empty:
        raise NothingToShow("no image has both a label and a reading")
    rows = []
    for named, stratum in parts(read, by):
        for label in (1, 0):
            of_class = stratum[stratum["label"] == label]
            order = of_class.sort_values("probability", ascending=bool(label)).head(count)
            if len(order):
                rows.append(
                    MisreadGroup(
                        title=", ".join(named.values()) or ALL,  # a caption is short
                        label=label,
                        names=tuple(order["path"]),
                        probabilities=tuple(order["probability"]),
                    )
                )
    return rows


def listing(rows: list[MisreadGroup]) -> str:
    """Name the files of a sheet in its order, a line each."""
    lines = [
        [name, row.title, row.truth, f"{probability:.2f}"]
        for row in rows
        for name, probability in zip(row.names, row.probabilities, strict=True)
    ]
    return aligned([["file", "stratum", "truth", "probability"], *lines])


def draw(rows: list[MisreadGroup], dataset: Dataset, reader: Reader, out: Path) -> None:
    """Write the sheet: for each row what the network sees, and under it the same with the heatmap.

    Captions give the stratum, the truth, the probability of the scores and the file.
    """
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


def _strip(row: MisreadGroup, files: list[Path], reader: Reader) -> Image.Image:
    strip = Image.new("RGB", (TILE * len(files), CAPTION + 2 * TILE), "white")
    pen = ImageDraw.Draw(strip)
    for place, (file, name) in enumerate(zip(files, row.names, strict=True)):
        left = place * TILE
        facts = f"{row.title}, {row.truth}: {row.probabilities[place]:.2f}"
        for line, text in enumerate((facts, _fitting(name, pen))):
            pen.text((left + MARGIN, 2 + line * LINE), text, fill="black")
        for below, picture in enumerate(_pictures(file.read_bytes(), reader)):
            tile = picture.resize((TILE, TILE), Image.Resampling.BILINEAR)
            strip.paste(tile, (left, CAPTION + below * TILE))
    return strip


def _pictures(content: bytes, reader: Reader) -> tuple[Image.Image, Image.Image]:
    """What the network sees, without and with its heatmap: the same pixels."""
    prepared = reader.prepare(content)
    seen: GreyImage = np.rint(prepared.tensor[0] * 255).astype(np.uint8)
    rows, columns = seen.shape
    whole = Geometry(rows=rows, columns=columns, left=0, top=0, width=columns, height=rows)
    heatmap = admitted(reader.infer([prepared])[0]).heatmap
    heated = draw_heatmap(seen, heatmap, whole, full_scale=reader.manifest.heatmap_scale)
    return Image.fromarray(seen).convert("RGB"), Image.open(io.BytesIO(heated)).convert("RGB")


def _fitting(name: str, pen: ImageDraw.ImageDraw) -> str:
    """As much of a name as is as wide as a tile; its end tells files apart."""
    if pen.textlength(name) <= TILE - 2 * MARGIN:
        return name
    return next(
        short
        for start in range(1, len(name) + 1)
        if pen.textlength(short := f"...{name[start:]}") <= TILE - 2 * MARGIN
    )

"""One HTML file to look at before anything is trained: contact sheet, balance, what was rejected.

curate -> [report]
It refers to nothing outside itself.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from service.errors import ReadingError
from service.files import replace_file
from service.imaging.decode import Limits, decode
from training.generate.manifest import Record

SHOWN = 24  # kept images of each label
REJECTS_SHOWN = 120
_TILE = 128  # pixels
_LEVELS = 12  # a fact with more values is not counted by value
CLASSES = ((0, "no pneumonia"), (1, "pneumonia"))
_BOX = ("crop_left", "crop_top", "crop_right", "crop_bottom")
# Of every image; nothing to be balanced.
_IDENTITY = {"path", "label", "group", "sha256", "fingerprint", "raw_path", "raw_sha256", "seed"}
_VERDICT = {"reason", "detail", "places", "mask", *_BOX}

PAGES = Environment(
    loader=PackageLoader("training", "curate"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)

Row = tuple[str | int, ...]  # of a table


def write_report(
    target: Path, source: Path, out: Path, kept: Sequence[Record], rejected: Sequence[Record]
) -> Path:
    """Write the page.

    Parameters
    ----------
    target
        The HTML file.
    source, out
        Folders of the data set as delivered and as curated.
    kept, rejected
        Records of images; those rejected have a ``reason`` and a ``detail``.
    """
    everything: Any = pd.DataFrame.from_records([*kept, *rejected])
    table = everything.iloc[: len(kept)]
    page = PAGES.get_template("report.html").render(
        source=source.name,
        out=out.name,
        side=_TILE,
        kept=len(kept),
        rejected=len(rejected),
        classes=[name for _, name in CLASSES],
        reasons=_counts(everything, "reason", {"": "kept"}),
        total=[("all", *_of_each_class(table))],
        balance={fact: _counts(table, fact) for fact in _balanced(table)},
        crops=_crops(everything),
        sheets={
            name: [
                (_jpeg(out / str(row["path"])), Path(str(row["path"])).stem)
                for row in _spread([row for row in kept if row["label"] == label], SHOWN)
            ]
            for label, name in CLASSES
        },
        faulty=[
            (_jpeg(source / str(row["raw_path"])), f"{row['reason']}: {row['detail']}")
            for row in _spread(rejected, REJECTS_SHOWN)
        ],
    )
    replace_file(target, page)
    return target


def _counts(table: Any, fact: str, names: Mapping[str, str] | None = None) -> list[Row]:
    """How many images of each class have each value of a fact."""
    return [
        ((names or {}).get(value, str(value) or "(none)"), *_of_each_class(part))
        for value, part in table.groupby(fact, dropna=False)
    ]


def _of_each_class(table: Any) -> list[int]:
    return [int((table["label"] == label).sum()) for label, _ in CLASSES]


def _balanced(table: Any) -> list[str]:
    """Facts with a few values."""
    facts = sorted(set(table.columns) - _IDENTITY - _VERDICT)
    return [fact for fact in facts if 1 < table[fact].nunique(dropna=False) <= _LEVELS]


def _crops(table: Any) -> list[Row]:
    """Mean share of each side that was cut away, by class; none if no image could be read."""
    if not set(_BOX) <= set(table.columns):
        return []
    rows: list[Row] = []
    for label, name in CLASSES:
        part = table[(table["label"] == label) & table["crop_left"].notna()]
        cut = (
            part["crop_left"] / part["raw_columns"],
            part["crop_top"] / part["raw_rows"],
            1 - part["crop_right"] / part["raw_columns"],
            1 - part["crop_bottom"] / part["raw_rows"],
        )
        rows.append((name, *(f"{100 * side.mean():.2f}" if len(part) else "-" for side in cut)))
    return rows


def _spread(rows: Sequence[Record], most: int) -> list[Record]:
    """At most so many rows, evenly from first to last."""
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def _jpeg(path: Path) -> str:
    """A small picture in base64; empty where the file cannot be read."""
    try:
        pixels = decode(path.read_bytes(), Limits()).pixels
    except ReadingError:
        return ""
    scale = _TILE / max(pixels.shape)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, code = cv2.imencode(".jpg", np.round(small * 255).astype(np.uint8))
    return base64.b64encode(code.tobytes()).decode("ascii")

"""One HTML file to look at before anything is trained: contact sheet, balance, what was rejected.

curate -> [report]
It refers to nothing outside itself.
"""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import cv2
import numpy as np
import pandas as pd

from service.errors import ReadingError
from service.files import replace_file
from service.imaging.decode import Limits, decode
from training.generate.manifest import Row

SHOWN = 24  # kept images of each label
REJECTS_SHOWN = 120
_TILE = 128  # pixels
_LEVELS = 12  # a fact with more values is not counted by value
CLASSES = ((0, "no pneumonia"), (1, "pneumonia"))
_BOX = ("crop_left", "crop_top", "crop_right", "crop_bottom")
# Of every image; nothing to be balanced.
_IDENTITY = {"path", "label", "group", "sha256", "fingerprint", "raw_path", "raw_sha256", "seed"}
_VERDICT = {"reason", "detail", "places", "mask", *_BOX}

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
.notice { border: 2px solid; padding: .5rem 1rem; font-weight: 600; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .15rem .8rem; border-bottom: 1px solid #8886; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
.tiles { display: flex; flex-wrap: wrap; gap: .5rem; }
figure { margin: 0; width: ${tile}px; font-size: 12px; overflow-wrap: anywhere; }
img { width: ${tile}px; height: ${tile}px; object-fit: contain; background: #000; }
</style>
</head>
<body>
<h1>$title</h1>
<p class="notice">Research use only. Synthetic images; not for diagnosis or treatment.</p>
<p>$summary</p>
<h2>Kept and rejected</h2>
$reasons
<h2>Balance of what was kept</h2>
<p>Whatever is more frequent in one class can be learned instead of pneumonia.</p>
$balance
<h2>Crop</h2>
<p>Mean share of each side that was cut away, in percent. An invisible watermark (SynthID), where
the generator puts one in, is not removed by cropping.</p>
$crops
<h2>Contact sheet</h2>
$sheet
<h2>Rejected images</h2>
$rejected
</body>
</html>
""")


def write_report(
    target: Path, source: Path, out: Path, kept: Sequence[Row], rejected: Sequence[Row]
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
    shown = _spread(rejected, REJECTS_SHOWN)
    tiles = [
        _tile(source / str(row["raw_path"]), f"{row['reason']}: {row['detail']}") for row in shown
    ]
    page = _PAGE.substitute(
        title=escape(f"Curation of {source.name}"),
        tile=_TILE,
        summary=escape(
            f"{len(kept) + len(rejected)} images in {source.name}: {len(kept)} kept in {out.name}, "
            f"{len(rejected)} rejected."
        ),
        reasons=_counts(everything, "reason", {"": "kept"}),
        balance=_balance(table),
        crops=_crops(everything),
        sheet="".join(_contact_sheet(out, kept, *named) for named in CLASSES),
        rejected=f"<p>{len(shown)} of {len(rejected)}, as delivered.</p>" + _tiles(tiles),
    )
    replace_file(target, page)
    return target


def _counts(table: Any, fact: str, names: dict[str, str] | None = None) -> str:
    """How many images of each class have each value of a fact."""
    rows = []
    for value, part in table.groupby(fact, dropna=False):
        name = (names or {}).get(value, str(value) or "(none)")
        rows.append((name, *(int((part["label"] == label).sum()) for label, _ in CLASSES)))
    return _table((fact, *(name for _, name in CLASSES)), rows)


def _balance(table: Any) -> str:
    """Counts for every fact with a few values."""
    if table.empty:
        return "<p>Nothing was kept.</p>"
    facts = sorted(set(table.columns) - _IDENTITY - _VERDICT)
    counted = [fact for fact in facts if 1 < table[fact].nunique(dropna=False) <= _LEVELS]
    total = _table(
        ("", *(name for _, name in CLASSES)),
        [("all", *(int((table["label"] == label).sum()) for label, _ in CLASSES))],
    )
    return total + "".join(_counts(table, fact) for fact in counted)


def _crops(table: Any) -> str:
    """Mean share of each side that was cut away, by class."""
    if not set(_BOX) <= set(table.columns):
        return "<p>No image could be read.</p>"
    rows = []
    for label, name in CLASSES:
        part = table[(table["label"] == label) & table["crop_left"].notna()]
        cut = (
            part["crop_left"] / part["raw_columns"],
            part["crop_top"] / part["raw_rows"],
            1 - part["crop_right"] / part["raw_columns"],
            1 - part["crop_bottom"] / part["raw_rows"],
        )
        rows.append((name, *(f"{100 * side.mean():.2f}" if len(part) else "-" for side in cut)))
    return _table(("", "left", "top", "right", "bottom"), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr><td>{escape(str(name))}</td>"
        + "".join(f'<td class="n">{escape(str(cell))}</td>' for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _contact_sheet(out: Path, kept: Sequence[Row], label: int, name: str) -> str:
    chosen = _spread([row for row in kept if row["label"] == label], SHOWN)
    tiles = [_tile(out / str(row["path"]), Path(str(row["path"])).stem) for row in chosen]
    return f"<h3>{escape(name)}</h3>" + _tiles(tiles)


def _spread(rows: Sequence[Row], most: int) -> list[Row]:
    """At most so many rows, evenly from first to last."""
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def _tiles(tiles: Sequence[str]) -> str:
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _tile(path: Path, caption: str) -> str:
    """A small picture with words below; only words where the file cannot be read."""
    text = f"<figcaption>{escape(caption)}</figcaption>"
    try:
        pixels = decode(path.read_bytes(), Limits()).pixels
    except ReadingError:
        return f"<figure>{text}</figure>"
    scale = _TILE / max(pixels.shape)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, code = cv2.imencode(".jpg", np.round(small * 255).astype(np.uint8))
    data = base64.b64encode(code.tobytes()).decode("ascii")
    return f'<figure><img alt="" src="data:image/jpeg;base64,{data}">{text}</figure>'

"""A data set as delivered -> the same data set cropped, without what is not fit to train on.

generate -> [curate] -> dataset -> fit

::

    <out>/generation.json      what was curated, and by which rules
    <out>/scan.jsonl           one line an image: its size, and the likeliest watermark
    <out>/images/*.png         grey, 8 bit, cropped
    <out>/images/*.json        its record, also that of a rejected image (whose path is empty)
    <out>/masks/*.png          cropped alike, where there are masks
    <out>/rejected.parquet     the records of rejected images with their reasons
    <out>/report.html          to be looked at
    <out>/manifest.parquet     the records of all others

Every file is complete or absent, and a record is written after its image: an interrupted run goes
on where it stopped. The source is read only.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from service.errors import ReadingError
from service.files import replace_file, sha256
from service.imaging.decode import Limits, decode
from service.imaging.dicom.grayscale import COLOUR_WARNING
from service.model.manifest import Manifest
from training.curate.crop import crop, crop_mask
from training.curate.quality import Fault, find_fault
from training.curate.report import write_report
from training.curate.similar import embed, fingerprint, near_duplicates, outliers
from training.curate.watermark import Sparkle, confirm, find_sparkle
from training.fit.dataset import load_mask
from training.generate.alike import alike
from training.generate.delivered import grey
from training.generate.manifest import (
    Record,
    append_line,
    generation,
    generations,
    lock_folder,
    manifest_of,
    read_lines,
    write_manifest,
)
from training.generate.request import GreyImage
from training.generate.store import encode_png

SCAN = "scan.jsonl"
REJECTED = "rejected.parquet"
REPORT = "report.html"
# Change it with whatever curates otherwise: what was curated is refused then.
RULES = "7d0c1be64a52"

Size = tuple[int, int]  # rows, columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Curated:
    """What became of a data set; files, and numbers of images."""

    manifest: Path
    report: Path
    kept: int
    rejected: int


def curate(source: Path, out: Path, *, model: Path | None = None, progress: bool = True) -> Curated:
    """Crop the data set ``source`` into ``out`` and reject what is not fit to train on.

    Parameters
    ----------
    source
        Folder with manifest.parquet; nothing in it is changed.
    out
        Made where it does not exist, completed where it was interrupted or ``source`` has grown.
    model
        Folder of a model whose embeddings show which images are far from the rest; best one that
        was not trained on the label, see :func:`outliers`.
    progress
        Whether to show bars on standard error.

    Raises
    ------
    DatasetMismatch
        (A ValueError.) If ``out`` holds another data set, or one curated by other rules.
    ValueError
        If two images have one name, or none is left; the report is written all the same.
    FileNotFoundError
        If there is no manifest.
    ModelUnavailable
        If ``model`` is not a valid model folder.
    """
    rows = _read_rows(source)
    lock_folder(out, _parameters(source, model))
    for part in ("images", "masks"):
        (out / part).mkdir(exist_ok=True)
    quiet = not progress
    places = _watermarks(_scan(source, out, rows, quiet=quiet))
    records = [
        _curate_one(source, out, row, places)
        for row in tqdm(rows, desc="crop", unit="image", disable=quiet)
    ]
    # Without lesions both halves of a pair are one picture on purpose.
    lesions = all(asked.get("lesion", True) for asked in generations(source))
    kept, rejected = _judge_together(out, records, model, lesions=lesions)
    columns = sorted({name for record in records for name in record})
    table: Any = pd.DataFrame.from_records(rejected, columns=columns)
    replace_file(out / REJECTED, table.to_parquet(index=False))
    report = write_report(out / REPORT, source, out, kept, rejected)
    if not kept:
        raise ValueError(f"no image of {source} is left; {report} says why")
    manifest = write_manifest(out, kept)
    return Curated(manifest=manifest, report=report, kept=len(kept), rejected=len(rejected))


def _read_rows(source: Path) -> list[Record]:
    """Rows of the source's manifest, in order, with facts that JSON knows."""
    rows: list[Record] = json.loads(pd.read_parquet(manifest_of(source)).to_json(orient="records"))
    uses = Counter(Path(str(row["path"])).stem for row in rows)
    name, most = uses.most_common(1)[0] if uses else ("", 0)
    if most > 1:
        raise ValueError(f"{source} holds {most} images called {name}; names must differ")
    return rows


def _parameters(source: Path, model: Path | None) -> dict[str, object]:
    """What makes two curations the same: source, rules and model, whatever the number of images."""
    asked = generation(source)
    digest = "" if model is None else Manifest.load(model / "manifest.json").identity.sha256
    # A joined set names its parts by paths from its own folder, which is not known later.
    parts = {"generations": generations(source)} if "joined" in asked else {}
    return {"curated": asked, "rules": RULES, "model": digest, **parts}


def _scan(source: Path, out: Path, rows: Sequence[Record], *, quiet: bool) -> list[dict[str, Any]]:
    """Size and likeliest watermark of every image that can be decoded."""
    done = {line["sha256"]: line for line in read_lines(out / SCAN)}
    for row in tqdm(rows, desc="scan", unit="image", disable=quiet):
        if row["sha256"] not in done:
            line = {"sha256": row["sha256"]} | _scan_one(source / str(row["path"]))
            append_line(out / SCAN, line)
            done[str(row["sha256"])] = line
    return [done[row["sha256"]] for row in rows]


def _scan_one(path: Path) -> dict[str, Any]:
    try:
        image = grey(decode(path.read_bytes(), Limits()).pixels)
    except ReadingError:
        return {"size": None, "sparkle": None}
    found = find_sparkle(image)
    return {"size": image.shape, "sparkle": found and astuple(found)}


def _watermarks(lines: Iterable[Mapping[str, Any]]) -> dict[Size, list[Sparkle]]:
    """Confirmed places of watermarks by the size of image."""
    found: dict[Size, list[Any]] = {}
    for line in lines:
        if line["size"]:
            found.setdefault((line["size"][0], line["size"][1]), []).append(line["sparkle"])
    return {
        size: confirm([Sparkle(*values) for values in sparkles if values], len(sparkles))
        for size, sparkles in found.items()
    }


def _curate_one(
    source: Path, out: Path, row: Record, places: Mapping[Size, Sequence[Sparkle]]
) -> Record:
    """Record of one image, which is cropped and written unless that is done."""
    stem = Path(str(row["path"])).stem
    path = out / "images" / f"{stem}.json"
    painted = sha256(repr(sorted(places.items())).encode())[:12]
    if path.exists():
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        complete = not record["path"] or (out / str(record["path"])).exists()
        if complete and (record["raw_sha256"], record["places"]) == (row["sha256"], painted):
            return record
    facts: Record = {"raw_path": row["path"], "raw_sha256": row["sha256"], "places": painted}
    record = row | facts | _crop_one(source, out, row, places)
    content = json.dumps(record, indent=2, sort_keys=True) + "\n"
    replace_file(path, content)
    return record


def _crop_one(
    source: Path, out: Path, row: Record, places: Mapping[Size, Sequence[Sparkle]]
) -> Record:
    """Write one image and its mask if it is any good; what the record says of it."""
    try:
        radiograph = decode((source / str(row["path"])).read_bytes(), Limits())
    except ReadingError as error:
        return _rejection(Fault("unreadable", str(error)))
    image = grey(radiograph.pixels)
    cropped = crop(image, places[image.shape[0], image.shape[1]])
    facts: Record = {
        "raw_rows": image.shape[0],
        "raw_columns": image.shape[1],
        **{f"crop_{edge}": at for edge, at in asdict(cropped.box).items()},
        "watermark": cropped.watermark,
        "rows": cropped.pixels.shape[0],
        "columns": cropped.pixels.shape[1],
    }
    colour = Fault("colour", "the channels differ notably")
    fault = colour if COLOUR_WARNING in radiograph.warnings else find_fault(cropped.pixels)
    if fault is not None:
        return facts | _rejection(fault)
    name = f"{Path(str(row['path'])).stem}.png"
    content = encode_png(cropped.pixels)
    replace_file(out / "images" / name, content)
    if row["mask"]:
        mask = grey(load_mask(source / str(row["mask"])))
        small = crop_mask(mask, cropped.box, image.shape[0], image.shape[1])
        replace_file(out / "masks" / name, encode_png(small))
    return facts | {
        "path": f"images/{name}",
        "mask": f"masks/{name}" if row["mask"] else "",
        "sha256": sha256(content),
        "fingerprint": fingerprint(cropped.pixels),
        "reason": "",
        "detail": "",
    }


def _rejection(fault: Fault) -> Record:
    return {"path": "", "mask": "", **asdict(fault)}


def _judge_together(
    out: Path, records: Sequence[Record], model: Path | None, *, lesions: bool
) -> tuple[list[Record], list[Record]]:
    """Kept and rejected records: also what only all images can show, and partners of rejected."""
    faults: dict[int, Fault] = {
        i: Fault(str(r["reason"]), str(r["detail"])) for i, r in enumerate(records) if r["reason"]
    }
    good = [i for i in range(len(records)) if i not in faults]
    duplicates = near_duplicates(
        [str(records[i]["fingerprint"]) for i in good], [str(records[i]["group"]) for i in good]
    )
    for i, (earlier, bits) in duplicates.items():
        other = records[good[earlier]]["raw_path"]
        faults[good[i]] = Fault("near duplicate", f"{bits} of 256 bits differ from {other}")
    good = [i for i in good if i not in faults]
    if lesions:
        faults |= _same_pictures(out, records, good)
        good = [i for i in good if i not in faults]
    if model is not None and good:
        far = outliers(embed(model, [out / str(records[i]["path"]) for i in good]))
        for i, deviations in far.items():
            detail = f"{deviations:.1f} deviations farther than usual from its neighbours"
            faults[good[i]] = Fault("far from the rest", detail)
    _reject_partners(records, faults)
    final = [
        record | (asdict(faults[i]) if i in faults else {}) for i, record in enumerate(records)
    ]
    return [r for r in final if not r["reason"]], [r for r in final if r["reason"]]


def _same_pictures(out: Path, records: Sequence[Record], good: Sequence[int]) -> dict[int, Fault]:
    """Fault of each image that shows what an earlier one of its group and the other label does."""
    groups: dict[object, list[int]] = {}
    for i in good:
        groups.setdefault(records[i]["group"], []).append(i)
    faults = {}
    for group in groups.values():
        for earlier, i in combinations(group, 2):
            if records[earlier]["label"] == records[i]["label"]:
                continue
            one, other = (_written(out / str(records[n]["path"])) for n in (earlier, i))
            if alike(one, other):
                known = records[earlier]["raw_path"]
                faults[i] = Fault("same picture", f"no lesion tells it from {known}")
    return faults


def _written(path: Path) -> GreyImage:
    return grey(decode(path.read_bytes(), Limits()).pixels)


def _reject_partners(records: Sequence[Record], faults: dict[int, Fault]) -> None:
    """Reject the rest of each group of both labels that lost one: halves would unbalance them."""
    members: dict[object, list[int]] = {}
    for i, record in enumerate(records):
        members.setdefault(record["group"], []).append(i)
    for group in members.values():
        labels = {records[i]["label"] for i in group}
        lost = next((i for i in group if i in faults), None)
        if len(labels) > 1 and lost is not None:
            detail = f"{records[lost]['raw_path']}: {faults[lost].reason}"
            for i in group:
                faults.setdefault(i, Fault("partner", detail))

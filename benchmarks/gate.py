"""How many chest films the gate refuses, and how many of all other images.

    python -m benchmarks.gate --films labels.csv [--model models/default/1] [--sheet wrong.png]

`labels.csv` is a manifest of real frontal films (`path`, `source`), as for `cxr score`. Everything
is handed over as PNG, so that no header helps: the pixels of pydicom's and pydicom-data's test
files, pictures of scikit-image and scikit-learn (`pip install scikit-image`), the films themselves
changed, and phantom films and laterals that the gate was not made from. Intervals are Wilson's,
95 %. Nothing here was used to make the gate.
"""

import argparse
import io
import logging
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.pixels.utils import pixel_array

from clients.metrics.proportions import proportion_interval
from service.errors import ReadingError, UnfamiliarImage
from service.imaging.decode import Limits, decode
from service.imaging.radiograph import FloatImage
from service.model.bundle import Bundle
from service.model.reader import Reader
from service.model.session import GateSession, Session
from service.model.shipped import default_model
from training.gate.lateral import draw_lateral
from training.generate.phantom.render import draw_pair

FIRST_SEED = 10**6  # of phantoms; data sets draw theirs from all 63-bit numbers
PHANTOMS, LATERALS, PANELS, NOISES = 150, 150, 120, 60
SIDE = 256
FRONTAL_FILMS = ("RG1_",)  # in pydicom-data: one frontal film of a chest, in several encodings
TILE = 128

Grey = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image, and whether it should be read."""

    kind: str
    name: str
    pixels: Grey
    film: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the gate made of a sample; ``familiarity`` is None where it did not come so far."""

    sample: Sample
    familiarity: float | None
    refused: bool


def real_films(labels: Path) -> Iterator[Sample]:
    """Real films as they are and changed so that they should, or should not, be read."""
    table = pd.read_csv(labels)
    films = [_decoded(labels.parent / path) for path in table["path"]]
    for path, source, grey in zip(table["path"], table["source"], films, strict=True):
        yield Sample(kind=f"real films, {source}", name=path, pixels=grey, film=True)
        rows, columns = (round(0.08 * side) for side in grey.shape)
        cut, rim = grey[rows:-rows, columns:-columns], ((rows, rows), (columns, columns))
        for kind, changed in (
            ("real films, left and right exchanged", grey[:, ::-1]),
            ("real films, 16 % cut off", cut),
            ("real films, black rim of 8 %", np.pad(grey, rim)),
        ):
            yield Sample(kind=kind, name=path, pixels=changed, film=True)
        for kind, changed in (
            ("real films, upside down", grey[::-1]),
            ("real films, inverted", 255 - grey),
            ("real films, turned by 90 degrees", np.rot90(grey)),
        ):
            yield Sample(kind=kind, name=path, pixels=changed, film=False)
    yield from _panels([_square(grey) for grey in films])


def _panels(films: list[Grey]) -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    for number in range(PANELS):
        first, second, third, fourth = (films[i] for i in rng.integers(0, len(films), 4))
        joined = (
            np.hstack([first, second]),
            np.vstack([first, second]),
            np.block([[first, second], [third, fourth]]),
        )[number % 3]
        yield Sample(kind="real films, several on one image", name=f"{number}", pixels=joined,
                     film=False)  # fmt: skip


def phantoms() -> Iterator[Sample]:
    """Frontal films and laterals of the simulator."""
    for seed in range(FIRST_SEED, FIRST_SEED + PHANTOMS):
        for image in draw_pair(seed, SIDE):
            yield Sample(kind="phantom films", name=str(seed), pixels=image.pixels, film=True)
    for seed in range(FIRST_SEED, FIRST_SEED + LATERALS):
        pixels = draw_lateral(seed, SIDE)
        yield Sample(kind="phantom laterals", name=str(seed), pixels=pixels, film=False)


def noises() -> Iterator[Sample]:
    """One grey, and noise of several kinds."""
    rng = np.random.default_rng(1)
    for number in range(NOISES):
        side = int(rng.integers(40, 400))
        kind = number % 3
        if kind == 0:
            pixels = np.full((side, side), rng.integers(0, 256), np.uint8)
        elif kind == 1:
            pixels = rng.integers(0, 256, (side, side), np.uint8)
        else:
            pixels = np.clip(rng.normal(rng.integers(20, 230), 15, (side, side)), 0, 255)
        yield Sample(kind="blank or noise", name=str(number), pixels=_bytes(pixels), film=False)


def dicom_samples() -> Iterator[Sample]:
    """First frames of pydicom's and pydicom-data's files, each picture once."""
    folders = (
        Path(pydicom.__file__).parent / "data/test_files",
        _package("data_store") / "data",
    )
    seen: set[bytes] = set()
    for path in sorted(p for folder in folders for p in folder.rglob("*") if p.is_file()):
        try:
            dataset = pydicom.dcmread(path, force=True)
            values = np.asarray(pixel_array(dataset, index=0), np.float64)
        except Exception:  # noqa: BLE001  many of these files are broken on purpose
            continue
        if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
            values = -values
        grey = _bytes(255 * (values - values.min()) / max(np.ptp(values), 1e-9))
        digest = np.asarray(Image.fromarray(grey).resize((16, 16))).tobytes()
        if digest in seen:
            continue
        seen.add(digest)
        if path.name.startswith(FRONTAL_FILMS):
            yield Sample(kind="pydicom-data, its film", name=path.name, pixels=grey, film=True)
        else:
            kind = "pydicom, 16 pixels or less" if max(grey.shape) <= 16 else "pydicom"
            yield Sample(kind=kind, name=path.name, pixels=grey, film=False)


def photographs() -> Iterator[Sample]:
    """Pictures that come with scikit-image and scikit-learn."""
    folders = (_package("skimage") / "data", _package("sklearn") / "datasets/images")
    for path in sorted(p for folder in folders for p in folder.iterdir()):
        if path.suffix in {".png", ".jpg", ".gif"}:
            with Image.open(path) as image:
                grey = np.asarray(image.convert("L"))
            yield Sample(kind="scikit-image, scikit-learn", name=path.name, pixels=grey, film=False)
    faces = np.load(_package("skimage") / "data/lfw_subset.npy")
    for number, face in enumerate(faces[::4]):  # half of them are parts of pictures without faces
        pixels = _bytes(255 * face)
        yield Sample(kind="scikit-image, faces", name=str(number), pixels=pixels, film=False)


def judge(reader: Reader, sample: Sample) -> Judged:
    """Read one sample from a PNG file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(sample.pixels)).save(buffer, "PNG")
    try:
        reading = reader.read(buffer.getvalue())
    except UnfamiliarImage as refusal:
        return Judged(sample=sample, familiarity=refusal.familiarity, refused=True)
    except ReadingError:
        return Judged(sample=sample, familiarity=None, refused=True)
    return Judged(sample=sample, familiarity=reading.familiarity, refused=False)


def table(judged: list[Judged]) -> Iterator[str]:
    """One line a kind, then both figures over all."""
    for film, title in ((True, "to be read"), (False, "to be refused")):
        group = [entry for entry in judged if entry.sample.film is film]
        yield f"{title:40} images  refused  share"
        kinds = list(dict.fromkeys(entry.sample.kind for entry in group))
        for kind in kinds:
            yield _line(kind, [entry for entry in group if entry.sample.kind == kind])
        if film:
            real = [e for e in group if e.sample.kind.count(",") == 1 and _is_source(e.sample.kind)]
            yield _line("= real films as they are", real)
        else:
            yield _line("= all images", group)
            shares = [np.mean([e.refused for e in group if e.sample.kind == k]) for k in kinds]
            yield f"{'= mean over kinds':40} {'':16} {np.mean(shares):.3f}"


def _is_source(kind: str) -> bool:
    return kind.startswith("real films, ") and " " not in kind.removeprefix("real films, ")


def _line(title: str, group: list[Judged]) -> str:
    refused = sum(entry.refused for entry in group)
    if not group:
        return f"{title:40} {0:6}"
    share = proportion_interval(refused, len(group))
    return (
        f"{title:40} {len(group):6} {refused:8}  {share.value:.3f} "
        f"[{share.low:.3f}, {share.high:.3f}]"
    )


def cost(bundle: Bundle, repeats: int = 30) -> str:
    """What the gate adds to the network's time, one image and one thread, fastest of all rounds."""
    size = bundle.manifest.input.size
    image = np.random.default_rng(0).random((1, 1, size, size), np.float32)
    network, gate = Session(bundle.graph, threads=1), GateSession(bundle.gate or b"")
    best = [float("inf")] * 2
    for _ in range(repeats):
        for place, run in enumerate((network.run, gate.run)):
            start = time.perf_counter()
            run(image)
            best[place] = min(best[place], (time.perf_counter() - start) * 1e3)
    return f"network {best[0]:.2f} ms, gate {best[1]:.2f} ms: {best[1] / best[0]:.1%} on top"


def draw_sheet(judged: list[Judged], out: Path) -> None:
    """Draw what was decided wrongly, with its familiarity: films first."""
    wrong = [entry for entry in judged if entry.refused is entry.sample.film]
    columns = 10
    rows = max(1, -(-len(wrong) // columns))
    sheet = Image.new("L", (columns * TILE, rows * (TILE + 24)), 255)
    pen = ImageDraw.Draw(sheet)
    for place, entry in enumerate(wrong):
        left, top = place % columns * TILE, place // columns * (TILE + 24)
        sheet.paste(Image.fromarray(_square(entry.sample.pixels)).resize((TILE, TILE)), (left, top))
        mark = "-" if entry.familiarity is None else f"{entry.familiarity:.3f}"
        pen.text((left + 2, top + TILE), f"{mark} {entry.sample.name[-14:]}", fill=0)
        pen.text((left + 2, top + TILE + 11), entry.sample.kind[-20:], fill=0)
    sheet.save(out)


def _decoded(path: Path) -> Grey:
    pixels: FloatImage = decode(path.read_bytes(), Limits()).pixels
    return _bytes(pixels * 255)


def _bytes(values: NDArray[np.generic]) -> Grey:
    """Round to bytes; colours become grey."""
    image = Image.fromarray(
        np.rint(np.clip(np.asarray(values, np.float64), 0, 255)).astype(np.uint8)
    )
    return np.asarray(image.convert("L"))


def _square(grey: Grey) -> Grey:
    return np.asarray(Image.fromarray(np.ascontiguousarray(grey)).resize((SIDE, SIDE)))


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{name} is not installed; see this file's head")
    return Path(spec.origin).parent


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=Path, help="Manifest of real frontal films.")
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--sheet", type=Path, help="PNG file to draw the wrong decisions in.")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    reader = Reader.open(arguments.model)
    if reader.manifest.gate is None:
        raise SystemExit(f"{arguments.model} has no gate; make one with `cxr-train gate`")
    films = real_films(arguments.films) if arguments.films else iter(())
    sources = (films, phantoms(), noises(), dicom_samples(), photographs())
    judged = [judge(reader, sample) for source in sources for sample in source]
    print(cost(Bundle.open(arguments.model)))
    print(f"threshold {reader.manifest.gate.threshold:.4f}")
    print("\n".join(table(judged)))
    if arguments.sheet:
        draw_sheet(judged, arguments.sheet)


if __name__ == "__main__":
    main()

"""Draw docs/images/hospital-*.png: what viewers show of a result, rendered by DCMTK.

Needs DCMTK. Run from the root of the repository: PYTHONPATH=. python docs/generate_hospital.py
"""

import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset

from clients.dicom import KINDS, report
from clients.dicom.objects.common import encoded
from service.model.reader import Reader
from tests.clients.dicom.films import DX, film, read_by
from training.generate.phantom.render import draw_pair

TARGET = Path(__file__).resolve().parent / "images"
SEED = 7
SIDE = 1024  # pixels of the film
WIDTH = 480  # pixels of a picture
COLOUR = (255, 160, 60)


def main() -> None:
    """Read a film of the simulator and have its secondary capture and presentation state drawn."""
    _, sick = draw_pair(SEED, SIDE)
    pixels = np.asarray(sick.pixels).astype(np.uint16) << 4  # of 12 bits, as the header says
    data = film(pixels, bits_stored=12, **DX)
    made = {d.Modality: d for d in report(data, *read_by(Reader.open(), data), KINDS)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "film.dcm").write_bytes(data)
        for modality, dataset in made.items():
            (folder / f"{modality}.dcm").write_bytes(encoded(dataset))
        run("dcmj2pnm", folder / "OT.dcm", folder / "sc.ppm")
        run("dcmp2pgm", "--pstate", folder / "PR.dcm", folder / "film.dcm", folder / "pr.pgm")
        save(Image.open(folder / "sc.ppm"), "hospital-sc.png")
        save(annotated(Image.open(folder / "pr.pgm"), made["PR"]), "hospital-gsps.png")


def annotated(picture: Image.Image, state: Dataset) -> Image.Image:
    """Draw what a presentation state says, which DCMTK's renderer leaves out."""
    shown = picture.convert("RGB")
    draw = ImageDraw.Draw(shown)
    (note,) = state.GraphicAnnotationSequence
    for line in note.GraphicObjectSequence:
        draw.line(np.reshape(line.GraphicData, (-1, 2)).ravel().tolist(), COLOUR, width=4)
    (text,) = note.TextObjectSequence
    corner = np.multiply(text.BoundingBoxTopLeftHandCorner, shown.size)
    draw.text(
        (corner[0], corner[1]),
        text.UnformattedTextValue.replace("\r", ""),
        COLOUR,
        font=ImageFont.load_default(22),
    )
    return shown


def save(picture: Image.Image, name: str) -> None:
    """Write a picture at the width of the page."""
    small = picture.convert("RGB").resize((WIDTH, round(WIDTH * picture.height / picture.width)))
    small.quantize(256, kmeans=1).save(TARGET / name, optimize=True)


def run(*command: object) -> None:
    """Run a program of DCMTK."""
    subprocess.run([str(part) for part in command], check=True)  # noqa: S603  of this file


if __name__ == "__main__":
    main()

"""Draw docs/images/ui.png: the page at /ui with a patient of the simulator.

Needs Chromium. Run from the root of the repository: PYTHONPATH=. python docs/generate_ui.py
"""

import tempfile
from pathlib import Path

from PIL import Image

from tests.e2e.browser import chromium, screen
from tests.e2e.conftest import running
from tests.factories import dicom_bytes, png_bytes
from training.generate.phantom.render import draw_pair

TARGET = Path(__file__).resolve().parent / "images" / "ui.png"
SEED = 7
COLOURS = 256  # greys and the colours of the heat: less than half of the bytes


def main() -> None:
    """Read both films of a patient and a lateral one, and take a picture."""
    healthy, sick = (png_bytes(film.pixels) for film in draw_pair(SEED, 1024))
    viewport = {"width": 1280, "height": 760}
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder)) as server,
        chromium() as browser,
        screen(browser, server.url, viewport=viewport) as shown,
    ):
        shown.read(pneumonia_png=sick, healthy_png=healthy, lateral_dcm=dicom_bytes(view="LL"))
        shown.lay("Film and heatmap")
        with Image.open(shown.shoot("docs")) as shot:
            picture = shot.convert("RGB")
        palette = picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=4)
        picture.quantize(palette=palette).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()

"""Draw docs/images/heatmaps.png: the default model's golden readings and their heatmaps.

Run from the root of the repository: python docs/generate_heatmaps.py
"""

import base64
import io
import json

from PIL import Image, ImageDraw

from service.model.reader import Reader
from service.model.shipped import default_model
from tests.sources import ROOT

MODEL = default_model()
TARGET = ROOT / "docs" / "images" / "heatmaps.png"
CAPTION = 18  # pixels


def main() -> None:
    """Write the picture: synthetic radiographs above, `/explain` of each below."""
    reader = Reader.open(MODEL)
    golden = json.loads((MODEL / "golden.json").read_text(encoding="utf-8"))["readings"]
    columns = []
    for entry in golden:
        content = base64.b64decode(entry["image"])
        reading, overlay = reader.explain(content, bare=False)
        with Image.open(io.BytesIO(content)) as film, Image.open(io.BytesIO(overlay)) as heated:
            column = Image.new("RGB", (film.width, CAPTION + 2 * film.height), "white")
            column.paste(film.convert("RGB"), (0, CAPTION))
            column.paste(heated, (0, CAPTION + film.height))
        truth = "with pneumonia" if entry["label"] else "healthy"
        text = f"{truth}: probability {reading.probability:.2f}"
        ImageDraw.Draw(column).text((4, 3), text, fill="black")
        columns.append(column)
    sheet = Image.new("RGB", (sum(c.width for c in columns), columns[0].height))
    for place, column in enumerate(columns):
        sheet.paste(column, (place * column.width, 0))
    TARGET.parent.mkdir(exist_ok=True)
    sheet.save(TARGET, optimize=True)


if __name__ == "__main__":
    main()

"""Draw docs/images/misread.png: the synthetic validation films that the default model reads worst.

Run from the root of the repository, after `make train` has made the data set:
python docs/generate_misread.py
"""

import pandas as pd

from clients.datasets.items import Dataset, Item
from clients.reports.misread import draw, misread
from service.model.reader import Reader
from service.model.shipped import default_model
from tests.sources import ROOT
from training.config import Config
from training.fit.dataset import load_splits

TARGET = ROOT / "docs" / "images" / "misread.png"
COUNT = 6  # of each class


def main() -> None:
    """Write the picture: the films as the network sees them, with their heatmaps below."""
    config = Config.load(ROOT / "training" / "configs" / "default.toml")
    reader = Reader.open(default_model())
    frame = load_splits(config)["validation"]
    items = tuple(
        Item(name=path, file=config.dataset.folder / path, label=int(label))
        for path, label in zip(frame["path"], frame["label"], strict=True)
    )
    rows = [
        {
            "path": item.name,
            "label": item.label,
            "probability": reader.read(item.file.read_bytes()).probability,
        }
        for item in items
    ]
    draw(misread(pd.DataFrame(rows), count=COUNT), Dataset(items=items), reader, TARGET)


if __name__ == "__main__":
    main()

"""A folder of synthetic radiographs as tensors; pixels only through service.imaging.

generate -> curate -> [dataset] -> channels -> fit
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from service.imaging.decode import Limits, decode
from service.imaging.radiograph import FloatImage
from service.imaging.raster import read_png
from service.imaging.standardise import Geometry, InputSpec, standardise
from training.config import Config, FitConfig
from training.fit.augment import augment
from training.fit.distributed import Rank
from training.generate.manifest import manifest_of
from training.networks.channels import to_channels
from training.networks.pneumonia import STRIDE


def load_splits(config: Config) -> dict[str, pd.DataFrame]:
    """The manifest cut into ``train``, ``validation`` and ``calibration``.

    A hash of seed and group decides, so both images of a pair are on the same side, and a data set
    that grows keeps its splits.
    """
    frame = pd.read_parquet(manifest_of(config.dataset.folder))
    places = frame["group"].map(lambda group: _place(config.seed, str(group)))
    first = config.dataset.validation
    second = first + config.dataset.calibration
    splits = {
        "train": frame[places >= second],
        "validation": frame[places < first],
        "calibration": frame[(places >= first) & (places < second)],
    }
    for name, split in splits.items():
        if split["label"].nunique() < 2:
            raise ValueError(f"the {name} split lacks a class: generate more images")
    return {name: split.reset_index(drop=True) for name, split in splits.items()}


def drawn_by(frame: pd.DataFrame, generators: Sequence[str]) -> pd.DataFrame:
    """The rows of the images that ``generators`` drew; all where none is named.

    Raises
    ------
    ValueError
        If there is no image of one of them.
    """
    if not generators:
        return frame
    for name in generators:
        if not (frame["generator"] == name).any():
            known = ", ".join(sorted(frame["generator"].unique()))
            raise ValueError(f"no image is by the generator {name}; the data set has {known}")
    return frame[frame["generator"].isin(generators)].reset_index(drop=True)


def _place(seed: int, group: str) -> float:
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def load_tensors(
    frame: pd.DataFrame, folder: Path, spec: InputSpec
) -> tuple[FloatImage, NDArray[np.int64]]:
    """Images (N, 1, S, S) float32 in [0, 1] and labels (N,), as serving would see them."""
    images = [
        standardise(decode((folder / path).read_bytes(), Limits()), spec)[0]
        for path in frame["path"]
    ]
    return np.stack(images), frame["label"].to_numpy(np.int64)


def load_cells(frame: pd.DataFrame, folder: Path, spec: InputSpec) -> FloatImage:
    """Lesion coverage (N, S/16, S/16) in [0, 1] on the cells of the heatmap; rows need a mask."""
    cells = []
    for path, name in zip(frame["path"], frame["mask"], strict=True):
        _, geometry = standardise(decode((folder / path).read_bytes(), Limits()), spec)
        mask = load_mask(folder / name)
        cells.append(lesion_cells(mask, geometry, spec))
    return np.stack(cells)


def load_mask(path: Path) -> FloatImage:
    """Lesion coverage (h, w) in [0, 1] of a PNG; no film, so that its grey values stay."""
    return read_png(path.read_bytes(), Limits().max_pixels).pixels


def lesion_cells(mask: FloatImage, geometry: Geometry, spec: InputSpec) -> FloatImage:
    """The part of a mask that the network sees, averaged to its cells, (S/16, S/16).

    ``mask`` has the radiograph's field of view at any resolution.
    """
    down, across = mask.shape[0] / geometry.rows, mask.shape[1] / geometry.columns
    top, left = round(geometry.top * down), round(geometry.left * across)
    bottom = round((geometry.top + geometry.height) * down)
    right = round((geometry.left + geometry.width) * across)
    cells = (spec.size // STRIDE, spec.size // STRIDE)
    seen = mask[top:bottom, left:right]
    return np.asarray(cv2.resize(seen, cells, interpolation=cv2.INTER_AREA), dtype=np.float32)


class TrainingImages(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Augmented (channels (C, S, S), label (), mask (S/16, S/16)) by (draw, row).

    A pneumonia image without a mask has NaN cells: where its lesion lies is not known.

    The draw numbers the passes, so that an image differs in each but a resumed run repeats none.
    Both images of a pair are changed alike, and lack the same channel if any: what is left between
    them is the lesion.
    """

    def __init__(self, frame: pd.DataFrame, config: Config) -> None:
        self._paths = frame["path"].tolist()
        self._masks = frame["mask"].tolist()
        self._labels = frame["label"].tolist()
        self._groups = frame.groupby("group", sort=True).ngroup().tolist()
        self._folder, self._spec = config.dataset.folder, config.input
        self._changes, self._fit = config.augment, config.fit

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        draw, row = key
        rng = np.random.default_rng((self._fit.seed, draw, self._groups[row]))
        radiograph = decode((self._folder / self._paths[row]).read_bytes(), Limits())
        name = self._masks[row]
        mask = load_mask(self._folder / name) if name else np.zeros((64, 64), np.float32)
        radiograph, mask = augment(radiograph, mask, self._changes, rng)
        image, geometry = standardise(radiograph, self._spec)
        label = torch.tensor(float(self._labels[row]))
        cells = lesion_cells(mask, geometry, self._spec)
        if self._labels[row] and not name:
            cells = np.full_like(cells, np.nan)
        return self._channels(image, rng), label, torch.from_numpy(cells)

    def _channels(self, image: FloatImage, rng: np.random.Generator) -> Tensor:
        """The network's channels; with probability ``drop_channel`` for each, one of them is 0."""
        fit, spec = self._fit, self._spec
        channels = to_channels(torch.from_numpy(image)[None], fit.channels, spec.mean, spec.std)[0]
        if fit.drop_channel:
            dropped = int(rng.random() / fit.drop_channel)
            if dropped < len(fit.channels):
                channels[dropped] = 0
        return channels


class PairedBatches(Sampler[list[tuple[int, int]]]):
    """Batches of whole groups for steps ``first`` to the last, the same whatever was resumed.

    An image that is a group of its own comes with another one, of the other class as long as there
    are some: they are coupled anew in each pass, which leaves one out where their number is odd.

    Of each batch, every one of ``world`` ranks gets the pairs from its own number on, in steps of
    ``world``: together they see what one process would.
    """

    def __init__(
        self, frame: pd.DataFrame, fit: FitConfig, seed: int, *, first: int, rank: Rank
    ) -> None:
        if fit.batch // 2 < rank.world:
            raise ValueError(f"batch {fit.batch} has fewer pairs than there are processes")
        groups = frame.groupby("group", sort=True).indices.values()
        self._pairs = [rows for rows in groups if len(rows) > 1]
        alone = np.array([rows[0] for rows in groups if len(rows) == 1], np.int64)
        sick = frame["label"].to_numpy()[alone] == 1
        self._alone = alone[~sick], alone[sick]
        self._count = len(self._pairs) + len(alone) // 2
        self._per_step, self._steps = fit.batch // 2, fit.all_steps
        self._seed, self._first, self._rank = seed, first, rank

    def __len__(self) -> int:
        return self._steps - self._first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield one list of (draw, row) for each remaining step."""
        one_pass = lru_cache(maxsize=2)(self._pass)
        for step in range(self._first, self._steps):
            start, stop = step * self._per_step, (step + 1) * self._per_step
            places = range(start + self._rank.number, stop, self._rank.world)
            chosen = [
                (draw, one_pass(draw)[index])
                for draw, index in (divmod(place, self._count) for place in places)
            ]
            yield [(draw, int(row)) for draw, pair in chosen for row in pair]

    def _pass(self, draw: int) -> list[NDArray[np.int64]]:
        """Rows of the pairs of one pass, in its order."""
        rng = np.random.default_rng((self._seed, draw))
        order = rng.permutation(self._count)
        pairs = [*self._pairs, *self._couples(rng)]
        return [pairs[index] for index in order]

    def _couples(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows of images without a partner, by two, (N, 2)."""
        healthy, sick = (rng.permutation(rows) for rows in self._alone)
        both = min(len(healthy), len(sick))
        left = np.concatenate([healthy[both:], sick[both:]])
        alike = left[: len(left) // 2 * 2].reshape(-1, 2)
        return np.concatenate([np.stack([healthy[:both], sick[:both]], axis=1), alike])

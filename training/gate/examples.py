"""What the gate network learns from: chest films as the phantom makes them, and everything else.

dataset, lateral, pictures -> [examples] -> standardise -> gate network
Both sides are warped, shaded, blurred and mirrored by one law. All pixels go through the model's
own standardisation.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.imaging.decode import Limits, decode
from service.imaging.radiograph import FloatImage, Radiograph
from service.imaging.standardise import InputSpec, standardise
from training.config import AugmentConfig
from training.fit.augment import augment
from training.gate.lateral import draw_lateral
from training.gate.network import see
from training.gate.pictures import SIDE, page, paint
from training.generate.store import in_processes

CHANGES = AugmentConfig(
    degrees=7, shift=0.06, scale=0.22, shade=0.2, gamma=1.0, blur=1.5, noise=0.0, cutout=0.3
)
# What share of the other images is of which kind.
KINDS = {
    "upside down": 0.14,
    "inverted": 0.14,
    "turned": 0.08,
    "lateral": 0.14,
    "panels": 0.1,
    "part": 0.06,
    "picture": 0.34,
}
_LAYOUTS = ((1, 2), (1, 2), (2, 1), (2, 1), (2, 2), (1, 3), (2, 3), (3, 3))
_NO_MASK = np.zeros((1, 1), np.float32)


def film(path: Path) -> FloatImage:
    """One image of the data set at the pictures' size."""
    pixels = decode(path.read_bytes(), Limits()).pixels
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def vary(rng: np.random.Generator, image: FloatImage) -> FloatImage:
    """Change an image as files and films differ: mirrored, bent, framed, shaded, blurred."""
    if rng.random() < 0.3:
        image = image[:, ::-1]
    if rng.random() < 0.5:
        image = _bend(rng, image)
    if rng.random() < 0.15:
        image = _pad(rng, image)
    if rng.random() < 0.2:
        tool = cv2.createCLAHE(float(rng.uniform(0.8, 4)), (int(rng.integers(2, 9)),) * 2)
        local = tool.apply(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8))
        image = np.asarray(local / np.float32(255), np.float32)
    # The whole range of grey first, so that shading changes all images alike.
    low, high = np.percentile(image, (1, 99))
    image = np.ascontiguousarray((image - low) / max(high - low, 0.02), np.float32)
    radiograph = Radiograph(pixels=image, format="PNG", photometric="L")
    return _file(rng, augment(radiograph, _NO_MASK, CHANGES, rng)[0].pixels)


def other(
    rng: np.random.Generator, kind: str, film_of: Callable[[], FloatImage], seed: int
) -> FloatImage:
    """One image of a kind that is to be refused; ``seed`` names the lateral."""
    draw: dict[str, Callable[[], FloatImage]] = {
        "upside down": lambda: film_of()[::-1],
        "inverted": lambda: 1 - film_of(),
        "turned": lambda: np.rot90(film_of(), int(rng.choice([1, 2, 3]))),
        "lateral": lambda: draw_lateral(seed, SIDE).astype(np.float32) / np.float32(255),
        "panels": lambda: _panels(rng, film_of),
        "part": lambda: _part(rng, film_of()),
        "picture": lambda: paint(rng),
    }
    return draw[kind]()


def _file(rng: np.random.Generator, image: FloatImage) -> FloatImage:
    """Add noise, lose what is darker or brighter than the window, store in 8 bit."""
    if rng.random() < 0.6:
        grain = rng.standard_normal(image.shape, dtype=np.float32)
        image = image + grain * np.float32(0.08 * rng.random() ** 2)
    black, white = rng.uniform(-0.1, 0.15), rng.uniform(0.85, 1.1)
    return np.asarray(
        np.round(np.clip((image - black) / (white - black), 0, 1) * 255) / 255, np.float32
    )


def _bend(rng: np.random.Generator, image: FloatImage) -> FloatImage:
    """Displace smoothly by up to a few per cent: anatomy that the phantom does not draw."""
    grid = int(rng.integers(3, 7))
    coarse = rng.standard_normal((2, grid, grid)).astype(np.float32) * rng.uniform(0, 0.02) * SIDE
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    shift = [cv2.resize(c, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for c in coarse]
    moved = cv2.remap(
        np.ascontiguousarray(image), columns + shift[0], rows + shift[1], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.asarray(moved, np.float32)


def _pad(rng: np.random.Generator, image: FloatImage) -> FloatImage:
    """Leave a margin on one or more sides, as on films that are smaller than their file."""
    top, bottom, left, right = (
        int(SIDE * rng.uniform(0, 0.14) * (rng.random() < 0.5)) for _ in range(4)
    )
    grey = float(rng.choice([0.0, 1.0, rng.random()], p=[0.6, 0.2, 0.2]))
    padded = np.pad(image, ((top, bottom), (left, right)), constant_values=grey)
    return np.asarray(cv2.resize(padded, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)


def _panels(rng: np.random.Generator, film_of: Callable[[], FloatImage]) -> FloatImage:
    """Several images on one, or a small film on a page or screen."""
    if rng.random() < 0.35:
        image = page(rng) if rng.random() < 0.6 else np.full((SIDE, SIDE), rng.random(), np.float32)
        side = int(SIDE * rng.uniform(0.25, 0.55))
        left, top = (int(v) for v in rng.integers(0, SIDE - side, 2))
        image[top : top + side, left : left + side] = cv2.resize(film_of(), (side, side))
        return image
    rows, columns = _LAYOUTS[int(rng.integers(len(_LAYOUTS)))]
    same = rng.random() < 0.7
    tiles = []
    for _ in range(rows):
        row = [film_of() if same or rng.random() < 0.5 else paint(rng) for _ in range(columns)]
        tiles.append(np.hstack(row))
    joined = np.ascontiguousarray(np.vstack(tiles))
    return np.asarray(cv2.resize(joined, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)


def _part(rng: np.random.Generator, image: FloatImage) -> FloatImage:
    """So little of the film that no reading would stand: a corner, one lung, the belly."""
    side = int(SIDE * rng.uniform(0.25, 0.45))
    left, top = (int(v) for v in rng.integers(0, SIDE - side, 2))
    part = np.ascontiguousarray(image[top : top + side, left : left + side])
    return np.asarray(cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)


def draw_examples(
    paths: Sequence[Path], spec: InputSpec, count: int, seed: int, workers: int
) -> tuple[Tensor, NDArray[np.str_]]:
    """Draw ``count`` films and as many other images, reduced to what the gate network sees.

    Parameters
    ----------
    paths
        Images of the data set; each may be used several times.
    spec
        The model's input.
    seed
        Determines everything, for any number of workers.

    Returns
    -------
    images
        float32 (2 * count, 1, 64, 64) in [0, 1], as :func:`see` makes them.
    kinds
        ``"film"`` or a key of KINDS, shape (2 * count,).
    """
    kinds = ["film"] * count + list(
        np.random.default_rng((seed, 0)).choice(list(KINDS), count, p=list(KINDS.values()))
    )
    task = partial(_one, [str(path) for path in paths], spec, seed)
    numbered = list(enumerate(kinds))
    images = np.stack(list(in_processes(task, numbered, workers, chunk=64)))
    return torch.from_numpy(images).float() / 255, np.array(kinds)


def _one(
    paths: Sequence[str], spec: InputSpec, seed: int, numbered: tuple[int, str]
) -> NDArray[np.uint8]:
    """Example by number and kind: uint8 (1, 64, 64)."""
    number, kind = numbered
    rng = np.random.default_rng((seed, 1, number))

    def film_of() -> FloatImage:
        return film(Path(paths[int(rng.integers(len(paths)))]))

    if kind == "film":
        image = film(Path(paths[number % len(paths)]))
    else:
        image = other(rng, kind, film_of, int(rng.integers(2**62)))
    radiograph = Radiograph(pixels=vary(rng, image), format="PNG", photometric="L")
    tensor, _ = standardise(radiograph, spec)
    small = see(torch.from_numpy(tensor)[None])[0].numpy()
    return np.asarray(np.round(small * 255), np.uint8)

"""The configuration of one model, read from a TOML file and validated once.

There is a value for everything that can change a result; nothing falls back to a default.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from service.errors import ReadingError
from service.imaging.standardise import InputSpec

Section = TypeVar("Section")


class InvalidConfig(ValueError):
    """The configuration lacks a value, has an unknown one, or contradicts itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetConfig:
    """Which images, and how they are split by group.

    ``validation`` and ``calibration`` are fractions of the groups; the rest trains.
    """

    folder: Path
    validation: float
    calibration: float

    def __post_init__(self) -> None:
        if min(self.validation, self.calibration) <= 0 or self.validation + self.calibration >= 1:
            raise InvalidConfig("validation and calibration must be positive, their sum below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """How far a training image may be changed; 0 switches a change off.

    Attributes
    ----------
    degrees, shift, scale
        Bounds of rotation (degrees), shift and scaling (fractions of the side).
    shade
        Bound of the standard deviation of a smooth field of grey that is added (grey range 1).
    gamma, blur, noise
        Bounds of log2 gamma, of the blur's sigma (pixels) and of the noise's (grey range 1).
    cutout
        Probability that one rectangle is filled with its mean.
    """

    degrees: float
    shift: float
    scale: float
    shade: float
    gamma: float
    blur: float
    noise: float
    cutout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How the network is trained.

    Attributes
    ----------
    architecture, init
        ``resnet50``, ``resnet18``; ``random``, ``imagenet`` or a weights file.
    steps, batch
        Optimiser steps and images in each; both images of a pair are in the same step.
    learning_rate, weight_decay
        Of AdamW; the rate warms up over 5 % of the steps, then falls as a cosine to 0.
    label_smoothing, mask_weight
        Of the loss: targets in [s/2, 1 - s/2]; weight of the auxiliary lesion mask.
    average
        Decay of the moving average of weights that is kept.
    checkpoint_every
        Steps between checkpoints, each with a look at the validation split.
    """

    architecture: str
    init: str
    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    mask_weight: float
    average: float
    checkpoint_every: int

    def __post_init__(self) -> None:
        if self.batch < 2 or self.batch % 2:
            raise InvalidConfig(f"batch {self.batch} is not even: pairs stay together")
        if self.steps < 1 or self.checkpoint_every < 1:
            raise InvalidConfig("steps and checkpoint_every must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingConfig:
    """How the packaged graph reads, where it does more than the network: ``training.lungs``.

    Attributes
    ----------
    crop
        Fraction of each side the packaged graph is given; the network is trained on that of
        ``[input]``.
    weight
        Of the lung detail against the network, each divided by its standard deviation on synthetic
        images.
    phantoms, steps
        Patients drawn, and optimiser steps, to learn where lungs are.
    """

    crop: float
    weight: float
    phantoms: int
    steps: int

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise InvalidConfig(f"reading crop {self.crop} is not in (0, 1]")
        if self.weight <= 0 or self.phantoms < 1 or self.steps < 1:
            raise InvalidConfig("weight, phantoms and steps of [reading] must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that decides one model; without ``[reading]`` the network alone is packaged."""

    name: str
    seed: int
    dataset: DatasetConfig
    input: InputSpec
    augment: AugmentConfig
    fit: FitConfig
    reading: ReadingConfig | None = None

    @classmethod
    def load(cls, path: Path) -> "Config":
        """Read a TOML file; raises :class:`InvalidConfig` naming the section that is wrong."""
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise InvalidConfig(f"{path.name}: {error}") from error
        dataset = table.get("dataset", {})
        if "folder" in dataset:
            dataset["folder"] = Path(dataset["folder"])
        table["dataset"] = _section(DatasetConfig, "dataset", dataset)
        table["input"] = _section(InputSpec, "input", table.get("input", {}))
        table["augment"] = _section(AugmentConfig, "augment", table.get("augment", {}))
        table["fit"] = _section(FitConfig, "fit", table.get("fit", {}))
        if "reading" in table:
            table["reading"] = _section(ReadingConfig, "reading", table["reading"])
        return _section(cls, path.name, table)


def _section(kind: type[Section], name: str, values: dict[str, Any]) -> Section:
    try:
        return kind(**values)
    except (TypeError, ReadingError) as error:
        raise InvalidConfig(f"[{name}]: {error}") from error

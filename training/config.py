"""The configuration of one model, read from a TOML file and validated once.

There is a value for everything that can change a result; nothing falls back to a default but what
files from before a key was added could not say.
"""

import tomllib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from service.errors import ReadingError
from service.imaging.standardise import InputSpec
from training.networks.channels import CHANNELS
from training.networks.pneumonia import BLOCKS
from training.stored import of_today

Section = TypeVar("Section")

SEEDS = 10  # from the seed of one training of a network to that of the next


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
    seed
        Of start weights, batches and changes of images.
    architecture, blocks
        ``resnet50`` or ``resnet18`` of 4 blocks; ``lite0`` of 6 to 16, the first ones.
    init
        ``random``, ``imagenet`` or a weights file, whose means and variances ``lite0`` keeps.
    generators
        Whose images it learns from, where a data set joins those of several; none for all.
    channels, drop_channel
        What the network is shown, of ``grey``, ``ranks`` and ``edges``; and with what probability
        each of them is left blank for a pair, so that none is relied on alone.
    steps, batch
        Optimiser steps and images in each; both images of a pair are in the same step, and of those
        without a partner one of each class, as long as there are some.
    probe_steps
        Steps before those, in which the linear layer learns alone (Kumar et al. 2022).
    freeze
        How many blocks, from the first, keep their start weights.
    pull
        Weight, in the loss, of the squared distance of the other weights, those of the linear layer
        apart, to where they started (L2-SP: Li, Grandvalet and Davoine 2018).
    blend
        Share of the trained weights in what is kept; the rest is where ``steps`` started
        (WiSE-FT: Wortsman et al. 2022).
    learning_rate, weight_decay
        Of AdamW; the rate warms up over 5 % of the steps, then falls as a cosine to 0.
    label_smoothing, mask_weight
        Of the loss: targets in [s/2, 1 - s/2]; weight of the auxiliary lesion mask.
    average
        Decay of the moving average of weights that is kept; it rises to this in the first steps.
    checkpoint_every
        Steps between checkpoints, each with a look at the validation split.
    trainings
        How many trainings there are, by ``seed`` and by every tenth number after it; the weights
        that are kept are their mean (model soups: Wortsman et al. 2022, arXiv 2203.05482).
    taught_by
        Places of the networks that teach this one, the first, whose own place is 1:
        ``training.fit.teaching``; none for labels and masks alone.
    """

    seed: int
    architecture: str
    blocks: int
    init: str
    generators: tuple[str, ...]
    channels: tuple[str, ...]
    drop_channel: float
    steps: int
    batch: int
    probe_steps: int
    freeze: int
    pull: float
    blend: float
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    mask_weight: float
    average: float
    checkpoint_every: int
    trainings: int = field(default=1, repr=False)  # a checkpoint is that of one of them
    taught_by: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.batch < 2 or self.batch % 2:
            raise InvalidConfig(f"batch {self.batch} is not even: pairs stay together")
        if self.steps < 1 or self.checkpoint_every < 1:
            raise InvalidConfig("steps and checkpoint_every must be at least 1")
        _check_channels(self.channels, self.drop_channel)
        _check_blocks(self.architecture, self.blocks, self.freeze)
        if min(self.probe_steps, self.pull) < 0 or not 0 <= self.blend <= 1:
            raise InvalidConfig("probe_steps and pull must not be negative, blend in [0, 1]")
        if self.trainings < 1:
            raise InvalidConfig(f"trainings {self.trainings} is below 1")
        if self.trainings > 1 and self.init == "random":
            raise InvalidConfig("several trainings need a common start; init is random")
        if self.init == "random" and (self.probe_steps or self.freeze or self.keeps_start):
            raise InvalidConfig("probe_steps, freeze, pull, blend keep to a start; init is random")

    @property
    def all_steps(self) -> int:
        """Of both phases."""
        return self.probe_steps + self.steps

    @property
    def keeps_start(self) -> bool:
        """Whether the weights that ``steps`` start from are needed until the end."""
        return self.pull > 0 or self.blend < 1

    @property
    def keeps_statistics(self) -> bool:
        """Whether batch norms keep the means and variances they start with."""
        return self.architecture == "lite0" and self.init != "random"


def _check_blocks(architecture: str, blocks: int, freeze: int) -> None:
    if architecture not in BLOCKS:
        raise InvalidConfig(f"architecture {architecture} is none of {', '.join(BLOCKS)}")
    allowed = BLOCKS[architecture]
    if blocks not in allowed:
        raise InvalidConfig(
            f"blocks {blocks} of {architecture} is not in {allowed[0]} to {allowed[-1]}"
        )
    if not 0 <= freeze <= blocks:
        raise InvalidConfig(f"freeze {freeze} is not in 0 to {blocks}, the blocks there are")


def _check_channels(channels: tuple[str, ...], drop: float) -> None:
    count = len(channels)
    if not channels or len(set(channels)) < count or not set(channels) <= set(CHANNELS):
        known = ", ".join(CHANNELS)
        raise InvalidConfig(f"channels {list(channels)} are not different ones of {known}")
    if not 0 <= drop * count < 1 or (drop and count == 1):
        raise InvalidConfig(f"drop_channel {drop} leaves no image with all of {count} channels")


@dataclass(frozen=True, slots=True, kw_only=True)
class LungDetailConfig:
    """How networks and lung detail are joined to one graph.

    Attributes
    ----------
    crop
        Fraction of each side the packaged graph is given; the network is trained on that of
        ``[input]``.
    weight
        Of the lung detail against the networks, each divided by its standard deviation on synthetic
        images.
    children
        Whether the detail counts in children's films alone: ``training.release.age``.
    age_by
        Places of the networks whose features tell a child's film, the first network's is 1; none
        for all.
    phantoms, steps
        Patients drawn, and optimiser steps, to learn where lungs are.
    """

    crop: float
    weight: float
    children: bool
    phantoms: int
    steps: int
    age_by: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise InvalidConfig(f"[lung_detail] crop {self.crop} is not in (0, 1]")
        if self.weight <= 0 or self.phantoms < 1 or self.steps < 1:
            raise InvalidConfig("weight, phantoms and steps of [lung_detail] must be positive")
        if self.age_by and not self.children:
            raise InvalidConfig("[lung_detail] age_by is for children = true")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberConfig:
    """Another network of the ensemble; the rest of its training is as in :class:`FitConfig`.

    ``size`` is the side of its input; the joined graph is given the largest and reduces it.
    ``counts`` is how much its logit counts where that of the first network counts 1, each divided
    by its standard deviation on synthetic images. ``second_view`` is the fraction of each side that
    it reads once more, left and right exchanged, to put out the mean of both; 0 for none.
    """

    size: int
    seed: int
    architecture: str
    blocks: int
    init: str
    generators: tuple[str, ...]
    channels: tuple[str, ...]
    drop_channel: float
    steps: int
    learning_rate: float
    probe_steps: int
    freeze: int
    pull: float
    blend: float
    average: float
    trainings: int = 1
    counts: float = 1.0
    second_view: float = 0.0

    def __post_init__(self) -> None:
        if self.counts <= 0:
            raise InvalidConfig(f"counts {self.counts} of a member is not positive")
        if self.second_view is True or not (self.second_view == 0 or 0.5 <= self.second_view <= 1):
            raise InvalidConfig(
                f"second_view {self.second_view} of a member is neither 0 nor in [0.5, 1]"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that decides one model; without ``[lung_detail]`` the network alone is packaged.

    ``seed`` is that of the splits, of the lungs' U-Net and of the intervals.
    """

    name: str
    seed: int
    dataset: DatasetConfig
    input: InputSpec
    augment: AugmentConfig
    fit: FitConfig
    lung_detail: LungDetailConfig | None = None
    members: tuple[MemberConfig, ...] = ()

    def __post_init__(self) -> None:
        if self.members and self.lung_detail is None:
            raise InvalidConfig("members are joined by [lung_detail], which is missing")
        if self.input.equalise and (self.lung_detail is not None or self.fit.channels != ("grey",)):
            raise InvalidConfig("[input] equalise is for grey alone; the channel ranks equalises")
        places = self.lung_detail.age_by if self.lung_detail else ()
        if not set(places) <= set(range(1, len(self.members) + 2)):
            raise InvalidConfig(f"age_by {list(places)} names no network: 1 is the first")
        if self.members:
            self.teachers(Path())  # raises where a member's recipe makes no sense

    def teachers(self, run: Path) -> list[tuple["Config", Path]]:
        """Configuration and run folder of every network that teaches the first one.

        Raises
        ------
        InvalidConfig
            If there is no such network, it is named twice, or it is shown other channels.
        """
        networks, places = self.networks(run), self.fit.taught_by
        if not set(places) <= set(range(2, len(networks) + 1)):
            raise InvalidConfig(f"taught_by {list(places)} names no other network: 2 is the next")
        if places and (len(set(places)) < len(places) or self.fit.drop_channel):
            raise InvalidConfig("taught_by names a network twice, or there is a drop_channel")
        taught = [networks[place - 1] for place in places]
        if any(own.fit.channels != self.fit.channels for own, _ in taught):
            raise InvalidConfig("a network and those that teach it must be shown the same channels")
        return taught

    def networks(self, run: Path) -> list[tuple["Config", Path]]:
        """Configuration and run folder of every network: the first one, then the other members."""
        alone = replace(self, lung_detail=None, members=())
        networks = [(alone, run)]
        for number, member in enumerate(self.members, start=1):
            changed = asdict(member)
            del changed["counts"], changed["second_view"]  # of its place among the others
            spec = replace(self.input, size=changed.pop("size"))
            fit = replace(self.fit, **changed, taught_by=())
            own = replace(alone, input=spec, fit=fit)
            networks.append((own, run / f"companion-{number}"))  # as runs have always called it
        return networks

    @property
    def counts(self) -> tuple[float, ...]:
        """How much the logit of each network counts, the first one's 1."""
        return (1.0, *(member.counts for member in self.members))

    @property
    def second_views(self) -> tuple[float, ...]:
        """The fraction of each side that each network reads once more; the first one does not."""
        return (0.0, *(member.second_view for member in self.members))

    @property
    def served_input(self) -> InputSpec:
        """The input of the packaged graph: that of ``[input]``, or what ``[lung_detail]`` makes it.

        It is the largest that one of the networks has: the others reduce it.
        """
        if self.lung_detail is None:
            return self.input
        size = max([self.input.size, *(member.size for member in self.members)])
        return replace(self.input, size=size, crop=self.lung_detail.crop)

    def each_training(self, run: Path) -> list[tuple["Config", Path]]:
        """Configuration and run folder of every training whose mean is the network of ``run``."""
        return [
            (
                replace(self, fit=replace(self.fit, seed=self.fit.seed + SEEDS * n, trainings=1)),
                run / f"training-{n + 1}",
            )
            for n in range(self.fit.trainings)
        ]

    @classmethod
    def load(cls, path: Path) -> "Config":
        """Read a TOML file; raises :class:`InvalidConfig` naming the section that is wrong.

        One with ``base``, another file beside it, says only what it has otherwise.
        """
        table = _table(path)
        if "base" in table:
            base = _table(path.parent / table.pop("base"))
            if "base" in base:
                raise InvalidConfig(f"{path.name}: its base has a base of its own")
            table = base | {
                name: base.get(name, {}) | value if isinstance(value, dict) else value
                for name, value in table.items()
            }
        dataset = table.get("dataset", {})
        if "folder" in dataset:
            dataset["folder"] = Path(dataset["folder"])
        table["dataset"] = _section(DatasetConfig, "dataset", dataset)
        table["input"] = _section(InputSpec, "input", table.get("input", {}))
        table["augment"] = _section(AugmentConfig, "augment", table.get("augment", {}))
        table["fit"] = _section(FitConfig, "fit", table.get("fit", {}))
        table["members"] = tuple(
            _section(MemberConfig, "members", values) for values in table.get("members", [])
        )
        if "lung_detail" in table:
            table["lung_detail"] = _section(LungDetailConfig, "lung_detail", table["lung_detail"])
        config = _section(cls, path.name, table)
        config.teachers(Path())  # raises where there is none of those that [fit] names
        return config


def _table(path: Path) -> dict[str, Any]:
    try:
        table: dict[str, Any] = of_today(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:  # no TOML, or both names of a key
        raise InvalidConfig(f"{path.name}: {error}") from error
    return table


def _section(kind: type[Section], name: str, values: dict[str, Any]) -> Section:
    try:
        for listed in {"generators", "channels", "age_by", "taught_by"} & values.keys():
            values[listed] = tuple(values[listed])
        return kind(**values)
    except (TypeError, ReadingError) as error:
        raise InvalidConfig(f"[{name}]: {error}") from error

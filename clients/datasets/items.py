"""What a dataset is: a list of names with labels and strata, never of pixels.

[items] <- rsna, kermany, manifests and folders; images are read when they are scored.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from service.files import sha256


class DatasetError(ValueError):
    """The dataset cannot be read as it is; the message names the file, the column or the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One image of a dataset.

    Attributes
    ----------
    name
        Path relative to the dataset, with ``/``; unique, so a resumed run knows what it has done.
    label
        1 pneumonia, 0 not, None unknown.
    strata
        Other facts of the dataset, as text; the same keys for every item.
    """

    name: str
    file: Path
    label: int | None
    strata: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Images in a fixed order.

    Attributes
    ----------
    warnings
        What is missing of a published dataset whose counts are known, in sentences.
    """

    items: tuple[Item, ...]
    warnings: tuple[str, ...] = ()

    @property
    def strata(self) -> tuple[str, ...]:
        """Names of the strata columns."""
        return tuple(self.items[0].strata)

    @property
    def sha256(self) -> str:
        """Digest of names, labels and strata: what ties a run to this list."""
        lines = (json.dumps([item.name, item.label, item.strata]) for item in self.items)
        return sha256("\n".join(lines).encode())

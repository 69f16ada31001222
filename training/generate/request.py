"""What every generator of synthetic radiographs is asked, and what it answers.

[request -> image + provenance] -> store -> curate -> dataset -> fit
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

GreyImage = NDArray[np.uint8]
Fact = str | float | int | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One group of images that belong together, e.g. one simulated patient in health and illness.

    Attributes
    ----------
    seed
        Determines everything that is random in the answer.
    size
        Side of the square images in pixels.
    lesion
        False asks for the same images without any lesion: the classes must then be
        indistinguishable, which shows that nothing but the lesion gives the label away.
    """

    seed: int
    size: int
    lesion: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticImage:
    """One synthetic radiograph with its label and provenance.

    Attributes
    ----------
    pixels
        uint8 of shape (H, W), dense tissue bright.
    label
        1 = pneumonia, 0 = no pneumonia.
    mask
        uint8 of shape (H, W), 255 where the lesion is fully visible; None where there is no lesion
        or where it is not known.
    facts
        What is known about patient, lesion and acquisition; age_band, view and pattern at least.
    """

    pixels: GreyImage
    label: int
    mask: GreyImage | None = None
    facts: dict[str, Fact] = field(default_factory=dict)


class Generator(Protocol):
    """A source of synthetic radiographs."""

    @property
    def name(self) -> str:
        """Name in manifests and on the command line."""

    @property
    def version(self) -> str:
        """Changes whenever the same request could give another answer."""

    def answer(self, request: Request) -> Sequence[SyntheticImage]:
        """Make the images of one group, at most one of each label."""

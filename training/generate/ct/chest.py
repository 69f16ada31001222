"""A prepared CT with everything that is measured on it once.

files -> scan -> [volume] -> patient -> projection -> film
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from training.generate.ct.geometry import Landmarks, find_landmarks
from training.generate.ct.lungs import Lungs, find_lungs
from training.generate.ct.volume import COARSE, Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Chest:
    """One CT ready to be made into patients.

    Attributes
    ----------
    air
        Hounsfield units by which each coarse voxel of the lungs lies below water, 0 elsewhere.
    """

    volume: Volume
    marks: Landmarks
    lungs: Lungs
    air: Tensor

    @classmethod
    def of(cls, volume: Volume, device: str = "cpu") -> "Chest":
        """Measure a volume and take it to a device."""
        moved = volume.to(device)
        coarse = functional.avg_pool3d(moved.hounsfield[None], COARSE)[0]
        return cls(
            volume=moved,
            marks=find_landmarks(volume),
            lungs=find_lungs(moved),
            air=(-coarse).clamp(min=0) * (moved.sides > 0),
        )

"""Pairs of radiographs projected from chest CT: one patient without and with pneumonia.

files -> scan -> volume -> patient -> projection -> [film]
"""

import ast
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from training.generate.ct.case import FINE, draw_case, project_case
from training.generate.ct.chest import Chest
from training.generate.ct.library import Chests, prepare_all
from training.generate.phantom.acquisition import acquire, describe, draw_acquisition
from training.generate.phantom.framing import Framing
from training.generate.phantom.render import NO_LESION, DrawnImage, halves, source_digest
from training.generate.request import Request, SyntheticImage


def draw_pair(
    chests: Sequence[Chest], seed: int, size: int, *, lesion: bool = True
) -> tuple[DrawnImage, DrawnImage]:
    """Draw one patient twice: healthy and with pneumonia, filmed alike."""
    patient, film = np.random.SeedSequence(seed).spawn(2)
    case = draw_case(np.random.default_rng(patient), chests, lesion=lesion)
    acquisition = draw_acquisition(
        np.random.default_rng(film), case.lungs, case.patient.age_band, case.patient.view
    )
    healthy, ill = project_case(case, acquisition.framing)
    whole = Framing(
        column=FINE[2] / 2, row=FINE[1] / 2, width=FINE[2] - 2, height=FINE[1] - 2, degrees=0.0
    )
    facts = case.facts() | describe(acquisition)
    images = []
    for projection, extra in ((healthy, NO_LESION), (ill, {})):
        taken = acquire(projection, replace(acquisition, framing=whole), size)
        images.append(
            DrawnImage(
                pixels=taken.pixels, lesion=taken.lesion, lungs=taken.lungs, facts=facts | extra
            )
        )
    return images[0], images[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ct:
    """The generator that projects chest CT, as the data set's writer sees it.

    Attributes
    ----------
    chests
        Prepared volumes.
    device
        As torch names it. Workers share a GPU.
    """

    name = "ct"

    chests: Chests

    @classmethod
    def open(
        cls, volumes: Path, cache: Path, *, device: str, workers: int, progress: bool = True
    ) -> "Ct":
        """Prepare the series of ``volumes`` in ``cache``.

        Raises
        ------
        VolumeError
            If there is no series, or one cannot be used.
        """
        prepared = prepare_all(volumes, cache, workers, progress=progress)
        return cls(chests=Chests(tuple(prepared), device))

    @property
    def version(self) -> str:
        """Digest of the code of this package and of the phantom's, which films are made with."""
        return code_version()

    @property
    def sources(self) -> dict[str, object]:
        """What the data set records of the volumes."""
        return {"volumes": [prepared.provenance.record() for prepared in self.chests.prepared]}

    def answer(self, request: Request) -> tuple[SyntheticImage, ...]:
        """Draw the healthy and the pneumonia half of one pair."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # workers take the cores
        try:
            pair = draw_pair(self.chests, request.seed, request.size, lesion=request.lesion)
        finally:
            torch.set_num_threads(threads)
        return halves(pair, request)


@cache
def code_version() -> str:
    """First 12 hex digits of the SHA-256 of the code: this package, and the phantom's films."""
    digest = hashlib.sha256(source_digest().encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(ast.dump(ast.parse(path.read_text(encoding="utf-8"))).encode())
    return digest.hexdigest()[:12]

"""Phantoms that know where their lungs are, for the U-Net.

generate -> [lung_films] -> fit_lungs

A module without torch: each process that draws would take seconds to import it.
"""

import numpy as np

from service.imaging.radiograph import FloatImage
from service.processor import cores
from training.generate.phantom.render import draw_pair
from training.generate.store import in_processes

FIRST_SEED = 900_000  # of the phantoms; those of a data set are counted from far below
FILM_SIDE = 160  # pixels


def draw_films(phantoms: int) -> tuple[FloatImage, FloatImage]:
    """Films (2 P, side, side) and lung coverage, both in [0, 1]: each patient well and ill."""
    seeds = range(FIRST_SEED, FIRST_SEED + phantoms)
    pairs = list(in_processes(_films, seeds, cores(), chunk=8))
    films = np.concatenate([pair[0] for pair in pairs])
    return films, np.concatenate([pair[1] for pair in pairs])


def _films(seed: int) -> tuple[FloatImage, FloatImage]:
    pair = draw_pair(seed, FILM_SIDE)
    films = np.stack([image.pixels for image in pair]).astype(np.float32)
    lungs = np.stack([image.lungs for image in pair]).astype(np.float32)
    return films / np.float32(255), lungs / np.float32(255)

"""Who is filmed: one CT made into many patients, children among them.

files -> scan -> volume -> [patient] -> projection -> film

Lengths are in millimetres. Axes: x to the patient's left, y to the back, z to the head.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.generate.phantom.sampling import FloatArray, chance, uniform

CONTROL = 5  # control points of the random deformation along each axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Drawn factors of one patient and one exposure; they do not know the lesion.

    Attributes
    ----------
    age
        Years.
    scale
        Size relative to the CT along x, y, z.
    turn
        Rotation about x (lordosis), y (leaning) and z in radians.
    rib_lift
        Height by which the front of the chest is lifted for each unit of depth: ribs of children
        run more horizontally.
    expiration
        Share of the lungs' height by which the diaphragm stands higher.
    heart, mediastinum
        Growth of the heart, and of the upper mediastinum sideways: 0 as in the CT.
    girth
        Thickness of the soft tissue outside the ribs, relative to the CT.
    bone
        Attenuation of bone above that of soft tissue, relative to the CT's own.
    lung_haze
        Share of the lungs' air that is replaced everywhere.
    arms
        Whether the upper arms lie beside the chest.
    bends
        Random displacements, float32 of shape (3, ``CONTROL``, ``CONTROL``, ``CONTROL``).
    source_distance
        From the focus to the middle of the chest.
    crispness
        How much of the detail that a CT's voxels lose is given back.
    """

    age: float
    view: Literal["PA", "AP"]
    supine: bool
    scale: tuple[float, float, float]
    turn: tuple[float, float, float]
    rib_lift: float
    expiration: float
    heart: float
    mediastinum: float
    girth: float
    bone: float
    lung_haze: float
    arms: bool
    bends: FloatArray
    source_distance: float
    crispness: float

    @property
    def child(self) -> bool:
        """Whether the patient is a child of 1 to 12 years."""
        return self.age < 16

    @property
    def age_band(self) -> Literal["child", "adult"]:
        """The age band of manifests."""
        return "child" if self.child else "adult"


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draw a patient; children and adults are equally likely."""
    return _draw_child(rng) if chance(rng, 0.5) else _draw_adult(rng)


def _draw_child(rng: np.random.Generator) -> Patient:
    age = float(np.exp(rng.uniform(0, np.log(12))))
    young = 1 - float(np.log(age) / np.log(12))
    width = (0.80 - 0.26 * young) * uniform(rng, 0.93, 1.08)
    supine = chance(rng, 0.3 + 0.4 * young)
    return Patient(
        age=age,
        view="AP",
        supine=supine,
        scale=(
            width,
            width * (1.02 + uniform(rng, 0.02, 0.16) + 0.08 * young),
            width * uniform(rng, 0.7, 0.95) * (1 - 0.06 * young),
        ),
        turn=(float(rng.normal(0.02, 0.09)), float(rng.normal(0, 0.03)), float(rng.normal(0, 0.1))),
        rib_lift=uniform(rng, 0.05, 0.25) + 0.12 * young,
        expiration=uniform(rng, -0.04, 0.12) if chance(rng, 0.75) else uniform(rng, 0.1, 0.24),
        heart=_draw_heart(rng) + 0.06 + 0.08 * young,
        mediastinum=uniform(rng, 0.0, 0.25) + 0.25 * young * uniform(rng, 0, 1),
        girth=uniform(rng, 0.35, 1.1) + 0.25 * young * uniform(rng, 0, 1),
        bone=uniform(rng, 2.4, 6.0),
        lung_haze=uniform(rng, 0.02, 0.22),
        arms=chance(rng, 0.5),
        bends=_draw_bends(rng, 6.0 * width),
        source_distance=uniform(rng, 95, 125) * 10 if supine else uniform(rng, 110, 180) * 10,
        crispness=uniform(rng, 0.3, 1.5),
    )


def _draw_adult(rng: np.random.Generator) -> Patient:
    view: Literal["PA", "AP"] = "AP" if chance(rng, 0.5) else "PA"
    bed = view == "AP"
    width = uniform(rng, 0.9, 1.12)
    low = chance(rng, 0.35 if bed else 0.1)
    pitch = float(rng.normal(0.06, 0.1)) if bed else float(rng.normal(0, 0.05))
    return Patient(
        age=uniform(rng, 18, 90),
        view=view,
        supine=bed and chance(rng, 0.6),
        scale=(width, width * uniform(rng, 0.9, 1.1), width * uniform(rng, 0.8, 1.05)),
        turn=(pitch, float(rng.normal(0, 0.025)), float(rng.normal(0, 0.1 if bed else 0.05))),
        rib_lift=float(rng.normal(0.03, 0.06)),
        expiration=uniform(rng, 0.1, 0.28) if low else uniform(rng, -0.06, 0.08),
        heart=_draw_heart(rng),
        mediastinum=uniform(rng, -0.1, 0.15) + (0.12 if bed else 0),
        girth=float(np.exp(rng.normal(0.1, 0.35))),
        bone=uniform(rng, 1.4, 3.0),
        lung_haze=uniform(rng, 0.0, 0.14 if bed else 0.08),
        arms=bed and chance(rng, 0.6),
        bends=_draw_bends(rng, 6.0),
        source_distance=uniform(rng, 90, 120) * 10 if bed else uniform(rng, 155, 180) * 10,
        crispness=uniform(rng, 0.3, 1.5) if bed else uniform(rng, 0.6, 1.9),
    )


def _draw_heart(rng: np.random.Generator) -> float:
    """Large hearts belong to both classes."""
    return uniform(rng, 0.18, 0.34) if chance(rng, 0.14) else uniform(rng, -0.12, 0.14)


def _draw_bends(rng: np.random.Generator, size: float) -> FloatArray:
    shape = (3, CONTROL, CONTROL, CONTROL)
    return np.asarray(rng.normal(0, size * uniform(rng, 0.3, 1.2), shape), np.float32)

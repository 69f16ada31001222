"""Who is filmed and how: every factor of the anatomy that has nothing to do with a lesion.

Lengths are in centimetres. Axes: x to the patient's left (right in the picture), y down with 0 at
the lung apex, z to the front with 0 in the middle of the thorax.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.generate.phantom.sampling import chance, uniform

CANVAS = 256  # pixels, square canvas of all line-integral maps


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Drawn factors of one patient and one exposure.

    Attributes
    ----------
    half_width, half_depth, lung_height
        Inside of the rib cage at its widest, and apex to right dome, in cm. Adult cages are about
        28 cm wide and 18 cm deep inside; toddlers' about 17 by 13 and rounder.
    chest_wall
        Soft tissue between ribs and skin in cm.
    rotation
        About the long axis in radians; positive brings the front to the patient's left.
    heart_scale
        1 gives a cardiothoracic ratio of about 0.45 (upper limit of normal 0.5 on PA films).
    source_distance
        Focus to the middle of the thorax in cm.
    pixels_per_cm, origin_x, origin_y
        Scale in the middle of the thorax, and the canvas position of x = 0, y = 0.
    """

    age_band: Literal["child", "adult"]
    view: Literal["PA", "AP"]
    supine: bool
    female: bool
    half_width: float
    half_depth: float
    lung_height: float
    chest_wall: float
    obesity: float
    inspiration: float
    rotation: float
    heart_scale: float
    aortic_age: float
    emphysema: float
    lung_density: float
    rib_slope: float
    bone_density: float
    source_distance: float
    pixels_per_cm: float
    origin_x: float
    origin_y: float

    @property
    def child(self) -> bool:
        """Whether the patient is a child of about 1 to 5 years."""
        return self.age_band == "child"


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draw a patient; children and adults are equally likely."""
    child = chance(rng, 0.5)
    view: Literal["PA", "AP"] = "AP" if chance(rng, 0.7 if child else 0.45) else "PA"
    supine = view == "AP" and chance(rng, 0.6)
    low = chance(rng, 0.25 if view == "AP" else 0.1)
    inspiration = uniform(rng, 0.78, 0.9) if low else uniform(rng, 0.92, 1.05)
    half_width = uniform(rng, 7.3, 10.0) if child else uniform(rng, 12.3, 15.6)
    emphysema = uniform(rng, 0.3, 1.0) if not child and not low and chance(rng, 0.1) else 0.0
    height = half_width * (uniform(rng, 1.4, 1.85) if child else uniform(rng, 1.42, 1.82))
    height *= inspiration * (1 + 0.12 * emphysema)
    pixels_per_cm = uniform(rng, 84, 107) / half_width
    top = uniform(rng, 26, 60) if child else uniform(rng, 16, 44)
    room = CANVAS * uniform(rng, 0.84, 0.97) - top
    pixels_per_cm = min(pixels_per_cm, room / height)
    obesity = float(rng.beta(1.3, 4.0))
    return Patient(
        age_band="child" if child else "adult",
        view=view,
        supine=supine,
        female=chance(rng, 0.5),
        half_width=half_width,
        half_depth=half_width * (uniform(rng, 0.68, 0.84) if child else uniform(rng, 0.58, 0.74)),
        lung_height=height,
        chest_wall=(uniform(rng, 0.7, 1.5) if child else uniform(rng, 1.4, 3.0)) * (1 + obesity),
        obesity=obesity,
        inspiration=inspiration,
        rotation=float(np.clip(rng.normal(0, 0.07 if view == "AP" else 0.035), -0.2, 0.2)),
        heart_scale=_heart_scale(rng, child=child, low=low),
        aortic_age=0.0 if child else float(rng.beta(1.6, 1.6)),
        emphysema=emphysema,
        lung_density=(uniform(rng, 0.22, 0.32) if child else uniform(rng, 0.18, 0.28))
        / (inspiration * (1 + 0.35 * emphysema)),
        rib_slope=uniform(rng, 0.2, 0.5) if child else uniform(rng, 0.3, 0.55),
        bone_density=uniform(rng, 0.7, 2.0),
        source_distance=uniform(rng, 90, 130) if view == "AP" else uniform(rng, 150, 185),
        pixels_per_cm=pixels_per_cm,
        origin_x=CANVAS / 2 + uniform(rng, -9, 9),
        origin_y=top,
    )


def _heart_scale(rng: np.random.Generator, *, child: bool, low: bool) -> float:
    """Draw the heart size; large hearts without any pneumonia belong to both classes."""
    if chance(rng, 0.12):
        return uniform(rng, 1.2, 1.42)  # cardiomegaly
    base = uniform(rng, 0.95, 1.25) if child else uniform(rng, 0.82, 1.15)
    return base * (1.1 if low else 1.0)

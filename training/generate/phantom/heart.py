"""Heart and great vessels: one natural outline in the frontal plane, rounded out in depth."""

from dataclasses import dataclass

import numpy as np

from service.imaging.radiograph import FloatImage
from training.generate.phantom.geometry import RAYS, inflate, project
from training.generate.phantom.patient import CANVAS, Patient
from training.generate.phantom.sampling import FloatArray, chance, closed_spline, uniform

# Landmarks of the cardiac silhouette, right side from the top, then left side from the apex up:
# x in half widths of the thorax, y in lung heights. The right border is vena cava and right
# atrium; the left one ventricle, auricle, pulmonary trunk, aortic knob, subclavian artery.
_RIGHT = (
    (-0.15, -0.05),
    (-0.15, 0.12),
    (-0.165, 0.3),
    (-0.17, 0.45),
    (-0.25, 0.58),
    (-0.3, 0.72),
    (-0.29, 0.87),
    (-0.22, 1.03),
    (-0.02, 1.16),
)
_LEFT = (
    (0.3, 1.17),
    (0.5, 1.1),
    (0.58, 0.98),
    (0.56, 0.84),
    (0.48, 0.7),
    (0.36, 0.58),
    (0.26, 0.49),
    (0.23, 0.42),
    (0.18, 0.35),
    (0.195, 0.28),
    (0.18, 0.2),
    (0.13, 0.1),
    (0.12, -0.05),
)


@dataclass(frozen=True, slots=True)
class Heart:
    """Mediastinal organs on the ray grid.

    Attributes
    ----------
    half_chord
        Half the thickness along the ray in cm, shape (RAYS, RAYS).
    depth_centre
        z of the middle in cm, shape (RAYS, 1).
    outline
        Canvas pixels, shape (M, 2).
    """

    half_chord: FloatArray
    depth_centre: FloatArray
    outline: FloatArray
    thymus: bool


def _landmarks(rng: np.random.Generator, patient: Patient) -> FloatArray:
    right, left = np.array(_RIGHT, np.float32), np.array(_LEFT, np.float32)
    right += rng.normal(0, 0.010, right.shape)
    left += rng.normal(0, 0.012, left.shape)
    for side, sign in ((right, -1.0), (left, 1.0)):
        low = np.clip((side[:, 1] - 0.38) / 0.25, 0, 1)  # only the heart itself scales
        side[:, 0] *= 1 + low * (patient.heart_scale - 1) * uniform(rng, 0.8, 1.2)
        upper = 1 - low
        widen = uniform(rng, 0.0, 0.05) + (0.04 if patient.child else 0.0)
        side[:, 0] += sign * upper * widen * (1.3 if patient.supine else 0.8)
    left[:, 1] -= np.clip((left[:, 1] - 0.5) * (patient.heart_scale - 1) * 0.3, -0.05, 0.08)
    left[9:11, 0] += 0.01 + 0.06 * patient.aortic_age  # aortic knob
    left[6:8, 0] += uniform(rng, -0.03, 0.05)  # pulmonary trunk and auricle
    if patient.aortic_age > 0.6 and chance(rng, 0.5):
        right[2:4, 0] -= 0.06 * patient.aortic_age  # unfolded ascending aorta
    if patient.emphysema:
        left[:7, 0] *= 1 - 0.18 * patient.emphysema  # drop heart
    return np.concatenate([right, left])


def _thymus(rng: np.random.Generator, landmarks: FloatArray) -> None:
    """Widen the upper mediastinum in place: sail to the right, wave to the left, or both."""
    sides = chance(rng, 0.55), chance(rng, 0.55)
    size = uniform(rng, 0.04, 0.22)
    if sides[0] or not sides[1]:
        landmarks[1:5, 0] -= size * np.array([0.35, 0.9, 1.0, 0.25], np.float32)
    if sides[1]:
        landmarks[16:21, 0] += size * np.array([0.4, 0.9, 1.0, 0.8, 0.35], np.float32)


def build_heart(rng: np.random.Generator, patient: Patient) -> Heart:
    """Draw the mediastinum of one patient."""
    landmarks = _landmarks(rng, patient)
    thymus = patient.child and chance(rng, 0.3)
    if thymus:
        _thymus(rng, landmarks)
    depth = patient.half_depth * uniform(rng, 0.15, 0.32)
    curve = closed_spline(landmarks)
    h = curve[:, 1]
    points = np.stack(
        [
            curve[:, 0] * patient.half_width,
            h * patient.lung_height,
            depth * np.clip((h - 0.15) / 0.4, 0, 1),
        ],
        axis=-1,
    )
    outline = project(patient, points)
    radius = patient.pixels_per_cm * patient.half_width * uniform(rng, 0.26, 0.5)
    rounded: FloatImage = inflate(outline, radius, RAYS)
    thickness = patient.half_depth * uniform(rng, 0.7, 0.95)
    rows = (np.arange(RAYS, dtype=np.float32)[:, None] + 0.5) * (CANVAS / RAYS)
    height = (rows - patient.origin_y) / patient.pixels_per_cm / patient.lung_height
    centre = depth * np.clip((height - 0.15) / 0.4, 0, 1)
    return Heart(
        half_chord=(rounded * thickness).astype(np.float32),
        depth_centre=centre.astype(np.float32),
        outline=outline,
        thymus=thymus,
    )

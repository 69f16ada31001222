"""Soft tissue around the lungs: torso, neck, shoulders, arms, breasts, head and abdominal gas."""

import numpy as np

from service.imaging.radiograph import FloatImage
from training.generate.phantom.geometry import canvas_cm, ellipse_chord, inflate, project
from training.generate.phantom.patient import CANVAS, Patient
from training.generate.phantom.sampling import (
    FloatArray,
    blur,
    chance,
    closed_spline,
    noise_image,
    open_spline,
    uniform,
)

# Linear attenuation of water and muscle at about 70 keV mean energy (NIST XCOM: 0.193/cm).
SOFT_TISSUE = 0.2


def flat_points(patient: Patient, points: list[tuple[float, float]]) -> FloatArray:
    """Half widths and lung heights in the mid-plane to canvas pixels."""
    p = np.asarray(points, np.float32)
    body = np.stack(
        [p[:, 0] * patient.half_width, p[:, 1] * patient.lung_height, np.zeros(len(p))], axis=-1
    )
    return project(patient, body)


def _torso_outline(rng: np.random.Generator, patient: Patient) -> FloatArray:
    wall = 1.03 + patient.chest_wall / patient.half_width
    neck = uniform(rng, 0.36, 0.5) if patient.child else uniform(rng, 0.34, 0.46)
    shrug = uniform(rng, -0.16, 0.06)
    waist = wall * (1 + uniform(rng, -0.06, 0.05) + 0.25 * patient.obesity)
    shoulder = wall + (uniform(rng, 0.06, 0.32) if patient.child else uniform(rng, 0.2, 0.5))
    half = [
        (neck, -0.9), (neck, -0.3 + shrug), (neck + 0.14, -0.16 + shrug), (0.75, -0.08 + shrug),
        (shoulder, 0.03 + shrug), (shoulder, 0.2), (wall + 0.05, 0.44), (wall * 1.005, 0.7),
        (0.5 * (wall + waist), 1.0), (waist, 1.25), (waist * 1.02, 2.2), (waist, 5.0),
    ]  # fmt: skip
    left = [(x + float(rng.normal(0, 0.012)), y) for x, y in half]
    right = [(-x + float(rng.normal(0, 0.012)), y) for x, y in reversed(half)]
    return closed_spline(flat_points(patient, left + right), 6)


def _arm(rng: np.random.Generator, patient: Patient, side: int, *, raised: bool) -> FloatImage:
    """Thickness of one upper arm in cm."""
    x, y = canvas_cm(patient)
    radius = patient.half_width * uniform(rng, 0.2, 0.3) * (1 + 0.3 * patient.obesity)
    reach = uniform(rng, 1.12, 1.3) if patient.child else uniform(rng, 1.3, 1.5)
    start = np.array([side * patient.half_width * reach, 0.08 * patient.lung_height])
    lift = uniform(rng, 0.3, 1.3) if raised else uniform(rng, -1.5, -1.05)
    if not raised and chance(rng, 0.4):
        lift = uniform(rng, -1.0, -0.3)  # hands on the hips, shoulders rolled forward
    direction = np.array([side * np.cos(lift), -np.sin(lift)])
    along = (x - start[0]) * direction[0] + (y - start[1]) * direction[1]
    across = (x - start[0]) * direction[1] - (y - start[1]) * direction[0]
    beyond = np.minimum(along, 0)
    return np.asarray(2 * np.sqrt(np.clip(radius**2 - across**2 - beyond**2, 0, None)), np.float32)


def _breasts(rng: np.random.Generator, patient: Patient) -> FloatImage:
    x, y = canvas_cm(patient)
    thickness = np.zeros((CANVAS, CANVAS), np.float32)
    size = uniform(rng, 1.0, 3.2) * (1 + 1.2 * patient.obesity)
    centre_y = uniform(rng, 0.62, 0.88) * patient.lung_height
    radius = patient.half_width * uniform(rng, 0.34, 0.5)
    removed = int(rng.choice([-1, 1])) if chance(rng, 0.03) else 0  # mastectomy
    for side in (-1, 1):
        if side == removed:
            continue
        centre = (side * patient.half_width * uniform(rng, 0.5, 0.68), centre_y)
        height = radius * uniform(rng, 0.8, 1.15)
        cap = ellipse_chord(x, y, centre, (radius, height), side * uniform(rng, -0.3, 0.3))
        above = np.clip((y - centre[1]) / height + 1, 0, 1)  # fades upwards, crescent below
        thickness += size * cap * above
    return thickness


def _head(rng: np.random.Generator, patient: Patient) -> FloatImage:
    """Attenuation of chin, jaw and teeth that hang into the top of a toddler's film."""
    x, y = canvas_cm(patient)
    centre = (
        uniform(rng, -0.15, 0.15) * patient.half_width,
        -uniform(rng, 0.5, 0.95) * patient.lung_height,
    )
    radii = (
        patient.half_width * uniform(rng, 0.55, 0.75),
        patient.lung_height * uniform(rng, 0.34, 0.5),
    )
    skull = ellipse_chord(x, y, centre, radii)
    mandible = skull - ellipse_chord(
        x, y, (centre[0], centre[1] - 0.1 * radii[1]), (radii[0] * 0.86, radii[1] * 0.82)
    )
    return np.asarray(
        SOFT_TISSUE * 1.1 * patient.half_width * skull + 0.6 * np.clip(mandible, 0, 1), np.float32
    )


def _bowel_gas(rng: np.random.Generator, patient: Patient) -> FloatImage:
    """Length of gas in cm along the rays: stomach bubble under the left dome, loops below."""
    x, y = canvas_cm(patient)
    x = x + 0.05 * patient.half_width * noise_image(rng, CANVAS, 2.5)  # no gut is an ellipse
    width, height = patient.half_width, patient.lung_height
    gas = np.zeros((CANVAS, CANVAS), np.float32)
    if chance(rng, 0.6):
        radii = (width * uniform(rng, 0.12, 0.34), height * uniform(rng, 0.06, 0.18))
        centre = (
            width * uniform(rng, 0.3, 0.62),
            height * uniform(rng, 1.12, 1.26) + radii[1] * 0.4,
        )
        bubble = ellipse_chord(x, y, centre, radii, uniform(rng, -0.6, 0.6))
        if not patient.supine and chance(rng, 0.5):  # fluid level
            bubble = bubble * (y < centre[1] + uniform(rng, 0, 0.6) * radii[1])
        gas = np.maximum(gas, bubble * uniform(rng, 1.5, 5.0))
    # Toddlers swallow air: their gut is full of it.
    most = 24 if patient.child else 14
    loops = int(rng.integers(0, most)) if chance(rng, 0.8 if patient.child else 0.45) else 0
    for _ in range(loops):
        centre = (width * float(rng.normal(0.25, 0.5)), height * uniform(rng, 1.2, 1.75))
        radii = (width * uniform(rng, 0.05, 0.17), height * uniform(rng, 0.03, 0.08))
        loop = ellipse_chord(x, y, centre, radii, uniform(rng, -1.5, 1.5))
        gas = np.maximum(gas, loop * uniform(rng, 0.6, 3.0))
    return blur(gas * (1 + 0.12 * noise_image(rng, CANVAS, 1.5)), 0.8)


def _muscle_folds(rng: np.random.Generator, patient: Patient) -> FloatImage:
    """Extra thickness of pectoral muscle, trapezius and axillary fold in cm."""
    extra = np.zeros((CANVAS, CANVAS), np.float32)
    bulk = uniform(rng, 0.3, 1.6) * (0.5 if patient.child else 1.0)
    for side in (-1, 1):
        fold = [
            (0.3, 0.0),
            (0.7, -0.05),
            (1.2, 0.05),
            (1.16, 0.3),
            (1.0, 0.48),
            (0.75, 0.46),
            (0.42, 0.26),
        ]
        points = [
            (side * u + float(rng.normal(0, 0.03)), v + float(rng.normal(0, 0.03))) for u, v in fold
        ]
        outline = closed_spline(flat_points(patient, points), 6)
        extra += bulk * inflate(outline, 0.45 * patient.half_width * patient.pixels_per_cm, CANVAS)
    return extra


def body_attenuation(rng: np.random.Generator, patient: Patient) -> tuple[FloatImage, FloatImage]:
    """Draw all soft tissue as if there were no air in the chest.

    Returns
    -------
    tuple of FloatImage
        Line integral of attenuation and the body mask in [0, 1], both (CANVAS, CANVAS).
    """
    ppc = patient.pixels_per_cm
    outline = _torso_outline(rng, patient)
    depth = min(2 * (patient.half_depth + 0.75 * patient.chest_wall + 0.6), 28.0)
    depth *= uniform(rng, 0.9, 1.15)
    radius = patient.half_width * uniform(rng, 0.4, 0.9) * ppc  # thins out sideways
    torso = inflate(outline, radius, CANVAS) * depth
    x, y = canvas_cm(patient)
    h = y / patient.lung_height
    beside = np.clip((np.abs(x) / patient.half_width - 1.05) / 0.3, 0, 1)
    beside = beside * np.clip((0.75 - h) / 0.4, 0, 1)
    torso *= 1 - uniform(rng, 0.15, 0.45) * beside  # shoulders are thinner than the chest
    torso *= 0.62 + 0.38 * np.clip((h + 0.25) / 0.5, 0, 1)  # neck and shoulder girdle are flatter
    torso *= 1 + uniform(rng, 0.0, 0.12) * np.clip((h - 0.85) / 0.4, 0, 1)  # belly
    torso += _muscle_folds(rng, patient) * (torso > 0)
    raised = chance(rng, 0.6 if patient.child else 0.12)
    for side in (-1, 1):
        if chance(rng, 0.85):
            arm = _arm(rng, patient, side, raised=raised)
            torso = np.maximum(torso, arm) + 0.3 * np.minimum(torso, arm)
    if patient.female and not patient.child and chance(rng, 0.85):
        torso += _breasts(rng, patient) * (torso > 0)
    fat = 1 + uniform(rng, 0.002, 0.02) * noise_image(rng, CANVAS, 2.5)
    organs = uniform(rng, 0.0, 0.04) * noise_image(rng, CANVAS, 2.2)
    fat = fat + organs * np.clip((h - 1.02) / 0.15, 0, 1)
    attenuation = SOFT_TISSUE * torso * fat
    if patient.child and chance(rng, 0.7):
        attenuation = np.maximum(attenuation, 0) + _head(rng, patient)
    attenuation = np.clip(attenuation - SOFT_TISSUE * _bowel_gas(rng, patient), 0, None)
    mask = np.clip(torso / 0.5, 0, 1)
    return attenuation.astype(np.float32), mask.astype(np.float32)


def airway(rng: np.random.Generator, patient: Patient) -> list[tuple[FloatArray, float]]:
    """Centre lines (canvas pixels) and diameters (cm) of trachea and main bronchi."""
    carina = uniform(rng, 0.28, 0.36)
    diameter = patient.half_width * uniform(rng, 0.105, 0.14)
    shift = uniform(rng, -0.03, 0.03) - 0.03 * patient.aortic_age
    width, height, depth = patient.half_width, patient.lung_height, -0.15 * patient.half_depth

    def curve(points: list[tuple[float, float]]) -> FloatArray:
        p = np.asarray([(u * width, v * height, depth) for u, v in points], np.float32)
        return project(patient, open_spline(p))

    bend = float(rng.normal(0, 0.03 if patient.child else 0.015))
    return [
        (curve([(0.0, -0.6), (bend, -0.1), (shift, 0.12), (shift, carina)]), diameter),
        (
            curve(
                [
                    (shift, carina - 0.01),
                    (shift - 0.12, carina + 0.07),
                    (shift - 0.24, carina + 0.15),
                ]
            ),
            0.75 * diameter,
        ),
        (
            curve(
                [
                    (shift, carina - 0.01),
                    (shift + 0.16, carina + 0.06),
                    (shift + 0.3, carina + 0.14),
                ]
            ),
            0.65 * diameter,
        ),
    ]

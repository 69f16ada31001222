"""Bones as curves in space: ribs round the cage, spine, clavicles, shoulder blades, humeri.

Every value is the line integral of attenuation a bone adds to the soft tissue it replaces; cortical
bone gives about 0.6/cm more than water at 70 keV (NIST XCOM, ICRU 44 bone), spongy bone 0.1/cm.
"""

import cv2
import numpy as np

from service.imaging.radiograph import FloatImage
from training.generate.phantom.body import flat_points
from training.generate.phantom.geometry import (
    FINE,
    ByteImage,
    canvas_cm,
    fixed_point,
    project,
    stroke,
)
from training.generate.phantom.lungs import cage_profile
from training.generate.phantom.patient import CANVAS, Patient
from training.generate.phantom.sampling import (
    FloatArray,
    blur,
    chance,
    closed_spline,
    open_spline,
    resize,
    uniform,
)

_RIBS = 11
_FULL = 255.0  # canvas level that stands for 1


def _rib_curve(
    patient: Patient, top: float, drop: float, side: int, reach: float, sag: float
) -> FloatArray:
    """Centre line of one rib from spine to cartilage, body coordinates, shape (40, 3)."""
    theta = np.linspace(0.12, reach, 40)  # 0 behind, pi in front
    turn = theta / np.pi
    height = (
        top
        + drop * (1.25 * turn - 0.25 * turn**2)
        - sag * np.sin(np.pi * np.clip(theta / 1.5, 0, 1))
    )
    lateral, depth = cage_profile(patient, np.clip(height, 0.012, 1.25))
    lateral = lateral * 1.02 + 0.2
    x = side * lateral * np.sin(theta) ** 0.9
    z = -depth * 1.02 * np.cos(theta)
    return np.stack([x, height * patient.lung_height, z], axis=-1).astype(np.float32)


def _draw_rib(
    canvas: ByteImage, curve: FloatArray, levels: FloatArray, width: float, core: float
) -> None:
    """Draw a rib whose outer wall is denser than its core and which is densest seen edge-on.

    ``width`` is in CANVAS pixels, ``levels`` give the density of every point, ``core`` the level
    of the marrow relative to the cortex.
    """
    cortex = max(0.45, 0.11 * width)
    for inner in (False, True):
        wide = width - 2 * cortex if inner else width
        order = np.argsort(levels[:-1], kind="stable")
        for i in order:
            level = levels[i] * (core if inner else 1.0)
            stroke(canvas, curve[i : i + 2], wide, _FULL * level)


def _wall(edge: FloatArray) -> FloatArray:
    """Density of a flat rib seen face-on (edge 0) to edge-on (edge 1)."""
    return np.asarray(0.42 + 0.4 * edge**3)


def _ribs(rng: np.random.Generator, patient: Patient) -> FloatImage:
    behind = np.zeros((FINE, FINE), np.uint8)
    ahead = np.zeros((FINE, FINE), np.uint8)
    spacing = uniform(rng, 0.094, 0.108) / max(patient.inspiration, 0.85)
    first = uniform(rng, -0.075, -0.03)
    width = spacing * patient.lung_height * patient.pixels_per_cm * uniform(rng, 0.42, 0.56)
    sag = uniform(rng, 0.0, 0.03) * (1.3 if patient.child else 0.7)
    core = uniform(rng, 0.5, 0.85)
    for side in (-1, 1):
        slope = patient.rib_slope * uniform(rng, 0.94, 1.06)
        for k in range(_RIBS):
            top = first + k * spacing + float(rng.normal(0, 0.002))
            drop = slope * min(1.0, 0.45 + 0.13 * k) * (1.3 + 0.28 * max(0, k - 6))
            reach = np.pi * uniform(rng, 0.74, 0.8) if k < 7 else np.pi * (0.7 - 0.07 * (k - 7))
            curve = _rib_curve(patient, top, drop, side, reach, sag)
            flat = project(patient, curve)
            half = 17  # points behind the mid-axillary line
            edge = np.clip(np.abs(curve[:, 0]) / np.abs(curve[:, 0]).max(), 0, 1)
            fading = np.clip(np.linspace(6, 0.4, len(edge)), 0, 1)  # into cartilage in front
            wide = width * (0.75 if k == 0 else 1.0)
            level = _wall(edge) * (1 - 0.12 * max(0, k - 7))  # floating ribs are slighter
            _draw_rib(behind, flat[: half + 4], level[: half + 4], wide, core)
            front = level * fading
            _draw_rib(ahead, flat[half + 3 :], front[half + 3 :], wide * 1.12, core)
    fade = uniform(rng, 0.3, 0.8) if patient.child else uniform(rng, 0.2, 0.65)
    total = (behind.astype(np.float32) + fade * ahead.astype(np.float32)) / _FULL
    strength = patient.bone_density * (0.68 if patient.child else 0.4) * uniform(rng, 0.7, 1.2)
    return resize(blur(total, uniform(rng, 0.4, 0.9)), CANVAS) * np.float32(strength)


def _spine(rng: np.random.Generator, patient: Patient) -> FloatImage:
    """Vertebral bodies with bright end plates, dark discs, pedicles and spinous processes."""
    x, y = canvas_cm(patient)
    h = y / patient.lung_height
    curve = uniform(rng, -0.03, 0.03) * np.sin(uniform(rng, 2, 4) * h + uniform(rng, 0, 6))
    behind = -0.85 * patient.half_depth * patient.rotation  # rotated with the patient
    pitch = uniform(rng, 0.083, 0.1) / max(patient.inspiration, 0.85)
    phase = h / pitch * (1 - 0.14 * np.clip(h, -0.5, 2)) + uniform(rng, 0, 1)
    place = phase - np.floor(phase)
    half = patient.half_width * (
        uniform(rng, 0.115, 0.14) if patient.child else uniform(rng, 0.09, 0.115)
    )
    half = half * (0.9 + 0.2 * np.clip(h, -0.4, 1.4))
    u = (x + patient.half_width * curve * -1 + behind * -1) / half
    waist = 1 - 0.1 * np.sin(np.pi * place)  # bodies are narrower in the middle
    body = np.sqrt(np.clip(1 - np.abs(u / waist) ** 3, 0, 1))
    disc = np.exp(-(((place - 0.5) / 0.09) ** 2))
    plates = np.exp(-(((np.abs(place - 0.5) - 0.15) / 0.05) ** 2))
    pedicle = np.exp(
        -(((np.abs(u) - 0.66) / 0.2) ** 2) - (((np.abs(place - 0.5) - 0.34) / 0.1) ** 2)
    )
    process = np.exp(-((u / 0.16) ** 2) - (((place - 0.62) / 0.2) ** 2))
    wing = (
        np.exp(-(((place - 0.95) / 0.13) ** 2))
        * np.clip(1.6 - np.abs(u), 0, 0.4)
        * (np.abs(u) < 1.7)
    )
    spine = body * (1 - 0.8 * disc + 0.4 * plates) + 0.4 * pedicle + 0.3 * process + 0.5 * wing
    strength = patient.bone_density * (
        uniform(rng, 0.2, 0.5) if patient.child else uniform(rng, 0.06, 0.28)
    )
    strength = strength * (1 - 0.4 * np.clip((h - 0.9) / 0.2, 0, 1))  # less contrast in the belly
    return np.asarray(blur(spine.astype(np.float32), 0.4) * strength, np.float32)


def _clavicles(rng: np.random.Generator, patient: Patient) -> FloatImage:
    canvas = np.zeros((FINE, FINE), np.uint8)
    level = (
        uniform(rng, 0.05, 0.15)
        - (0.08 if patient.supine else 0.0)
        - (0.03 if patient.child else 0)
    )
    rise = uniform(rng, 0.0, 0.16)
    width = patient.half_width * patient.pixels_per_cm * uniform(rng, 0.075, 0.105)
    front = 0.6 * patient.half_depth
    for side in (-1, 1):
        tilt = float(rng.normal(0, 0.012))
        shape = [
            (0.12, 0.035),
            (0.3, 0.015),
            (0.55, -0.01 - 0.3 * rise),
            (0.8, -0.03 - 0.75 * rise),
            (1.08, -rise),
        ]
        points = np.array(
            [
                (
                    side * u * patient.half_width,
                    (level + v + tilt) * patient.lung_height,
                    front * (1 - 0.6 * u),
                )
                for u, v in shape
            ],
            np.float32,
        )
        curve = project(patient, open_spline(points, 6))
        for i in range(len(curve) - 1):
            t = i / (len(curve) - 2)
            wide = width * (1.15 - 0.9 * t + 0.85 * t * t)  # thick at the sternal end
            stroke(canvas, curve[i : i + 2], wide, 240)
        for i in range(len(curve) - 1):
            t = i / (len(curve) - 2)
            wide = width * (1.15 - 0.9 * t + 0.85 * t * t)
            stroke(canvas, curve[i : i + 2], max(0.6, wide - max(1.1, 0.3 * wide)), 150)
    strength = patient.bone_density * uniform(rng, 0.28, 0.55)
    return resize(blur(canvas.astype(np.float32) / _FULL, 0.5), CANVAS) * np.float32(strength)


def _shoulders(rng: np.random.Generator, patient: Patient) -> FloatImage:
    """Shoulder blades, over the lungs on AP films and rolled aside on PA films, and humeri."""
    canvas = np.zeros((FINE, FINE), np.uint8)
    outward = uniform(rng, -0.06, 0.12) if patient.view == "AP" else uniform(rng, 0.1, 0.3)
    drop = uniform(rng, -0.08, 0.08)
    for side in (-1, 1):
        out = outward + float(rng.normal(0, 0.03))
        blade = [
            (0.86, 0.0),
            (1.1, -0.03),
            (1.22, 0.05),
            (1.12, 0.2),
            (0.95, 0.5),
            (0.86, 0.55),
            (0.8, 0.3),
            (0.79, 0.12),
        ]
        outline = closed_spline(
            flat_points(patient, [(side * (u + out), v + drop) for u, v in blade]), 6
        )
        cv2.fillPoly(canvas, [fixed_point(outline, FINE / CANVAS)], 70, cv2.LINE_AA, 4)
        stroke(canvas, outline, 1.1, 170)
        spine = flat_points(
            patient, [(side * (0.84 + out), 0.16 + drop), (side * (1.26 + out), -0.02 + drop)]
        )
        stroke(canvas, spine, 2.2, 130)
        joint = (side * (1.32 + out), 0.06 + drop)
        lean = uniform(rng, 0.05, 0.5)
        arm_up = patient.child and chance(rng, 0.5)
        elbow = (joint[0] + side * lean, -0.6 if arm_up else 0.95)
        shaft = flat_points(patient, [joint, elbow])
        thick = patient.half_width * patient.pixels_per_cm * uniform(rng, 0.13, 0.18)
        stroke(canvas, shaft, thick, 200)
        stroke(canvas, shaft, thick * 0.55, 120)
        head = flat_points(patient, [joint])[0]
        radius = round(float(thick * 0.85 * FINE / CANVAS))
        centre = (round(float(head[0]) * FINE / CANVAS), round(float(head[1]) * FINE / CANVAS))
        cv2.circle(canvas, centre, radius, 150, -1, cv2.LINE_AA)
    strength = patient.bone_density * uniform(rng, 0.2, 0.5)
    return resize(blur(canvas.astype(np.float32) / _FULL, 0.7), CANVAS) * np.float32(strength)


def skeleton_attenuation(rng: np.random.Generator, patient: Patient) -> FloatImage:
    """Sum of all bones, line integral above soft tissue, shape (CANVAS, CANVAS)."""
    bones = _ribs(rng, patient)
    bones = bones + _spine(rng, patient)
    bones = bones + _clavicles(rng, patient)
    return np.asarray(bones + _shoulders(rng, patient), np.float32)

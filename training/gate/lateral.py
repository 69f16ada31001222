"""The phantom filmed from the side: the lateral view that the model must not read.

patient -> (heart, lungs, ribs, spine, vessels) -> line integrals along x -> acquisition

The volumes are the very ones of the frontal view. This module stands outside the phantom's package,
whose digest names the images of every data set.
"""

from dataclasses import replace

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator

from service.imaging.radiograph import FloatImage
from training.generate.phantom.acquisition import acquire, draw_acquisition
from training.generate.phantom.anatomy import Projection
from training.generate.phantom.body import SOFT_TISSUE
from training.generate.phantom.geometry import (
    FINE,
    RAYS,
    canvas_cm,
    cast_rays,
    ellipse_chord,
    project,
    stroke,
)
from training.generate.phantom.heart import build_heart
from training.generate.phantom.lungs import Lungs, build_lungs, cage_profile
from training.generate.phantom.patient import CANVAS, Patient, draw_patient
from training.generate.phantom.sampling import (
    FloatArray,
    blur,
    chance,
    log_uniform,
    noise_image,
    open_spline,
    resize,
    uniform,
)
from training.generate.phantom.vessels import Twigs, draw_twigs, grow_tree, stem_fan
from training.generate.request import GreyImage

_RIBS = 11
_THICKEST = 34.0  # cm of soft tissue along the beam; wider patients do not fit the exposure


def draw_lateral(seed: int, size: int) -> GreyImage:
    """Film one patient from the side.

    Parameters
    ----------
    seed
        Determines everything.
    size
        Side of the image in pixels.

    Returns
    -------
    GreyImage
        uint8 of shape (size, size), dense tissue bright; the patient faces left or right.
    """
    anatomy, acquisition = np.random.SeedSequence(seed).spawn(2)
    projection, age_band = _project(np.random.default_rng(anatomy))
    rng = np.random.default_rng(acquisition)
    # The law of frontal films: nothing but the anatomy may tell the views apart.
    law = draw_acquisition(rng, projection.lungs, age_band, "PA")
    return acquire(projection, law, size).pixels


def _project(rng: np.random.Generator) -> tuple[Projection, str]:
    drawn = draw_patient(rng)
    rays = cast_rays(drawn)
    lungs = build_lungs(rng, drawn, rays, build_heart(rng, drawn))
    facing = 1.0 if chance(rng, 0.5) else -1.0
    # Seen from the side the depth lies across the film; the patient stands straight.
    patient = replace(drawn, rotation=0.0, origin_x=CANVAS / 2 + uniform(rng, -12, 12))
    path = _across(lungs, patient, rays.step, facing) * np.float32(rays.pitch)
    soft = SOFT_TISSUE * _thickness(rng, patient, facing)
    air = SOFT_TISSUE * (1 - patient.lung_density) * path
    air = np.minimum(air, 0.85 * soft)
    aeration = np.clip(path / (0.8 * patient.half_width), 0, 1)
    bones = _spine(rng, patient, facing) + _ribs(rng, patient, facing)
    vessels = _vessels(rng, patient, facing) * aeration**0.8
    total = np.clip(soft - air + vessels + bones * (soft > 0), 0, None)
    projection = Projection(
        attenuation=total.astype(np.float32),
        lungs=np.clip(aeration * 4, 0, 1).astype(np.float32),
        heart=np.zeros_like(aeration, np.float32),
        lesion=np.zeros_like(aeration, np.float32),
        pixels_per_cm=patient.pixels_per_cm,
    )
    return projection, drawn.age_band


def _across(lungs: Lungs, patient: Patient, step: float, facing: float) -> FloatImage:
    """Sum of the lung samples across the chest on the canvas, in ray spacings."""
    side = np.ascontiguousarray(lungs.volume.sum(axis=2).T, np.float32)  # (RAYS, DEPTHS)
    z = facing * canvas_cm(patient)[0][0]
    depths = side.shape[1]
    columns = z / step + (depths - 1) / 2
    rows = (np.arange(CANVAS, dtype=np.float32) + 0.5) * (RAYS / CANVAS) - 0.5
    map_x, map_y = np.meshgrid(columns.astype(np.float32), rows)
    summed = cv2.remap(side, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return blur(np.asarray(summed, np.float32), 1.2)


def _thickness(rng: np.random.Generator, patient: Patient, facing: float) -> FloatImage:
    """Soft tissue along the beam in cm: torso, shoulders, arms, breasts."""
    across, y = canvas_cm(patient)
    z, h = facing * across, y / patient.lung_height
    heights = np.array([-0.9, -0.25, 0.0, 0.3, 0.7, 1.1, 2.0], np.float32)
    reach = patient.half_depth + patient.chest_wall + 0.8
    belly = uniform(rng, 0.85, 1.15) + 0.4 * patient.obesity
    level = np.clip(h, heights[0], heights[-1])
    depth = reach * PchipInterpolator(heights, [0.45, 0.5, 0.8, 0.97, 1, belly, belly])(level)
    lean = reach * PchipInterpolator(heights, [0.25, 0.1, -0.05, 0, 0, 0.05, 0.05])(level)
    width = 2 * (patient.half_width + patient.chest_wall)
    wide = width * PchipInterpolator(heights, [0.4, 0.5, 1.15, 1, 1, 1, 1])(level)
    power = uniform(rng, 2.0, 3.5)
    profile = np.sqrt(np.clip(1 - np.abs((z - lean) / depth) ** power, 0, 1))
    torso = np.minimum(wide, _THICKEST) * profile
    for _ in range(2):  # arms, raised or held in front
        radius = patient.half_width * uniform(rng, 0.22, 0.34)
        lift = uniform(rng, 0.3, 1.6)
        start = (uniform(rng, -0.2, 0.4) * reach, uniform(rng, -0.05, 0.15) * patient.lung_height)
        along = (z - start[0]) * np.cos(lift) - (y - start[1]) * np.sin(lift)
        aside = (z - start[0]) * np.sin(lift) + (y - start[1]) * np.cos(lift)
        ends = np.minimum(along, 0)
        torso = torso + 2 * np.sqrt(np.clip(radius**2 - aside**2 - ends**2, 0, None))
    if patient.female and not patient.child:
        centre = (0.95 * reach, uniform(rng, 0.55, 0.85) * patient.lung_height)
        radii = (uniform(rng, 0.2, 0.5) * reach, uniform(rng, 0.15, 0.28) * patient.lung_height)
        torso = torso + uniform(rng, 3, 10) * ellipse_chord(z, y, centre, radii)
    return np.asarray(torso * (1 + 0.01 * noise_image(rng, CANVAS, 2.5)), np.float32)


def _spine(rng: np.random.Generator, patient: Patient, facing: float) -> FloatImage:
    """Vertebral bodies in profile behind the lungs, and the processes behind them."""
    across, y = canvas_cm(patient)
    h = y / patient.lung_height
    bend = uniform(rng, 0.02, 0.2) * np.sin(np.pi * np.clip(h, -0.3, 1.3))  # kyphosis
    middle = -patient.half_depth * (uniform(rng, 0.78, 0.95) + bend)
    half = patient.half_width * uniform(rng, 0.1, 0.14) * (0.85 + 0.3 * np.clip(h, -0.3, 1.4))
    u = (facing * across - middle) / half
    pitch = uniform(rng, 0.085, 0.1) / max(patient.inspiration, 0.85)
    place = h / pitch * (1 - 0.14 * np.clip(h, -0.5, 2)) + uniform(rng, 0, 1)
    place = place - np.floor(place)
    body = np.sqrt(np.clip(1 - np.abs(u) ** 6, 0, 1))
    disc = np.exp(-(((place - 0.5) / 0.08) ** 2))
    plate = np.exp(-(((np.abs(place - 0.5) - 0.14) / 0.04) ** 2))
    process = np.exp(-(((u + 2.2) / 0.8) ** 2) - (((place - 0.9) / 0.2) ** 2))
    spine = body * (1 - 0.8 * disc + 0.5 * plate) + 0.4 * process
    strength = patient.bone_density * uniform(rng, 0.15, 0.5)
    return blur(np.asarray(spine, np.float32), 0.5) * np.float32(strength)


def _ribs(rng: np.random.Generator, patient: Patient, facing: float) -> FloatImage:
    """Ribs of both sides, which cross each other, sternum and shoulder blades."""
    canvas = np.zeros((FINE, FINE), np.float32)
    spacing = uniform(rng, 0.094, 0.108) / max(patient.inspiration, 0.85)
    wide = spacing * patient.lung_height * patient.pixels_per_cm * uniform(rng, 0.35, 0.5)
    for side in (-1, 1):
        layer = np.zeros((FINE, FINE), np.uint8)
        slope = patient.rib_slope * uniform(rng, 0.9, 1.1)
        for k in range(_RIBS):
            theta = np.linspace(0.12, np.pi * (0.78 if k < 7 else 0.6), 24)
            turn = theta / np.pi
            drop = slope * min(1.0, 0.45 + 0.13 * k) * (1.3 + 0.28 * max(0, k - 6))
            height = -0.05 + k * spacing + drop * (1.25 * turn - 0.25 * turn**2)
            lateral, depth = cage_profile(patient, np.clip(height, 0.012, 1.25))
            points = np.stack(
                [
                    -facing * depth * 1.02 * np.cos(theta),
                    height * patient.lung_height,
                    side * lateral * np.sin(theta),
                ],
                axis=-1,
            )
            stroke(layer, project(patient, points.astype(np.float32)), wide, 150)
            stroke(layer, project(patient, points.astype(np.float32)), 0.55 * wide, 90)
        canvas += layer.astype(np.float32) / 255
    front = [(0.98, 0.02), (1.02, 0.25), (1.05, 0.5), (1.04, 0.7)]
    points = np.array(
        [(facing * u * patient.half_depth, v * patient.lung_height, 0) for u, v in front]
    )
    bone = np.zeros((FINE, FINE), np.uint8)
    stroke(bone, project(patient, open_spline(points)), 0.05 * CANVAS * uniform(rng, 0.5, 1), 200)
    canvas += bone.astype(np.float32) / 255
    strength = patient.bone_density * uniform(rng, 0.12, 0.35)
    return resize(blur(canvas, 0.7), CANVAS) * np.float32(strength)


def _vessels(rng: np.random.Generator, patient: Patient, facing: float) -> FloatImage:
    """Both lungs' vessels, one over the other."""
    total = np.zeros((CANVAS, CANVAS), np.float32)
    for side in (-1, 1):
        tree = grow_tree(rng, patient, side, stem_fan(9), patient.half_width / 14.0)
        turned = [Twigs(_turn(t.points, facing), t.diameters) for t in tree]
        total += draw_twigs(patient, turned, softness=0.6)
    return np.asarray(SOFT_TISSUE * log_uniform(rng, 0.25, 4.0) * total, np.float32)


def _turn(points: FloatArray, facing: float) -> FloatArray:
    """Body coordinates (..., x, y, z) as seen from the side: (z, y, x)."""
    return np.stack([facing * points[..., 2], points[..., 1], points[..., 0]], axis=-1)

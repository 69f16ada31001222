"""One patient's chest as line integrals: everything that both halves of a pair share.

patient -> rays -> heart -> lungs (volume) -> [chest] -> lesion -> opacity -> projection
"""

from dataclasses import dataclass

import cv2
import numpy as np

from service.imaging.radiograph import FloatImage
from training.generate.phantom.body import SOFT_TISSUE, airway, body_attenuation
from training.generate.phantom.devices import draw_devices
from training.generate.phantom.findings import Findings, draw_findings, skin_folds
from training.generate.phantom.geometry import FINE, cast_rays, stroke
from training.generate.phantom.heart import Heart, build_heart
from training.generate.phantom.lungs import Lungs, build_lungs, parenchyma
from training.generate.phantom.patient import CANVAS, Patient, draw_patient
from training.generate.phantom.sampling import FloatArray, blur, resize, uniform
from training.generate.phantom.skeleton import skeleton_attenuation
from training.generate.phantom.vessels import vessel_attenuation

Fact = str | float | int | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Chest:
    """Everything both halves of a pair share."""

    patient: Patient
    lungs: Lungs
    heart: Heart
    step: float
    air_contrast: FloatArray  # 1/cm that filling a lung sample adds, (DEPTHS, RAYS, RAYS)
    attenuation: FloatImage  # line integral of the healthy chest
    ceiling: FloatImage  # share of the air that can be taken from the soft tissue, 0 to 1
    air: FloatImage  # line integral the healthy lung's air takes away
    aeration: FloatImage  # lung path relative to its maximum, 0 to 1
    facts: dict[str, Fact]


def build_chest(rng: np.random.Generator) -> Chest:
    """Draw one patient and project everything but a lesion."""
    patient = draw_patient(rng)
    rays = cast_rays(patient)
    heart = build_heart(rng, patient)
    lungs = build_lungs(rng, patient, rays, heart)
    soft, body = body_attenuation(rng, patient)
    findings = draw_findings(rng, patient, lungs)
    air_contrast = _air_contrast(rng, patient, lungs, findings)
    air = upsample(air_contrast.sum(axis=0) * rays.step)
    path = upsample(lungs.volume.sum(axis=0) * rays.step)
    aeration = np.clip(path / (0.8 * patient.half_depth), 0, 1)
    ceiling = np.minimum(1, 0.85 * soft / np.maximum(air, 1e-3))
    bones = skeleton_attenuation(rng, patient)
    devices, device_names = draw_devices(rng, patient)
    solid = soft + bones * body + (findings.attenuation * aeration) + skin_folds(rng, body)
    solid = solid - _trachea(rng, patient) + devices
    vessels = vessel_attenuation(rng, patient) * aeration**0.8
    air = air * ceiling
    return Chest(
        patient=patient,
        lungs=lungs,
        heart=heart,
        step=rays.step,
        air_contrast=air_contrast,
        attenuation=np.asarray(np.clip(solid - air + vessels, 0, None), np.float32),
        ceiling=np.asarray(ceiling, np.float32),
        air=np.asarray(air, np.float32),
        aeration=np.asarray(aeration, np.float32),
        facts=_facts(patient, heart, findings, device_names),
    )


def _air_contrast(
    rng: np.random.Generator, patient: Patient, lungs: Lungs, findings: Findings
) -> FloatArray:
    """Attenuation in 1/cm that the air of each lung sample saves against soft tissue."""
    density = np.minimum(patient.lung_density * parenchyma(rng, patient, lungs), 0.9)
    return np.asarray(
        SOFT_TISSUE * (1 - density) * lungs.volume * (1 - findings.filled), np.float32
    )


def _trachea(rng: np.random.Generator, patient: Patient) -> FloatImage:
    """Line integral the air of trachea and main bronchi takes away."""
    total = np.zeros((FINE, FINE), np.float32)
    for curve, diameter in airway(rng, patient):
        canvas = np.zeros((FINE, FINE), np.uint8)
        stroke(canvas, curve, diameter * patient.pixels_per_cm, 255)
        np.maximum(total, canvas.astype(np.float32) * np.float32(diameter / 255), out=total)
    strength = SOFT_TISSUE * uniform(rng, 0.5, 0.95)
    return resize(blur(total, 2.2), CANVAS) * np.float32(strength)


def upsample(rays: FloatArray) -> FloatImage:
    """Bring a map of the rays to the canvas; never negative."""
    size = (CANVAS, CANVAS)
    smooth = cv2.resize(np.asarray(rays, np.float32), size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(smooth, 0, None), np.float32)


def _facts(
    patient: Patient, heart: Heart, findings: Findings, devices: tuple[str, ...]
) -> dict[str, Fact]:
    return {
        "age_band": patient.age_band,
        "view": patient.view,
        "supine": patient.supine,
        "female": patient.female,
        "heart_scale": patient.heart_scale,
        "inspiration": patient.inspiration,
        "rotation_degrees": float(np.degrees(patient.rotation)),
        "obesity": patient.obesity,
        "emphysema": patient.emphysema,
        "thymus": heart.thymus,
        "findings": ", ".join(findings.names),
        "devices": ", ".join(devices),
    }

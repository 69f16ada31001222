"""Put the phantom together: one anatomy, projected without and with pneumonia.

patient -> rays -> heart -> lungs (volume) -> line integrals of body, bones, vessels, devices
        -> lesion (fraction of air replaced) -> added line integral on the same anatomy
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
from training.generate.phantom.lesion import Lesion, choose_pattern, draw_lesion, join
from training.generate.phantom.lungs import Lungs, build_lungs, parenchyma
from training.generate.phantom.patient import CANVAS, Patient, draw_patient
from training.generate.phantom.sampling import FloatArray, blur, noise_image, resize, uniform
from training.generate.phantom.skeleton import skeleton_attenuation
from training.generate.phantom.vessels import airway_cast, bronchial_walls, vessel_attenuation

__all__ = ["CANVAS", "PhantomCase", "Projection", "simulate"]

Fact = str | float | int | bool

# A consolidated alveolus is still a little lighter than muscle.
_CONSOLIDATED = 0.95
# Added line integral drawn as full intensity in the lesion mask (an obvious consolidation).
_MASK_FULL = 0.5
# Floor of visibility, so that no positive is label noise. Relative to what the air of a
# well-filled lung takes away: mean added over the lung fields, and the share of the lung fields
# in which the lesion adds something a reader can see.
_MIN_MEAN_ADDED = 0.16
_MIN_VISIBLE_SHARE = 0.25
_VISIBLE = 0.22
_MAX_DRAWS = 8
# Vessels inside consolidated lung lose their contrast; those close by are veiled by its fringe.
_VESSEL_LOSS = 0.9
_FRINGE, _FRINGE_GAIN = 7.0, 1.6  # canvas pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Line-integral maps of one exposure, all float32 of shape (CANVAS, CANVAS).

    Attributes
    ----------
    attenuation
        Line integral of the attenuation coefficient (dimensionless), 0 outside the body.
    lungs, heart
        Projected fields in [0, 1].
    lesion
        Visibility of the lesion in [0, 1]: the added line integral over 0.5, clipped; all 0 when
        healthy.
    pixels_per_cm
        Canvas scale in the middle of the thorax.
    """

    attenuation: FloatImage
    lungs: FloatImage
    heart: FloatImage
    lesion: FloatImage
    pixels_per_cm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomCase:
    """A pair of projections that differ by the lesion alone, and what is known about them."""

    healthy: Projection
    pneumonia: Projection
    facts: dict[str, Fact]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Anatomy:
    """Everything both halves of a pair share."""

    patient: Patient
    lungs: Lungs
    heart: Heart
    step: float
    air_contrast: FloatArray  # 1/cm that filling a lung sample adds, (DEPTHS, RAYS, RAYS)
    solid: FloatImage  # line integral without lung air and vessels
    ceiling: FloatImage  # share of the air that can be taken from the soft tissue, 0 to 1
    air: FloatImage  # line integral the healthy lung's air takes away
    vessels: FloatImage
    aeration: FloatImage  # lung path relative to its maximum, 0 to 1
    body: FloatImage
    facts: dict[str, Fact]


def simulate(rng: np.random.Generator, *, lesion: bool = True) -> PhantomCase:
    """Simulate one patient without and with pneumonia.

    Parameters
    ----------
    rng
        Two independent streams are derived from it, one for the anatomy and one for the lesion,
        so the anatomy does not depend on ``lesion``.
    lesion
        False leaves the lesion out of both halves, for the test that nothing else tells the
        classes apart.

    Returns
    -------
    PhantomCase
        ``facts`` holds age_band, view, pattern and side ("" without a lesion), and the nuisance
        factors shared by both halves.
    """
    anatomy_seed, lesion_seed = rng.integers(0, 2**63, size=2)
    anatomy = _build_anatomy(np.random.default_rng(anatomy_seed))
    healthy = _project(anatomy, np.zeros((CANVAS, CANVAS), np.float32), None)
    if not lesion:
        facts = anatomy.facts | {"pattern": "", "side": "", "lesion_effusion": False}
        return PhantomCase(healthy=healthy, pneumonia=healthy, facts=facts)
    drawn, pneumonia = _visible_lesion(np.random.default_rng(lesion_seed), anatomy)
    facts = anatomy.facts | {
        "pattern": drawn.pattern,
        "side": drawn.side,
        "lesion_effusion": drawn.effusion,
    }
    return PhantomCase(healthy=healthy, pneumonia=pneumonia, facts=facts)


def _build_anatomy(rng: np.random.Generator) -> _Anatomy:
    patient = draw_patient(rng)
    rays = cast_rays(patient)
    heart = build_heart(rng, patient)
    lungs = build_lungs(rng, patient, rays, heart)
    soft, body = body_attenuation(rng, patient)
    findings = draw_findings(rng, patient, lungs)
    air_contrast = _air_contrast(rng, patient, lungs, findings)
    air = _upsample(air_contrast.sum(axis=0) * rays.step)
    path = _upsample(lungs.volume.sum(axis=0) * rays.step)
    aeration = np.clip(path / (0.8 * patient.half_depth), 0, 1)
    ceiling = np.minimum(1, 0.85 * soft / np.maximum(air, 1e-3))
    bones = skeleton_attenuation(rng, patient)
    devices, device_names = draw_devices(rng, patient)
    solid = soft + bones * body + (findings.attenuation * aeration) + skin_folds(rng, body)
    solid = solid - _trachea(rng, patient) + devices
    return _Anatomy(
        patient=patient,
        lungs=lungs,
        heart=heart,
        step=rays.step,
        air_contrast=air_contrast,
        solid=np.asarray(solid, np.float32),
        ceiling=np.asarray(ceiling, np.float32),
        air=np.asarray(air * ceiling, np.float32),
        vessels=vessel_attenuation(rng, patient) * aeration**0.8,
        aeration=np.asarray(aeration, np.float32),
        body=body,
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


def _upsample(rays: FloatArray) -> FloatImage:
    size = (CANVAS, CANVAS)
    smooth = cv2.resize(np.asarray(rays, np.float32), size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(smooth, 0, None), np.float32)


def _project(anatomy: _Anatomy, added: FloatImage, lost: FloatImage | None) -> Projection:
    """Line integrals with ``added`` by a lesion and vessels dimmed where ``lost`` (0 to 1)."""
    vessels = anatomy.vessels
    if lost is not None:
        veiled = np.clip(np.maximum(lost, _FRINGE_GAIN * blur(lost, _FRINGE)), 0, 1)
        vessels = vessels * (1 - _VESSEL_LOSS * veiled)
    attenuation = np.clip(anatomy.solid - anatomy.air + vessels + added, 0, None)
    heart = np.clip(_upsample(anatomy.heart.half_chord) / 0.5, 0, 1)
    return Projection(
        attenuation=attenuation.astype(np.float32),
        lungs=np.clip(anatomy.aeration * 4, 0, 1),
        heart=heart,
        lesion=np.clip(added / _MASK_FULL, 0, 1).astype(np.float32),
        pixels_per_cm=anatomy.patient.pixels_per_cm,
    )


def _visible_lesion(rng: np.random.Generator, anatomy: _Anatomy) -> tuple[Lesion, Projection]:
    """Add foci, each at least a little denser than the last, until the lesion can be seen."""
    pattern = choose_pattern(rng, anatomy.patient)
    lesion = draw_lesion(rng, anatomy.patient, anatomy.lungs, pattern, 0.0)
    added, lost = _lesion_maps(rng, anatomy, lesion)
    for draw in range(1, _MAX_DRAWS):
        if _is_visible(anatomy, added):
            break
        kind = pattern if draw < _MAX_DRAWS // 2 else "patchy"  # this anatomy hides the first kind
        focus = draw_lesion(rng, anatomy.patient, anatomy.lungs, kind, draw / _MAX_DRAWS)
        lesion = join(lesion, focus)
        added, lost = _lesion_maps(rng, anatomy, lesion)
    return lesion, _project(anatomy, added, lost)


def _is_visible(anatomy: _Anatomy, added: FloatImage) -> bool:
    field = np.clip(anatomy.aeration * 4, 0, 1)
    area = max(float(field.sum()), 1.0)
    relative = added / max(float(np.percentile(anatomy.air, 90)), 0.1)
    share = float((field * (relative > _VISIBLE)).sum()) / area
    return float(relative.sum()) / area >= _MIN_MEAN_ADDED and share >= _MIN_VISIBLE_SHARE


def _mottle(rng: np.random.Generator) -> FloatImage:
    """Factor about 1: lobules filled more and less, which a sum over the depth averages away."""
    mottle = 1 + uniform(rng, 0, 0.25) * noise_image(rng, CANVAS, 2.0)
    return np.asarray(
        np.clip(mottle + uniform(rng, 0, 0.3) * noise_image(rng, CANVAS, 2.5), 0, 2.2)
    )


def _lesion_maps(
    rng: np.random.Generator, anatomy: _Anatomy, lesion: Lesion
) -> tuple[FloatImage, FloatImage]:
    """Line integral a lesion adds, and the fraction of each ray's air it replaces."""
    patient = anatomy.patient
    replaced = anatomy.air_contrast * lesion.filled
    added = _upsample(replaced.sum(axis=0) * anatomy.step) * anatomy.ceiling * _CONSOLIDATED
    added = np.minimum(added * _mottle(rng), anatomy.air * _CONSOLIDATED)
    lost = np.clip(added / np.maximum(anatomy.air, 0.05), 0, 1)
    if lesion.bronchogram:
        open_air = np.clip(airway_cast(rng, patient) * SOFT_TISSUE, 0, 0.25)
        added = np.clip(added - lesion.bronchogram * open_air * lost, 0, None)
    if lesion.streaks:
        walls = bronchial_walls(rng, patient, lesion.streak_sides)
        added = added + SOFT_TISSUE * lesion.streaks * walls * anatomy.aeration * (1 - 0.7 * lost)
    return np.asarray(added, np.float32), np.asarray(lost, np.float32)


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

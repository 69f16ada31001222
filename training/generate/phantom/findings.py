"""Abnormal without pneumonia: shared by both halves of a pair, so a shadow alone is no label."""

from dataclasses import dataclass

import numpy as np

from service.imaging.radiograph import FloatImage
from training.generate.phantom.body import SOFT_TISSUE, flat_points
from training.generate.phantom.geometry import FINE, canvas_cm, ellipse_chord, stroke
from training.generate.phantom.lesion import pleural_fluid
from training.generate.phantom.lungs import Lungs
from training.generate.phantom.patient import CANVAS, Patient
from training.generate.phantom.sampling import (
    FloatArray,
    blur,
    chance,
    noise_image,
    noise_volume,
    open_spline,
    resize,
    sigmoid,
    uniform,
)


@dataclass(frozen=True, slots=True)
class Findings:
    """Shared abnormalities.

    Attributes
    ----------
    filled
        Fraction of air replaced (fluid, haze), shape (DEPTHS, RAYS, RAYS) or a scalar 0.
    attenuation
        Line integral of thin structures, shape (CANVAS, CANVAS), zero outside the lungs once
        weighted with the lung path.
    names
        What was drawn.
    """

    filled: FloatArray
    attenuation: FloatImage
    names: tuple[str, ...]


def _plate(rng: np.random.Generator, patient: Patient) -> FloatImage:
    """Plate atelectasis: a nearly horizontal band above a diaphragm."""
    canvas = np.zeros((FINE, FINE), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        side = int(rng.choice([-1, 1]))
        x, y = uniform(rng, 0.2, 0.5), uniform(rng, 0.72, 0.96)
        tilt = float(rng.normal(0, 0.06))
        band = [
            (side * x, y),
            (side * (x + 0.15), y + tilt),
            (side * (x + uniform(rng, 0.2, 0.45)), y + 1.5 * tilt),
        ]
        stroke(
            canvas,
            open_spline(flat_points(patient, band)),
            uniform(rng, 0.8, 2.6),
            uniform(rng, 90, 255),
        )
    return resize(blur(canvas.astype(np.float32) / 255, 1.2), CANVAS) * np.float32(
        uniform(rng, 0.08, 0.25)
    )


def _nodules(rng: np.random.Generator, patient: Patient) -> FloatImage:
    x, y = canvas_cm(patient)
    total = np.zeros((CANVAS, CANVAS), np.float32)
    for _ in range(1 if chance(rng, 0.6) else int(rng.integers(2, 6))):
        radius = patient.half_width * uniform(rng, 0.02, 0.07)
        side = int(rng.choice([-1, 1]))
        centre = (
            side * patient.half_width * uniform(rng, 0.25, 0.8),
            patient.lung_height * uniform(rng, 0.15, 0.9),
        )
        dense = 2.5 if chance(rng, 0.25) else 1.0  # calcified
        total += (
            SOFT_TISSUE
            * dense
            * 2
            * radius
            * ellipse_chord(x, y, centre, (radius, radius * uniform(rng, 0.8, 1.2)))
        )
    return total


def _reticulation(rng: np.random.Generator, patient: Patient) -> FloatImage:
    """Old scars or interstitial lung disease: a fine net, mostly at the bases and periphery."""
    _, y = canvas_cm(patient)
    net = np.clip(0.5 - np.abs(noise_image(rng, CANVAS, 1.2)), 0, None)
    where = np.clip(
        uniform(rng, -0.2, 0.6) + uniform(rng, 0.2, 1.4) * (y / patient.lung_height - 0.4), 0, 1.2
    )
    return np.asarray(net * where * uniform(rng, 0.06, 0.28), np.float32)


def _apical_cap(rng: np.random.Generator, lungs: Lungs) -> FloatArray:
    thick = uniform(rng, 0.02, 0.06)
    return np.asarray(
        np.clip((thick - lungs.height) / 0.02, 0, 1) * np.ones_like(lungs.volume), np.float32
    )


def _haze(rng: np.random.Generator, lungs: Lungs) -> FloatArray:
    """Lungs that look grey as a whole: shallow breath, congestion, soft tissue, a turned chest."""
    depth, rows, columns = lungs.volume.shape
    cloud = noise_volume(rng, (depth, rows, columns), 2.5)
    below = uniform(rng, 0.0, 1.0) * (lungs.height - 0.5)
    across = uniform(rng, -0.6, 0.6) * lungs.lateral
    base = uniform(rng, 0.02, 0.22) * np.clip(1 + below + across + 0.1 * cloud, 0, 1.8)
    return np.asarray(base, np.float32)


def draw_findings(rng: np.random.Generator, patient: Patient, lungs: Lungs) -> Findings:
    """Draw the shared findings of one patient; most have none."""
    filled = np.zeros(lungs.volume.shape, np.float32)
    thin = np.zeros((CANVAS, CANVAS), np.float32)
    names: list[str] = []
    adult = not patient.child
    if chance(rng, 0.08 if adult else 0.03):
        names.append("effusion")
        for side in (-1, 1) if chance(rng, 0.4) else (int(rng.choice([-1, 1])),):
            fluid = pleural_fluid(rng, patient, lungs, side, float(rng.beta(1.1, 4.0)))
            np.maximum(filled, fluid, out=filled)
    if chance(rng, 0.04):
        names.append("haze")
        np.maximum(filled, _haze(rng, lungs), out=filled)
    if chance(rng, 0.12 if adult else 0.05):
        names.append("atelectasis")
        thin += _plate(rng, patient)
    if chance(rng, 0.08 if adult else 0.02):
        names.append("nodule")
        thin += _nodules(rng, patient)
    if chance(rng, 0.1 if adult else 0.03):
        names.append("reticulation")
        thin += _reticulation(rng, patient)
    if adult and chance(rng, 0.12):
        names.append("apical cap")
        np.maximum(filled, _apical_cap(rng, lungs), out=filled)
    if chance(rng, 0.25):
        thin += _fissure_line(rng, patient, lungs)
    return Findings(filled, thin, tuple(names))


def _fissure_line(rng: np.random.Generator, patient: Patient, lungs: Lungs) -> FloatImage:
    """Draw the minor fissure met tangentially by the beam: a hair line in healthy lungs."""
    canvas = np.zeros((FINE, FINE), np.uint8)
    level, tilt = lungs.fissures.minor, lungs.fissures.minor_tilt
    line = [(-x, level + tilt * (x - 0.5) + 0.01 * np.sin(6 * x)) for x in (0.3, 0.5, 0.7, 0.9)]
    stroke(canvas, open_spline(flat_points(patient, line)), 0.6, 255)
    return resize(blur(canvas.astype(np.float32) / 255, 0.6), CANVAS) * np.float32(
        uniform(rng, 0.03, 0.12)
    )


def skin_folds(rng: np.random.Generator, body: FloatImage) -> FloatImage:
    """Folds of skin, bedding and clothes: a sharp edge on one side, fading on the other."""
    total = np.zeros((CANVAS, CANVAS), np.float32)
    if not chance(rng, 0.25):
        return total
    rows, columns = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)
    for _ in range(int(rng.integers(1, 4))):
        angle = uniform(rng, 0, np.pi)
        bow = uniform(rng, -0.002, 0.002) * (rows - CANVAS / 2) ** 2
        distance = (
            (columns - uniform(rng, 40, 216)) * np.cos(angle)
            + (rows - uniform(rng, 20, 236)) * np.sin(angle)
            + bow
        )
        edge = sigmoid(distance / uniform(rng, 0.5, 2.5)) * np.exp(
            -np.clip(distance, 0, None) / uniform(rng, 8, 40)
        )
        total += uniform(rng, 0.03, 0.12) * edge
    return np.asarray(total * body, np.float32)

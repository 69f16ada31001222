"""Foreign bodies on and in the patient: leads, lines, tubes, pacemakers, snaps, clothing."""

import cv2
import numpy as np

from service.imaging.radiograph import FloatImage
from training.generate.phantom.body import flat_points
from training.generate.phantom.geometry import FINE, ByteImage, stroke
from training.generate.phantom.patient import CANVAS, Patient
from training.generate.phantom.sampling import (
    FloatArray,
    blur,
    chance,
    open_spline,
    resize,
    uniform,
)


def _dot(
    canvas: ByteImage, centre: FloatArray, radius: float, value: float, *, ring: bool = False
) -> None:
    scale = FINE / CANVAS
    point = (round(float(centre[0]) * scale), round(float(centre[1]) * scale))
    cv2.circle(canvas, point, max(1, round(radius * scale)), value, 2 if ring else -1, cv2.LINE_AA)


def _leads(rng: np.random.Generator, patient: Patient, canvas: ByteImage) -> None:
    """ECG electrodes with their cables running off the film."""
    size = uniform(rng, 1.5, 4.0)
    for _ in range(int(rng.integers(2, 6))):
        side = int(rng.choice([-1, 1]))
        place = (side * uniform(rng, 0.3, 1.0), uniform(rng, 0.0, 1.2))
        exit_ = (side * uniform(rng, 0.5, 1.6), float(rng.choice([-0.3, 1.6])))
        middle = (
            0.5 * (place[0] + exit_[0]) + float(rng.normal(0, 0.3)),
            0.5 * (place[1] + exit_[1]) + float(rng.normal(0, 0.15)),
        )
        cable = flat_points(patient, [place, middle, exit_])
        stroke(canvas, open_spline(cable, 12), uniform(rng, 0.6, 1.3), uniform(rng, 70, 160))
        _dot(canvas, cable[0], size, uniform(rng, 100, 230), ring=chance(rng, 0.3))
        _dot(canvas, cable[0], 0.5 * size, uniform(rng, 160, 255))


def _pacemaker(rng: np.random.Generator, patient: Patient, canvas: ByteImage) -> None:
    side = 1 if chance(rng, 0.8) else -1
    x, y = side * uniform(rng, 0.6, 0.8), uniform(rng, 0.08, 0.25)
    centre = flat_points(patient, [(x, y)])[0]
    axes = (
        round(patient.half_width * patient.pixels_per_cm * 0.18 * FINE / CANVAS),
        round(patient.half_width * patient.pixels_per_cm * 0.14 * FINE / CANVAS),
    )
    point = (round(float(centre[0]) * 2), round(float(centre[1]) * 2))
    cv2.ellipse(canvas, point, axes, uniform(rng, -40, 40), 0, 360, 240, -1, cv2.LINE_AA)
    for tip in ((0.28, 0.9), (-0.18, 0.66))[: int(rng.integers(1, 3))]:
        wire = [
            (x, y - 0.03),
            (side * 0.3, 0.03),
            (-0.13, 0.2),
            (-0.18, 0.5),
            (tip[0] * 0.4 - 0.08, tip[1] - 0.02),
            tip,
        ]
        stroke(canvas, open_spline(flat_points(patient, wire)), 0.9, 230)


def _central_line(rng: np.random.Generator, patient: Patient, canvas: ByteImage) -> None:
    start = (-0.3, -0.35) if chance(rng, 0.5) else (-0.9, 0.05)
    line = [start, (-0.22, 0.02), (-0.13, 0.15), (-0.15, uniform(rng, 0.3, 0.5))]
    stroke(
        canvas,
        open_spline(flat_points(patient, line)),
        uniform(rng, 0.7, 1.2),
        uniform(rng, 120, 200),
    )


def _tubes(rng: np.random.Generator, patient: Patient, canvas: ByteImage) -> None:
    """Tracheal tube, gastric tube, or both."""
    shift = float(rng.normal(0, 0.02))
    if chance(rng, 0.6):
        tube = flat_points(
            patient, [(shift, -0.5), (shift, -0.1), (shift, uniform(rng, 0.1, 0.27))]
        )
        stroke(canvas, open_spline(tube), patient.pixels_per_cm * uniform(rng, 0.4, 0.8), 90)
        stroke(canvas, open_spline(tube) + np.float32(1.0), 0.7, 230)
    if chance(rng, 0.6):
        tip = (uniform(rng, 0.1, 0.5), uniform(rng, 1.1, 1.4))
        tube = flat_points(patient, [(shift, -0.5), (shift + 0.02, 0.3), (shift + 0.04, 0.85), tip])
        stroke(canvas, open_spline(tube), uniform(rng, 0.7, 1.4), 170)


def _loose_objects(rng: np.random.Generator, canvas: ByteImage) -> None:
    """Cables over the patient, snaps and buttons of a gown, a necklace or a name band."""
    for _ in range(int(rng.integers(0, 4))):
        ends = rng.uniform(0, CANVAS, (2, 2))
        bow = ends.mean(0) + rng.normal(0, 35, 2)
        curve = open_spline(np.asarray([ends[0], bow, ends[1]], np.float32), 14)
        stroke(canvas, curve, uniform(rng, 0.6, 2.0), uniform(rng, 50, 200))
    for _ in range(int(rng.integers(0, 5))):
        centre = np.asarray(rng.uniform(15, CANVAS - 15, 2), np.float32)
        _dot(canvas, centre, uniform(rng, 1.0, 4.0), uniform(rng, 120, 255), ring=chance(rng, 0.4))


def draw_devices(rng: np.random.Generator, patient: Patient) -> tuple[FloatImage, tuple[str, ...]]:
    """Line integral of all devices, shape (CANVAS, CANVAS), and their names."""
    canvas = np.zeros((FINE, FINE), np.uint8)
    names: list[str] = []
    bedside = 2.2 if patient.supine else 0.6
    if chance(rng, 0.16 * bedside):
        names.append("leads")
        _leads(rng, patient, canvas)
    if not patient.child and chance(rng, 0.04):
        names.append("pacemaker")
        _pacemaker(rng, patient, canvas)
    if chance(rng, 0.1 * bedside):
        names.append("central line")
        _central_line(rng, patient, canvas)
    if chance(rng, 0.1 * bedside):
        names.append("tubes")
        _tubes(rng, patient, canvas)
    if chance(rng, 0.18):
        names.append("loose objects")
        _loose_objects(rng, canvas)
    if not names:
        return np.zeros((CANVAS, CANVAS), np.float32), ()
    image = resize(blur(canvas.astype(np.float32) / 255, 0.7), CANVAS)
    return np.asarray(image * uniform(rng, 0.3, 1.6), np.float32), tuple(names)

"""The X-ray cone: where a point of the body falls on the canvas, and the samples of every ray."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from service.imaging.radiograph import FloatImage
from training.generate.phantom.patient import CANVAS, Patient
from training.generate.phantom.sampling import FloatArray

RAYS = 160  # rays along each side of the canvas for volumes
DEPTHS = 24  # samples along each ray
FINE = 512  # pixels, canvas for thin structures before they are averaged down to CANVAS
SUBPIXEL_BITS = 4  # of OpenCV's fixed-point drawing coordinates

ByteImage = NDArray[np.uint8]
IntArray = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Rays:
    """Body coordinates of all ray samples in cm, broadcastable to (DEPTHS, RAYS, RAYS).

    ``x`` has shape (DEPTHS, 1, RAYS), ``y`` (DEPTHS, RAYS, 1), ``z`` (DEPTHS, 1, 1); ``step`` is
    the sample spacing along the ray in cm, ``pitch`` the ray spacing in the middle of the thorax.
    """

    x: FloatArray
    y: FloatArray
    z: FloatArray
    step: float
    pitch: float


def magnification(patient: Patient, z: FloatArray) -> FloatArray:
    """Magnification at depth ``z`` (cm) relative to the middle of the thorax.

    The front is close to the detector on a PA film and far from it on an AP film, which is why
    the heart looks larger on AP films.
    """
    toward_detector = 1.0 if patient.view == "PA" else -1.0
    distance = patient.source_distance + toward_detector * z
    return np.asarray(patient.source_distance / distance, np.float32)


def project(patient: Patient, points: FloatArray) -> FloatArray:
    """Project body points (..., 3) in cm to canvas pixels (..., 2)."""
    points = np.asarray(points, np.float32)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    m = magnification(patient, z)
    centre = 0.5 * patient.lung_height
    column = patient.origin_x + patient.pixels_per_cm * m * (x + z * patient.rotation)
    row = patient.origin_y + patient.pixels_per_cm * (centre + m * (y - centre))
    return np.stack([column, row], axis=-1).astype(np.float32)


def cast_rays(patient: Patient) -> Rays:
    """Sample every ray between the front and the back of the rib cage."""
    reach = 1.02 * patient.half_depth
    step = 2 * reach / DEPTHS
    z = ((np.arange(DEPTHS, dtype=np.float32) + 0.5) * step - reach)[:, None, None]
    m = magnification(patient, z)
    pixels = (np.arange(RAYS, dtype=np.float32) + 0.5) * (CANVAS / RAYS)
    centre = 0.5 * patient.lung_height
    x = (
        pixels[None, None, :] - patient.origin_x
    ) / patient.pixels_per_cm / m - z * patient.rotation
    y = ((pixels[None, :, None] - patient.origin_y) / patient.pixels_per_cm - centre) / m + centre
    return Rays(
        x=x.astype(np.float32),
        y=y.astype(np.float32),
        z=z,
        step=step,
        pitch=CANVAS / RAYS / patient.pixels_per_cm,
    )


def fixed_point(points: FloatArray, scale: float = 1.0) -> IntArray:
    """Canvas pixels to OpenCV fixed-point coordinates on a canvas ``scale`` times as large."""
    shifted = (np.asarray(points) * scale - 0.5) * (1 << SUBPIXEL_BITS)
    return np.asarray(np.clip(np.round(shifted), -(2**20), 2**20), np.int32)


def stroke(canvas: ByteImage, points: FloatArray, width: float, value: float) -> None:
    """Draw an open curve (M, 2) given in CANVAS pixels on a byte canvas of any size, in place.

    Curves thinner than one pixel of that canvas are drawn one pixel wide and fainter.
    """
    wide = width * canvas.shape[0] / CANVAS
    stroke_many(canvas, points[None], wide, value * min(1.0, wide))


def stroke_many(canvas: ByteImage, curves: FloatArray, width: float, value: float) -> None:
    """Draw curves (N, M, 2) given in CANVAS pixels, all ``width`` pixels of ``canvas`` wide."""
    points = fixed_point(curves, canvas.shape[0] / CANVAS)
    level = float(np.clip(value, 0, 255))
    thickness = max(1, round(width))
    kind, open_ends = cv2.LINE_AA, False
    cv2.polylines(canvas, list(points), open_ends, level, thickness, kind, SUBPIXEL_BITS)


def inflate(outline: FloatArray, radius: float, size: int) -> FloatImage:
    """Round body on a flat outline: thickness 0 at the outline, 1 from ``radius`` inwards.

    Parameters
    ----------
    outline
        Closed curve of shape (M, 2) in CANVAS pixels.
    radius
        CANVAS pixels over which the thickness rises as a quarter circle.
    size
        Side of the result in pixels.
    """
    scale = size / CANVAS
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [fixed_point(outline, scale)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    distance = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 5)
    depth = np.clip(distance / (radius * scale), 0, 1)
    rounded = np.sqrt(np.clip(1 - (1 - depth) ** 2, 0, 1))
    return np.asarray(rounded * (mask / np.float32(255)), np.float32)


def canvas_cm(patient: Patient) -> tuple[FloatArray, FloatArray]:
    """X of shape (1, CANVAS) and y of shape (CANVAS, 1) in cm at the middle of the thorax."""
    pixels = np.arange(CANVAS, dtype=np.float32) + 0.5
    x = (pixels[None, :] - patient.origin_x) / patient.pixels_per_cm
    y = (pixels[:, None] - patient.origin_y) / patient.pixels_per_cm
    return x.astype(np.float32), y.astype(np.float32)


def ellipse_chord(
    x: FloatArray,
    y: FloatArray,
    centre: tuple[float, float],
    radii: tuple[float, float],
    tilt: float = 0.0,
) -> FloatImage:
    """Relative chord (0 to 1) of an ellipsoid seen along the ray."""
    dx, dy = x - centre[0], y - centre[1]
    c, s = np.cos(tilt), np.sin(tilt)
    u = (dx * c + dy * s) / radii[0]
    v = (dy * c - dx * s) / radii[1]
    return np.asarray(np.sqrt(np.clip(1 - u * u - v * v, 0, 1)), np.float32)

"""Lungs as a volume: rib cage less mediastinum, above two diaphragm domes, cut by the fissures."""

from dataclasses import dataclass

import numpy as np

from training.generate.phantom.geometry import Rays
from training.generate.phantom.heart import Heart
from training.generate.phantom.patient import Patient
from training.generate.phantom.sampling import FloatArray, chance, noise_volume, ramp, uniform

# Inside of the cage: height below the apex in lung heights, lateral border in half widths,
# depth in half depths.
_HEIGHT = np.array([-0.01, 0.0, 0.02, 0.05, 0.1, 0.18, 0.28, 0.4, 0.55, 0.72, 0.9, 1.3], np.float32)
_LATERAL_ADULT = np.array(
    [0.3, 0.44, 0.53, 0.6, 0.68, 0.77, 0.85, 0.91, 0.96, 0.99, 1.0, 1.0], np.float32
)
_LATERAL_CHILD = np.array(
    [0.3, 0.42, 0.48, 0.54, 0.6, 0.68, 0.76, 0.84, 0.91, 0.97, 1.0, 1.02], np.float32
)
_DEPTH = np.array([0.15, 0.22, 0.34, 0.44, 0.56, 0.7, 0.82, 0.92, 1.0, 1.0, 1.0, 0.98], np.float32)
_APEX_MEDIAL = np.array(
    [0.48, 0.42, 0.34, 0.28, 0.2, 0.06, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], np.float32
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lungs:
    """Air-containing lung on the ray samples.

    Attributes
    ----------
    volume
        Lung coverage in [0, 1], shape (DEPTHS, RAYS, RAYS).
    height, lateral, front
        Position in the cage: lung heights below the apex (DEPTHS, RAYS, 1), half widths from the
        midline, positive to the patient's left (DEPTHS, 1, RAYS), half depths (DEPTHS, 1, 1).
    wall
        Elliptical radius in the cage, 0 at its axis and 1 at the chest wall.
    dome
        Height of the diaphragm in lung heights, (DEPTHS, 1, RAYS).
    fissures
        Oblique fissure heights at mid-depth, right and left; slope per half depth; minor fissure.
    """

    volume: FloatArray
    height: FloatArray
    lateral: FloatArray
    front: FloatArray
    wall: FloatArray
    dome: FloatArray
    fissures: "Fissures"


@dataclass(frozen=True, slots=True)
class Fissures:
    """Planes between lobes in lung heights.

    The oblique fissures run from about the fourth thoracic vertebra behind to the diaphragm in
    front; the minor one is level with the right fourth rib in front.
    """

    oblique_right: float
    oblique_left: float
    slope: float
    minor: float
    minor_tilt: float

    def behind_oblique(
        self, height: FloatArray, lateral: FloatArray, front: FloatArray
    ) -> FloatArray:
        """Signed distance behind and below the oblique fissure, in lung heights."""
        middle = np.where(lateral < 0, self.oblique_right, self.oblique_left)
        return np.asarray(height - (middle + self.slope * front), np.float32)

    def below_minor(self, height: FloatArray, lateral: FloatArray) -> FloatArray:
        """Signed distance below the minor fissure, in lung heights (meaningful on the right)."""
        return np.asarray(
            height - (self.minor + self.minor_tilt * (np.abs(lateral) - 0.5)), np.float32
        )


def _draw_fissures(rng: np.random.Generator) -> Fissures:
    return Fissures(
        oblique_right=uniform(rng, 0.58, 0.68),
        oblique_left=uniform(rng, 0.55, 0.66),
        slope=uniform(rng, 0.34, 0.44),
        minor=uniform(rng, 0.47, 0.57),
        minor_tilt=uniform(rng, -0.06, 0.14),
    )


def cage_profile(patient: Patient, height: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Inner half width and half depth of the rib cage in cm at ``height`` (lung heights)."""
    table = _LATERAL_CHILD if patient.child else _LATERAL_ADULT
    lateral = np.interp(height, _HEIGHT, table) * patient.half_width
    depth = np.interp(height, _HEIGHT, _DEPTH) * patient.half_depth
    return lateral.astype(np.float32), depth.astype(np.float32)


def _dome_height(rng: np.random.Generator, patient: Patient, rays: Rays) -> FloatArray:
    """Diaphragm height in cm below the apex over (x, z); higher on the right by the liver."""
    flat = (1 - 0.75 * patient.emphysema) * uniform(rng, 0.5, 1.0)
    side = rays.x / patient.half_width
    left = side > 0
    left_drop = uniform(rng, 0.0, 0.09) * patient.lung_height
    peak = np.where(left, uniform(rng, 0.42, 0.56), uniform(rng, 0.4, 0.54))
    lateral = np.where(left, uniform(rng, 0.8, 1.8), uniform(rng, 0.8, 1.8))
    medial = np.where(left, uniform(rng, 0.25, 0.6), uniform(rng, 0.15, 0.5))
    offset = np.abs(side) - peak
    bend = np.where(offset > 0, lateral, medial) * offset**2 * patient.half_width * flat
    behind = np.clip(uniform(rng, 0.05, 0.25) - rays.z / patient.half_depth, 0, 2)
    ahead = np.clip(rays.z / patient.half_depth - 0.35, 0, 2)
    sulcus = uniform(rng, 0.2, 0.42) * patient.half_depth * flat * behind**2
    front = uniform(rng, 0.1, 0.35) * patient.half_depth * flat * ahead**2
    rough = uniform(rng, 0.0, 0.012) * patient.lung_height
    wave = rough * np.sin(uniform(rng, 4, 9) * side + uniform(rng, 0, 6))
    return np.asarray(
        patient.lung_height + left * left_drop + bend + sulcus + front + wave, np.float32
    )


def _mediastinal_tubes(rng: np.random.Generator, patient: Patient, rays: Rays) -> FloatArray:
    """Signed distance (cm, positive inside) to septum, spine and descending aorta."""
    septum = (0.035 + 0.02 * rng.random()) * patient.half_width - np.abs(rays.x)
    spine_radius = 0.155 * patient.half_width * (1.1 if patient.child else 1.0)
    behind = rays.z + 0.95 * patient.half_depth
    spine = spine_radius - np.sqrt(rays.x**2 + (0.8 * behind) ** 2)
    aorta_x = patient.half_width * (0.11 + 0.06 * patient.aortic_age)
    aorta_radius = patient.half_width * (0.08 + 0.025 * patient.aortic_age)
    aorta = aorta_radius - np.hypot(rays.x - aorta_x, rays.z + 0.55 * patient.half_depth)
    low = ramp(rays.y / patient.lung_height - 0.27, 0.1)
    aorta = np.where(low > 0, aorta, -np.float32(10.0))
    return np.asarray(np.maximum(np.maximum(septum, spine), aorta), np.float32)


def _heart_and_fat(rng: np.random.Generator, rays: Rays, heart: Heart) -> FloatArray:
    """Coverage by the heart and by the fat and thymus before it, shape (DEPTHS, RAYS, RAYS).

    Little or no lung lies between heart and sternum, which is why the heart is nearly as white as
    the mediastinum and has a sharp edge.
    """
    ahead = rays.z - heart.depth_centre
    lung_in_front = uniform(rng, 0.0, 0.5)
    gap = np.where(ahead > 0, ahead * lung_in_front, -ahead)
    softness = uniform(rng, 0.35, 1.0) * heart.half_chord.max()
    edge = np.clip(heart.half_chord / softness, 0, 1)
    return np.asarray(ramp(heart.half_chord - gap, rays.step) * edge, np.float32)


def build_lungs(rng: np.random.Generator, patient: Patient, rays: Rays, heart: Heart) -> Lungs:
    """Build both lungs of a patient on the ray samples."""
    height = rays.y / np.float32(patient.lung_height)
    half_width, half_depth = cage_profile(patient, height)
    ratio = (rays.x / half_width) ** 2
    squareness = np.float32(uniform(rng, 0.5, 1.0))  # 0 an ellipse, 1 a rounded box
    ratio *= (1 - squareness) + squareness * ratio * ratio
    chord = half_depth * np.sqrt(np.clip(1 - ratio, 0, 1))
    volume = ramp(chord - np.abs(rays.z), rays.step)
    apex_medial = np.interp(height, _HEIGHT, _APEX_MEDIAL).astype(np.float32) * patient.half_width
    volume *= ramp(np.abs(rays.x) - apex_medial, rays.pitch)
    volume *= ramp(rays.y, rays.pitch)
    dome = _dome_height(rng, patient, rays)
    slope = np.abs(np.gradient(dome, rays.step, axis=0)) * rays.step
    volume *= ramp(dome - rays.y, slope + rays.pitch)
    volume *= 1 - ramp(_mediastinal_tubes(rng, patient, rays), rays.pitch * 1.5)
    volume *= 1 - _heart_and_fat(rng, rays, heart)
    return Lungs(
        volume=volume,
        height=height,
        lateral=rays.x / np.float32(patient.half_width),
        front=rays.z / np.float32(patient.half_depth),
        wall=np.sqrt(ratio + (rays.z / half_depth) ** 2),
        dome=dome / np.float32(patient.lung_height),
        fissures=_draw_fissures(rng),
    )


def parenchyma(rng: np.random.Generator, patient: Patient, lungs: Lungs) -> FloatArray:
    """Relative density of healthy lung, about 1: denser below and round the hila, mottled.

    How much it varies is itself varied: a brighter zone alone must not pass for a lesion.
    """
    density = 1 + np.float32(uniform(rng, -0.1, 0.6)) * (lungs.height - 0.5)
    density = density + np.float32(rng.normal(0, 0.1)) * lungs.lateral
    across = (np.abs(lungs.lateral) - 0.15) / uniform(rng, 0.3, 0.6)
    down = (lungs.height - uniform(rng, 0.42, 0.65)) / uniform(rng, 0.25, 0.5)
    density = density + np.float32(uniform(rng, 0.0, 0.6)) * np.exp(-(across**2 + down**2))
    shape = lungs.volume.shape
    grain = noise_volume(rng, (shape[0], shape[1], shape[2]), 1.5)
    density = density + np.float32(uniform(rng, 0.05, 0.22)) * grain
    if patient.emphysema and chance(rng, 0.7):
        clouds = noise_volume(rng, (shape[0], shape[1], shape[2]), 2.5)
        density = density - np.float32(0.35 * patient.emphysema) * np.clip(clouds, 0, 1.5)
    return np.asarray(np.clip(density, 0.2, 2.0), np.float32)

"""From points on X-ray beams to places in a CT: cone beam, pose, age and habitus in one map.

files -> scan -> volume -> patient -> [projection] -> film

All maps go backwards, from the film to the CT, so that each sample is fetched once. They are
smooth: they are computed on a lattice and interpolated to the samples.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.generate.ct.patient import Patient
from training.generate.ct.volume import COARSE, SPACING, Volume

_LATTICE = (13, 29, 29)  # depth, rows, columns
_HEART_SIZE = 0.2  # of the lungs' width: standard deviation of the region that grows
_RIBS = 14.0  # mm from the lungs' outline to the outside of the ribs
_STRETCHED = 14.0  # mm at either end of the CT that stand for what lies beyond
_NECK = 50.0  # mm above the CT over which a body narrows to a neck


@dataclass(frozen=True, slots=True, kw_only=True)
class Landmarks:
    """Where things are in a CT, mm from the middle of its grid.

    Attributes
    ----------
    low, high
        Corners (x, y, z) of the box around both lungs.
    heart
        Middle of the heart.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    heart: tuple[float, float, float]

    @property
    def centre(self) -> tuple[float, float, float]:
        """Middle of the lungs' box."""
        x, y, z = ((a + b) / 2 for a, b in zip(self.low, self.high, strict=True))
        return x, y, z


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The rectangle that is projected, in mm in the plane through the middle of the chest.

    Attributes
    ----------
    column, row
        Its centre: along x to the patient's left, and down from the middle of the chest.
    width, height
        Its sides.
    degrees
        Rotation of the patient in it, counter-clockwise.
    depth
        Half of the path along which the beam is followed.
    """

    column: float
    row: float
    width: float
    height: float
    degrees: float
    depth: float

    def axes(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Return x and z in mm of rows and columns from edge to edge, each (rows, columns)."""
        a = torch.linspace(-0.5, 0.5, columns)[None, :] * self.width
        b = torch.linspace(-0.5, 0.5, rows)[:, None] * self.height
        cosine, sine = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        return self.column + cosine * a - sine * b, -(self.row + sine * a + cosine * b)


def find_landmarks(volume: Volume) -> Landmarks:
    """Measure the lungs; the heart lies low, in front, a little to the left."""
    sides = volume.sides
    size = SPACING * COARSE
    low, high = [], []
    for axis, others in ((2, (0, 1)), (1, (0, 2)), (0, (1, 2))):
        taken = torch.nonzero((sides > 0).sum(dim=others) > 20)[:, 0]
        middle = (sides.shape[axis] - 1) / 2
        low.append((float(taken[0]) - 0.5 - middle) * size)
        high.append((float(taken[-1]) + 0.5 - middle) * size)
    width, depth, height = (b - a for a, b in zip(low, high, strict=True))
    return Landmarks(
        low=(low[0], low[1], low[2]),
        high=(high[0], high[1], high[2]),
        heart=(
            (low[0] + high[0]) / 2 + 0.08 * width,
            low[1] + 0.36 * depth,
            low[2] + 0.34 * height,
        ),
    )


def beam_points(field: Field, patient: Patient, shape: tuple[int, int, int]) -> Tensor:
    """Points along the beam, float32 of shape (depths, rows, columns, 3): x, y, z in mm.

    The origin is the middle of the chest; a beam of (u, v) passes there at x = u, z = v. Rows go
    down the film, columns to the patient's left, depths towards the tube.
    """
    depths, rows, columns = shape
    to_tube = 1.0 if patient.view == "PA" else -1.0
    w = torch.linspace(-field.depth, field.depth, depths)[:, None, None]
    u, v = field.axes(rows, columns)
    shrink = (patient.source_distance - w) / patient.source_distance
    parts = (u * shrink, to_tube * w, v * shrink)
    return torch.stack([part.expand(shape) for part in parts], dim=-1)


def to_volume(points: Tensor, patient: Patient, marks: Landmarks) -> Tensor:
    """Place of each point of a patient in the CT, mm from the middle of its grid."""
    turned = points @ _rotation(patient.turn).T
    size = torch.tensor(patient.scale)
    x, y, z = (turned / size + _bend(points, patient, marks) / size).unbind(dim=-1)
    half = [(b - a) / 2 for a, b in zip(marks.low, marks.high, strict=True)]
    z = z + patient.rib_lift * y
    z = z - patient.expiration * 2 * half[2] * _below(z / half[2])
    x, y = _fat(x, y, (half[0] + _RIBS, half[1] + _RIBS), patient.girth)
    x = x * (1 - patient.mediastinum * _upper_mediastinum(x, y, z, half))
    place = torch.stack([x, y, z], dim=-1) + torch.tensor(marks.centre)
    heart = torch.tensor(marks.heart)
    from_heart = place - heart
    reach = _HEART_SIZE * 2 * half[0]
    near = torch.exp(-(from_heart**2).sum(dim=-1, keepdim=True) / (2 * reach**2))
    return heart + from_heart * (1 - patient.heart * near)


def beyond_scan(place: Tensor, bottom: float, top: float) -> Tensor:
    """Go on above and below a CT: its outline narrows to a neck, its last slices are stretched."""
    x, y, z = place.unbind(dim=-1)
    above = torch.relu(z - top) / _NECK
    for end, sign in ((bottom, 1), (top, -1)):
        beyond = torch.relu(_STRETCHED + sign * (end - z))
        z = z + sign * beyond * beyond / (_STRETCHED + beyond)
    return torch.stack([x * (1 + 1.3 * above**1.3), y * (1 + 0.5 * above), z], dim=-1)


def sampling_grid(
    volume: Volume, marks: Landmarks, patient: Patient, field: Field, shape: tuple[int, int, int]
) -> Tensor:
    """Grid for ``grid_sample``, shape (1, depths, rows, columns, 3), on the volume's device."""
    place = to_volume(beam_points(field, patient, _LATTICE), patient, marks)
    sizes = [n * SPACING / 2 for n in volume.hounsfield.shape[::-1]]
    place = beyond_scan(place, -sizes[2] + SPACING, sizes[2] - 2 * SPACING)
    grid = (place / torch.tensor(sizes)).to(volume.hounsfield.device)
    fine = functional.interpolate(
        grid.permute(3, 0, 1, 2)[None], size=shape, mode="trilinear", align_corners=True
    )
    return fine.permute(0, 2, 3, 4, 1).contiguous()


def _rotation(turn: tuple[float, float, float]) -> Tensor:
    a, b, c = (torch.tensor(angle) for angle in turn)
    one, zero = torch.tensor(1.0), torch.tensor(0.0)

    def matrix(*rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return torch.stack([torch.stack(row) for row in rows])

    about_x = matrix((one, zero, zero), (zero, a.cos(), -a.sin()), (zero, a.sin(), a.cos()))
    about_y = matrix((b.cos(), zero, b.sin()), (zero, one, zero), (-b.sin(), zero, b.cos()))
    about_z = matrix((c.cos(), -c.sin(), zero), (c.sin(), c.cos(), zero), (zero, zero, one))
    return about_x @ about_y @ about_z


def _bend(points: Tensor, patient: Patient, marks: Landmarks) -> Tensor:
    """Random smooth displacement in mm, control points a quarter of the chest apart."""
    half = [(b - a) / 2 for a, b in zip(marks.low, marks.high, strict=True)]
    reach = torch.tensor([1.5 * h * s for h, s in zip(half, patient.scale, strict=True)])
    moved = functional.grid_sample(
        torch.from_numpy(patient.bends)[None],
        (points / reach)[None],
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return moved[0].permute(1, 2, 3, 0)


def _below(height: Tensor) -> Tensor:
    """0 at the apices, 1 from the diaphragm down: how far the diaphragm's stroke carries."""
    return torch.clamp((0.9 - height) / 1.6, 0, 1) ** 1.5


def _fat(x: Tensor, y: Tensor, ribs: tuple[float, float], girth: float) -> tuple[Tensor, Tensor]:
    """Make the ring outside the ribs (an ellipse) thicker or thinner."""
    radius = torch.sqrt((x / ribs[0]) ** 2 + (y / ribs[1]) ** 2).clamp(min=1e-3)
    outside = functional.softplus((radius - 1) * 30) / 30
    factor = (radius + outside * (1 / girth - 1)) / radius
    return x * factor, y * factor


def _upper_mediastinum(x: Tensor, y: Tensor, z: Tensor, half: list[float]) -> Tensor:
    height = (z / half[2] - 0.35) / 0.35
    front = (y / half[1] + 0.25) / 0.7
    aside = x / (0.42 * half[0])
    return torch.exp(-0.5 * (height**2 + front**2 + aside**2))

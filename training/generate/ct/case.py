"""One patient in health and illness: what is drawn, and the film's shadows of both.

files -> scan -> volume -> [patient -> lesion -> projection] -> film
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from service.imaging.radiograph import FloatImage
from training.generate.ct.chest import Chest
from training.generate.ct.findings import draw_findings
from training.generate.ct.geometry import Field
from training.generate.ct.lesion import Lesion, draw_lesion, draw_pattern
from training.generate.ct.patient import Patient, draw_patient
from training.generate.ct.project import Content, Shadows, project
from training.generate.ct.surroundings import Surroundings, draw_surroundings, surround
from training.generate.phantom.anatomy import Projection
from training.generate.phantom.devices import draw_devices
from training.generate.phantom.framing import Framing, frame
from training.generate.phantom.patient import CANVAS
from training.generate.phantom.patient import draw_patient as draw_phantom_patient
from training.generate.phantom.sampling import resize
from training.generate.request import Fact

FINE = (112, 208, 208)  # depths, rows, columns of the samples of a film
_COARSE = (40, 64, 64)  # for the lungs' outline and for judging a lesion
_TRIES = 5
_SEEN = 0.15  # of the lungs' own contrast
_SEEN_SHARE = 0.06  # of the lungs' area
_LUNG = 0.6  # of the thickest air: this much is called full coverage by lung
_FULL = 0.25  # of the lungs' contrast: a lesion that adds this much is fully visible


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One patient, both halves.

    Attributes
    ----------
    wide
        The field the film is cut from, square.
    lungs
        Coverage by lung in the wide field, shape (CANVAS, CANVAS), in [0, 1].
    """

    chest: Chest
    patient: Patient
    content: Content
    lesion: Lesion | None
    findings: tuple[str, ...]
    wide: Field
    lungs: FloatImage
    around: Surroundings
    devices: FloatImage
    device_names: tuple[str, ...]

    def facts(self) -> dict[str, Fact]:
        """What the manifest says of patient and lesion."""
        patient, lesion = self.patient, self.lesion
        return {
            "age_band": patient.age_band,
            "age": round(patient.age, 1),
            "view": patient.view,
            "supine": patient.supine,
            "heart": patient.heart,
            "expiration": patient.expiration,
            "girth": patient.girth,
            "rotation_degrees": float(np.degrees(patient.turn[2])),
            "findings": ", ".join(self.findings),
            "devices": ", ".join(self.device_names),
            "volume": self.chest.volume.provenance.name,
            "pattern": lesion.pattern if lesion else "",
            "side": lesion.side if lesion else "",
            "lesion_effusion": bool(lesion and lesion.effusion),
        }


def draw_case(rng: np.random.Generator, chests: Sequence[Chest], *, lesion: bool) -> Case:
    """Draw a patient from one of the chests, with a lesion that can be seen.

    Without a lesion everything else stays what it was.
    """
    people, illness, equipment = rng.spawn(3)
    chest = chests[int(people.integers(len(chests)))]
    patient = draw_patient(people)
    wide = _wide_field(chest, patient)
    filled, findings = draw_findings(people, chest.lungs, patient)
    shared = chest.lungs.spread(filled)
    clear = Content(shared=shared, lesion=torch.zeros_like(shared), tissue=0.0)
    air = project(chest, clear, patient, wide, _COARSE).air.cpu().numpy()
    lungs = resize(np.asarray(np.clip(air / (_LUNG * max(float(air.max()), 0.1)), 0, 1)), CANVAS)
    drawn = None
    content = clear
    if lesion:
        drawn, content = _visible_lesion(illness, chest, patient, clear, wide)
    devices, names = _draw_devices(equipment, chest, patient, wide)
    return Case(
        chest=chest,
        patient=patient,
        content=content,
        lesion=drawn,
        findings=findings,
        wide=wide,
        lungs=lungs,
        around=draw_surroundings(equipment, patient, _half_sizes(chest, patient), lungs, wide),
        devices=devices,
        device_names=names,
    )


def _wide_field(chest: Chest, patient: Patient) -> Field:
    """A square twice as high as the lungs, and wider than the shoulders."""
    across, deep, high = _half_sizes(chest, patient)
    side = 2 * max(2.0 * high, 1.5 * across)
    wall = 20 * patient.scale[1] * (0.4 + patient.girth)
    return Field(
        column=0.0, row=0.06 * side, width=side, height=side, degrees=0.0, depth=1.25 * deep + wall
    )


def _half_sizes(chest: Chest, patient: Patient) -> list[float]:
    """Half of the patient's lungs' width, depth and height in mm."""
    marks = chest.marks
    return [(b - a) / 2 * s for a, b, s in zip(marks.low, marks.high, patient.scale, strict=True)]


def _visible_lesion(
    rng: np.random.Generator, chest: Chest, patient: Patient, clear: Content, wide: Field
) -> tuple[Lesion, Content]:
    """Draw a lesion; add foci until the film can show it."""
    pattern = draw_pattern(rng, child=patient.child)
    lesion = draw_lesion(rng, chest.lungs, pattern, child=patient.child)
    content = _with(clear, chest, lesion)
    for _ in range(_TRIES):
        if _is_visible(project(chest, content, patient, wide, _COARSE)):
            break
        lesion = lesion.joined(draw_lesion(rng, chest.lungs, pattern, child=patient.child))
        content = _with(clear, chest, lesion)
    return lesion, content


def _with(clear: Content, chest: Chest, lesion: Lesion) -> Content:
    return replace(clear, lesion=chest.lungs.spread(lesion.filled), tissue=lesion.tissue)


def _is_visible(shadows: Shadows) -> bool:
    seen = lesion_contrast(shadows) > _SEEN
    field = shadows.air > 0.15 * shadows.air.max()
    return bool((seen & field).sum() >= _SEEN_SHARE * field.sum())


def lesion_contrast(shadows: Shadows) -> Tensor:
    """Line integral a lesion adds, relative to that of the lungs' air at its thickest."""
    strongest = torch.quantile(shadows.air.flatten(), 0.97).clamp(min=0.05)
    return (shadows.ill - shadows.healthy) / strongest


def _draw_devices(
    rng: np.random.Generator, chest: Chest, patient: Patient, wide: Field
) -> tuple[FloatImage, tuple[str, ...]]:
    """Foreign bodies of the phantom, fitted to this patient in the wide field."""
    across, deep, high = _half_sizes(chest, patient)
    per_cm = 10 * CANVAS / wide.width
    fitted = replace(
        draw_phantom_patient(rng),
        age_band=patient.age_band,
        view=patient.view,
        supine=patient.supine,
        half_width=across / 10,
        half_depth=deep / 10,
        lung_height=2 * high / 10,
        source_distance=patient.source_distance / 10,
        pixels_per_cm=per_cm,
        origin_x=CANVAS / 2,
        origin_y=CANVAS / 2 - (wide.row + high) / 10 * per_cm,
    )
    return draw_devices(rng, fitted)


def film_field(wide: Field, framing: Framing) -> Field:
    """The part of the wide field that a film shows."""
    size = wide.width / CANVAS
    return replace(
        wide,
        column=wide.column + (framing.column - CANVAS / 2) * size,
        row=wide.row + (framing.row - CANVAS / 2) * size,
        width=framing.width * size,
        height=framing.height * size,
        degrees=framing.degrees,
    )


def _restore(shadow: Tensor, share: float) -> Tensor:
    """Give back detail that the CT's voxels and the sampling took; films are sharper."""
    sharp = shadow
    for size, part in ((3, 1.0), (5, 0.6)):
        padded = functional.pad(shadow[None, None], [size // 2] * 4, mode="replicate")
        sharp = sharp + part * share * (shadow - functional.avg_pool2d(padded, size, 1)[0, 0])
    return sharp.clamp(min=0)


def project_case(case: Case, framing: Framing) -> tuple[Projection, Projection]:
    """Project the part of the wide field that the film shows, healthy and ill."""
    field = film_field(case.wide, framing)
    shadows = project(case.chest, case.content, case.patient, field, FINE)
    devices = frame(case.devices, framing, FINE[1])
    restored = [
        surround(_restore(part, case.patient.crispness), case.around, field)
        for part in (shadows.healthy, shadows.ill)
    ]
    visible = (lesion_contrast(shadows) / _FULL).clamp(0, 1)
    lungs = (shadows.air / (_LUNG * shadows.air.max()).clamp(min=0.02)).clamp(0, 1)
    parts = [part.cpu().numpy() for part in (*restored, visible, lungs)]
    healthy, ill, seen, covered = parts
    nothing = np.zeros_like(seen)
    per_cm = 10 * FINE[1] / (framing.height * case.wide.height / CANVAS)
    return tuple(  # type: ignore[return-value]
        Projection(
            attenuation=np.asarray(attenuation + devices, np.float32),
            lungs=covered,
            heart=nothing,
            lesion=lesion,
            pixels_per_cm=per_cm,
        )
        for attenuation, lesion in ((healthy, nothing), (ill, seen))
    )

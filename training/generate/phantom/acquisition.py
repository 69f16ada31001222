"""Turn a projection into an 8-bit image as a digital X-ray system and its archive would.

anatomy -> [framing -> detector -> display -> marks -> file] -> render

The law of the acquisition knows age band, view and the lung fields, which both halves of a pair
share. It never knows the label, so nothing drawn here can give it away.
"""

from dataclasses import asdict, dataclass

import cv2
import numpy as np

from service.imaging.radiograph import FloatImage
from training.generate.phantom.anatomy import Projection
from training.generate.phantom.detector import Exposure, draw_exposure, expose
from training.generate.phantom.display import Look, draw_look, present
from training.generate.phantom.framing import Framing, draw_framing, frame, on_film
from training.generate.phantom.marks import Marks, add_marks, draw_marks
from training.generate.phantom.sampling import chance, uniform
from training.generate.request import Fact, GreyImage

# All physics happens on this grid, so that every output size shows the same image.
DETECTOR = 256
# Less attenuation than half a centimetre of soft tissue counts as outside the body.
_SKIN = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Filing:
    """How the image was stored before it came to us.

    Attributes
    ----------
    side
        Resolution of the stored file in pixels, at most DETECTOR.
    quality
        JPEG quality, 0 for lossless storage.
    smooth
        Whether a smaller file is enlarged by cubic instead of linear interpolation.
    """

    side: int
    quality: int
    smooth: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """Everything about one image that is not the patient."""

    framing: Framing
    exposure: Exposure
    look: Look
    marks: Marks
    filing: Filing
    noise_seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """One acquired image; all arrays uint8 of shape (size, size).

    ``lesion`` and ``lungs`` are coverage times 255 in the image's own field of view, 0 behind a
    shutter.
    """

    pixels: GreyImage
    lesion: GreyImage
    lungs: GreyImage


def draw_acquisition(
    rng: np.random.Generator, lungs: FloatImage, age_band: str, view: str
) -> Acquisition:
    """Draw one acquisition from the only law there is.

    Parameters
    ----------
    lungs
        Lung coverage of the projection, shape (CANVAS, CANVAS), in [0, 1].
    age_band, view
        ``"child"`` or ``"adult"``; ``"PA"`` or ``"AP"``.
    """
    return Acquisition(
        framing=draw_framing(rng, lungs, age_band),
        exposure=draw_exposure(rng, view, age_band),
        look=draw_look(rng),
        marks=draw_marks(rng, view),
        filing=_draw_filing(rng),
        noise_seed=int(rng.integers(2**63)),
    )


def acquire(projection: Projection, acquisition: Acquisition, size: int) -> Film:
    """Image ``projection`` as ``acquisition`` says; the same arguments give the same bytes.

    Parameters
    ----------
    size
        Side of the square image in pixels.
    """
    framing = acquisition.framing
    attenuation = frame(projection.attenuation, framing, DETECTOR)
    film = on_film(framing, projection.attenuation.shape[0], DETECTOR)
    rng = np.random.default_rng(acquisition.noise_seed)
    signal = expose(rng, attenuation, acquisition.exposure)
    grey = present(signal, (attenuation > _SKIN) & (film > 0), acquisition.look)
    marked, visible = add_marks(grey, film, acquisition.marks)
    return Film(
        pixels=_file(marked, acquisition.filing, size),
        lesion=_coverage(frame(projection.lesion, framing, DETECTOR) * visible, size),
        lungs=_coverage(frame(projection.lungs, framing, DETECTOR) * visible, size),
    )


def describe(acquisition: Acquisition) -> dict[str, Fact]:
    """Flatten the numbers of an acquisition for the manifest, e.g. ``exposure_scatter``."""
    facts: dict[str, Fact] = {
        f"{part}_{name}": value
        for part in ("framing", "exposure", "look", "filing")
        for name, value in asdict(getattr(acquisition, part)).items()
    }
    shutter = acquisition.marks.shutter
    return facts | {
        "shutter": shutter is not None,
        "inscriptions": ", ".join(i.words for i in acquisition.marks.inscriptions),
    }


def _draw_filing(rng: np.random.Generator) -> Filing:
    return Filing(
        side=DETECTOR if chance(rng, 0.7) else int(uniform(rng, 0.55, 1) * DETECTOR),
        quality=int(rng.integers(40, 96)) if chance(rng, 0.5) else 0,
        smooth=chance(rng, 0.5),
    )


def _file(grey: FloatImage, filing: Filing, size: int) -> GreyImage:
    """Store as 8 bit at the file's resolution, then read it at ``size``."""
    image = _resample(np.round(np.clip(grey, 0, 1) * 255).astype(np.uint8), filing.side)
    if filing.quality:
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, filing.quality])
        image = np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE), np.uint8)
    return _resample(image, size, smooth=filing.smooth)


def _resample(image: GreyImage, side: int, *, smooth: bool = False) -> GreyImage:
    if side == image.shape[0]:
        return image
    enlarge = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
    method = cv2.INTER_AREA if side < image.shape[0] else enlarge
    return np.asarray(cv2.resize(image, (side, side), interpolation=method), np.uint8)


def _coverage(share: FloatImage, size: int) -> GreyImage:
    return _resample(np.round(np.clip(share, 0, 1) * 255).astype(np.uint8), size)

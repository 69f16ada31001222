"""THE pipeline, written once: bytes -> Reading.

decode -> standardise -> session -> gate -> calibrate
The service, training's verification and the clients' local scoring all read through this class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidManifest, UnfamiliarImage
from service.findings.calibration import Calibration, Call, OperatingPoint
from service.imaging.decode import Limits
from service.imaging.overlay import draw_heatmap, picture_grid
from service.imaging.picture import PictureFormat, PictureSize
from service.imaging.prepare import Prepared, RadiographFacts, prepare, prepare_with_picture
from service.imaging.standardise import Geometry
from service.model.bundle import Bundle
from service.model.manifest import Manifest, ModelIdentity
from service.model.session import AUTO, GateSession, Session
from service.model.shipped import default_model
from service.model.site import SYNTHETIC, CalibrationIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the model says about one radiograph.

    Attributes
    ----------
    probability
        Calibrated probability of pneumonia in [0, 1].
    logit
        Before calibration.
    call
        What the default operating point makes of the probability.
    heatmap
        Shape (h, w), not negative, in units of the logit; not scaled to its own maximum.
    embedding
        Shape (features,): pooled last feature maps.
    familiarity
        How much the image looks like a frontal chest radiograph, in [0, 1]; None without a gate.
    geometry
        Maps the heatmap back to the radiograph's pixel grid.
    warnings
        What a reader of the result should know about the file.
    calibration
        What the probability, and the operating point, were fitted to.
    """

    probability: float
    logit: float
    call: Call
    operating_point: OperatingPoint
    heatmap: NDArray[np.float32]
    embedding: NDArray[np.float32]
    familiarity: float | None
    radiograph: RadiographFacts
    geometry: Geometry
    warnings: tuple[str, ...]
    model: ModelIdentity
    calibration: CalibrationIdentity

    @property
    def peak(self) -> tuple[float, float] | None:
        """Column and row, in pixels of the radiograph, of the middle of the hottest cell.

        None where the heatmap holds nothing.
        """
        if not self.heatmap.any():
            return None
        height, width = self.heatmap.shape
        row, column = divmod(int(self.heatmap.argmax()), width)
        frame = self.geometry
        return (
            frame.left + (column + 0.5) / width * frame.width,
            frame.top + (row + 0.5) / height * frame.height,
        )


Outcome = Reading | UnfamiliarImage  # of a batch: one refusal does not touch the others


class Reader:
    """Reads radiographs with one model; safe to share between threads.

    Parameters
    ----------
    bundle
        The verified model, with the calibration of a site where one was opened with it.
    limits
        Bounds on an image, checked before any pixel is decoded.
    threads
        Threads of one inference; 0 means one per core.
    provider
        Where inference has to run, as for :class:`Session`.

    Raises
    ------
    ModelUnavailable
        If the provider cannot be had.
    InvalidManifest
        If a graph does not take what the manifest says.
    """

    def __init__(
        self, bundle: Bundle, *, limits: Limits, threads: int, provider: str = AUTO
    ) -> None:
        self.manifest: Manifest = bundle.manifest
        self.card = bundle.card
        self.model = bundle.manifest.identity
        site = bundle.site
        self.calibration: CalibrationIdentity = site.identity if site else SYNTHETIC
        self.scaling: Calibration = site.calibration if site else self.manifest.calibration
        self.operating_points: tuple[OperatingPoint, ...] = (
            site.operating_points if site else self.manifest.operating_points
        )
        self.limits = limits
        self._session = Session(bundle.graph, threads=threads, provider=provider)
        self._gate = None if bundle.gate is None else GateSession(bundle.gate)
        size = self.manifest.input.size
        for found in (self._session.size, self._gate.size if self._gate else size):
            if found != size:
                raise InvalidManifest(
                    f"the graph takes {found} pixels a side, the manifest says {size}"
                )
        # The first inference allocates; a reading should not wait for that.
        outputs = self._session.run(np.zeros((1, 1, size, size), np.float32))
        self.embedding_size = int(outputs.embedding.shape[1])

    @classmethod
    def open(
        cls,
        model: Path | None = None,
        *,
        limits: Limits | None = None,
        threads: int = 0,
        provider: str = AUTO,
        key: Path | None = None,
        calibration: Path | None = None,
    ) -> "Reader":
        """Verify and load a model folder, by default that of the model that comes with nanocxr.

        Raises ModelUnavailable as :meth:`Bundle.open` does.
        """
        bundle = Bundle.open(model or default_model(), key, calibration)
        return cls(bundle, limits=limits or Limits(), threads=threads, provider=provider)

    @property
    def provider(self) -> str:
        """Where inference runs: onnxruntime's name of the execution provider."""
        return self._session.provider

    @property
    def operating_point(self) -> OperatingPoint:
        """The one that decides ``call``."""
        name = self.manifest.default_operating_point
        return next(point for point in self.operating_points if point.name == name)

    def read(self, data: bytes) -> Reading:
        """Read one file.

        Parameters
        ----------
        data
            A DICOM, PNG or JPEG file.

        Raises
        ------
        ReadingError
            If the file is not one frontal chest radiograph that can be decoded.
        """
        return admitted(self.infer([self.prepare(data)])[0])

    def explain(
        self,
        data: bytes,
        *,
        bare: bool,
        form: PictureFormat = "png",
        size: PictureSize = "film",
    ) -> tuple[Reading, bytes]:
        """Read one file and draw its heatmap.

        Parameters
        ----------
        data
            As for :meth:`read`.
        bare
            Leave the radiograph out of the picture.
        form, size
            Of the picture; see :func:`service.imaging.overlay.draw_heatmap` and
            :func:`service.imaging.overlay.picture_grid`.

        Raises
        ------
        ReadingError
            As :meth:`read`; InvalidParameter where a JPEG cannot be that large.
        """
        prepared, grey = prepare_with_picture(data, self.limits, self.manifest.input, size)
        reading = admitted(self.infer([prepared])[0])
        film, scale = None if bare else grey, self.manifest.heatmap_scale
        grid = picture_grid(reading.geometry, size)
        return reading, draw_heatmap(film, reading.heatmap, grid, full_scale=scale, form=form)

    def prepare(self, data: bytes) -> Prepared:
        """Decode and standardise one file; raises ReadingError as :meth:`read` does."""
        return prepare(data, self.limits, self.manifest.input)

    def infer(self, prepared: Sequence[Prepared]) -> list[Outcome]:
        """Run the network once over all and calibrate; no inference where the list is empty.

        Outcome i is the reading of image i, or the gate's refusal.
        """
        if not prepared:
            return []
        images = np.stack([p.tensor for p in prepared])
        outputs = self._session.run(images)
        point = self.operating_point
        outcomes: list[Outcome] = []
        for one, logit, heatmap, embedding, familiarity in zip(
            prepared,
            outputs.logit.tolist(),
            outputs.heatmap,
            outputs.embedding,
            self._familiarity(images),
            strict=True,
        ):
            probability = self.scaling.probability(logit)
            reading = Reading(
                probability=probability,
                logit=logit,
                call=point.call(probability),
                operating_point=point,
                heatmap=heatmap,
                embedding=embedding,
                familiarity=familiarity,
                radiograph=one.facts,
                geometry=one.geometry,
                warnings=one.warnings,
                model=self.model,
                calibration=self.calibration,
            )
            outcomes.append(self._refusal(familiarity) or reading)
        return outcomes

    def _familiarity(self, images: NDArray[np.float32]) -> list[float | None]:
        if self._gate is None:
            return [None] * len(images)
        return [float(value) for value in self._gate.run(images)]

    def _refusal(self, familiarity: float | None) -> UnfamiliarImage | None:
        if self.manifest.gate is None or familiarity is None:
            return None
        return self.manifest.gate.refusal(familiarity)


def admitted(outcome: Outcome) -> Reading:
    """The reading; raises the refusal where it is one."""
    if isinstance(outcome, UnfamiliarImage):
        raise outcome
    return outcome

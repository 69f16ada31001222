"""What a service answers, as types.

Fields that are not named here are ignored, so a client goes on working with a newer service.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.findings.calibration import Call, OperatingPoint
from service.imaging.radiograph import View
from service.model.manifest import Manifest

Probability = Annotated[float, Field(ge=0, le=1)]


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelReference(_Result):
    """Which model gave a reading; ``sha256`` is that of its graph."""

    name: str
    version: str
    sha256: str


class CalibrationReference(_Result):
    """What a probability was calibrated on: "synthetic" images, or ``films`` of a "site".

    ``sha256`` is that of the site's file.
    """

    name: str
    sha256: str | None = None
    films: int | None = None


class ImageFacts(_Result):
    """What the service saw in the file.

    Attributes
    ----------
    rows, columns
        Pixels of the stored image, in display orientation.
    view
        Projection where the file states it.
    """

    format: str
    rows: int
    columns: int
    photometric: str
    view: View | None = None


class Prediction(_Result):
    """One reading.

    Attributes
    ----------
    probability
        Calibrated probability of pneumonia in [0, 1].
    familiarity
        How much the image looks like a frontal chest radiograph, in [0, 1]; None where the model
        has no gate, or the service is older than that.
    call
        What ``operating_point`` makes of it.
    warnings
        What a reader of the result should know about the file.
    calibration
        On what the probability was calibrated; None where the service is older than that.
    """

    probability: Probability
    familiarity: Probability | None = None
    call: Call
    operating_point: OperatingPoint
    model: ModelReference
    input: ImageFacts
    warnings: tuple[str, ...] = ()
    calibration: CalibrationReference | None = None


class Problem(_Result):
    """Why one image of a batch has no reading (RFC 9457, with a stable ``code``)."""

    status: int
    code: str
    detail: str
    title: str = ""
    type: str = "about:blank"


class ModelInfo(_Result):
    """The served model: its manifest, its card in Markdown, and the calibration in use.

    ``calibration`` is None where the service is older than that: the manifest's.
    """

    manifest: Manifest
    card: str
    calibration: CalibrationReference | None = None

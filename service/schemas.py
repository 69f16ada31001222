"""Wire types: what the HTTP service answers, field by field with unit and range.

OpenAPI at /docs.json and docs/api.md are made from these, and the SDK of ``clients`` parses answers
with them. They understand other releases of the service: what is not named here is ignored, and
what an older service does not send has a default.
"""

from base64 import b64decode, b64encode
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
)
from pydantic.json_schema import SkipJsonSchema

from service.errors import InvalidManifest
from service.findings.calibration import Call
from service.imaging.picture import PictureFormat
from service.imaging.radiograph import View
from service.model.manifest import Manifest
from service.model.site import Source
from service.observe.request import current

if TYPE_CHECKING:  # the SDK needs no onnxruntime
    from service.model.reader import Reader, Reading

INTENDED_USE = (
    "Research use only. Not a medical device: not for diagnosis, triage or treatment of patients."
)


_MANIFEST = TypeAdapter(Manifest)


def _manifest(sent: object) -> Manifest:
    """Parse what the service of any release sends."""
    if isinstance(sent, Manifest):
        return sent
    try:
        return _MANIFEST.validate_python(sent)
    except InvalidManifest as error:
        raise ValueError(str(error)) from error


SentManifest = Annotated[
    Manifest,
    PlainValidator(_manifest),
    PlainSerializer(Manifest.to_dict, return_type=dict[str, Any]),
]


HeatmapForm = Literal[PictureFormat, "array"]


def _picture(sent: object) -> bytes:
    """A file as it is, or in base64 as it is sent."""
    if isinstance(sent, bytes):
        return sent
    if not isinstance(sent, str):
        raise ValueError("the picture is no text")  # noqa: TRY004  pydantic's error is a ValueError
    return b64decode(sent, validate=True)


SentPicture = Annotated[
    bytes,
    PlainValidator(_picture),
    PlainSerializer(lambda picture: b64encode(picture).decode("ascii"), return_type=str),
]


def _sent_whole(schema: dict[str, Any]) -> None:
    """Describe what this service sends: every field; defaults are for what another leaves out."""
    for field in schema["properties"].values():
        field.pop("default", None)
    schema["required"] = list(schema["properties"])


class Wire(BaseModel):
    """Base: immutable; a newer service may add fields.

    Where the schema does not allow null (``SkipJsonSchema``), None stands for an older service.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", from_attributes=True, json_schema_extra=_sent_whole
    )


class OperatingPointFacts(Wire):
    """The threshold behind ``call``."""

    name: str = Field(description="Name, unique in the manifest.", examples=["balanced"])
    threshold: float = Field(ge=0, le=1, description="On the calibrated probability.")
    sensitivity: float = Field(
        ge=0,
        le=1,
        description="On the images of the calibration: synthetic ones, not patients, unless "
        "``calibration`` is a site's; then on the site's films, held out.",
    )
    specificity: float = Field(ge=0, le=1, description="Likewise.")


class ModelReference(Wire):
    """Which model answered."""

    name: str = Field(description="Model name.", examples=["default"])
    version: str = Field(description="Model version.", examples=["1"])
    sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="SHA-256 of the ONNX graph, hexadecimal."
    )


class CalibrationReference(Wire):
    """What the probability and the operating point were fitted to."""

    name: str = Field(
        description="``synthetic``: the model's own; ``site``: films of the site, by its file.",
        json_schema_extra={"enum": list(get_args(Source))},
    )
    sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the site's file; null for the model's own.",
    )
    films: int | None = Field(
        default=None,
        ge=1,
        description="Films of the site it was fitted to; null for the model's own.",
    )


class CalibrationInUse(CalibrationReference):
    """The calibration that readings are made with; the manifest has the model's own."""

    temperature: float = Field(gt=0, description="Of the logit.")
    bias: float = Field(description="probability = sigmoid(logit / temperature + bias).")
    operating_points: tuple[OperatingPointFacts, ...] = Field(
        description="All of them; the default one of the manifest decides ``call``."
    )


class ImageFacts(Wire):
    """What was found in the file; nothing that identifies a patient."""

    format: str = Field(
        description="By content, not by name.",
        json_schema_extra={"enum": ["DICOM", "PNG", "JPEG"]},
    )
    rows: int = Field(ge=1, description="Height in pixels, in display orientation.")
    columns: int = Field(ge=1, description="Width in pixels, in display orientation.")
    photometric: str = Field(
        description="Photometric Interpretation (0028,0004), or the colour mode of PNG and JPEG.",
        examples=["MONOCHROME1"],
    )
    view: View | None = Field(
        default=None,
        description="View Position (0018,5101); null where the file does not state it.",
    )
    pixel_spacing_mm: tuple[float, float] | None = Field(
        default=None,
        description="Row and column spacing at the detector in mm; null where unknown.",
    )
    transfer_syntax: str | None = Field(
        default=None,
        description="Transfer Syntax UID (0002,0010); null for PNG and JPEG.",
        examples=["1.2.840.10008.1.2.4.90"],
    )


class Prediction(Wire):
    """The reading of one radiograph."""

    probability: float = Field(
        ge=0,
        le=1,
        description="Calibrated probability of pneumonia; see ``calibration`` for on what.",
    )
    familiarity: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="How much the image looks like a frontal chest radiograph; null where the "
        "model has no gate. Below the manifest's threshold there is no reading.",
    )
    call: Call = Field(description="``pneumonia`` at or above the operating point's threshold.")
    operating_point: OperatingPointFacts
    calibration: CalibrationReference | SkipJsonSchema[None] = None
    model: ModelReference
    input: ImageFacts = Field(validation_alias=AliasChoices("input", "radiograph"))
    warnings: tuple[str, ...] = Field(
        default=(),
        description="What a reader of the result should know about the file; may be empty.",
    )
    intended_use: str = Field(
        default=INTENDED_USE, description="Always the same sentence.", examples=[INTENDED_USE]
    )

    @classmethod
    def from_reading(cls, reading: "Reading") -> "Prediction":
        """The wire form; heatmap and embedding stay behind."""
        return cls.model_validate(reading)


class HeatmapFacts(Wire):
    """Where the evidence lies: the network's own grid, how it lies on the film, and a picture.

    Cell (i, j) of ``values`` covers the film's pixels from row ``top + i height / rows`` on, and
    from column ``left + j width / columns`` on, also where the picture is reduced.
    """

    rows: int = Field(ge=1, description="Rows of ``values``.")
    columns: int = Field(ge=1, description="Columns of ``values``.")
    values: tuple[tuple[float, ...], ...] = Field(
        description="Row by row, each cell's share of the logit, at least 0. Its local logit is "
        "the value times ``rows`` times ``columns``."
    )
    full_scale: float = Field(
        gt=0, description="Local logit of the strongest colour; the same for all films of a model."
    )
    left: int = Field(ge=0, description="First column of the film that the grid covers.")
    top: int = Field(ge=0, description="First row of the film that the grid covers.")
    width: int = Field(ge=1, description="Columns of the film that the grid covers.")
    height: int = Field(ge=1, description="Rows of the film that the grid covers.")
    media_type: str | None = Field(
        default=None,
        description="Of ``picture``; null where an array was asked for.",
        json_schema_extra={"enum": ["image/png", "image/jpeg", None]},
    )
    picture: SentPicture | None = Field(
        default=None,
        description="The heatmap over the film, as ``/explain`` draws it: a file in base64; null "
        "where an array was asked for.",
        json_schema_extra={"contentEncoding": "base64"},
    )

    @classmethod
    def of(
        cls,
        reading: "Reading",
        full_scale: float,
        picture: bytes | None = None,
        media_type: str | None = None,
    ) -> "HeatmapFacts":
        """Describe the heatmap of a reading, and add a picture where there is one."""
        rows, columns = reading.heatmap.shape
        frame = reading.geometry
        return cls(
            rows=rows,
            columns=columns,
            values=reading.heatmap.tolist(),
            full_scale=full_scale,
            left=frame.left,
            top=frame.top,
            width=frame.width,
            height=frame.height,
            media_type=media_type,
            picture=picture,
        )


class PredictionWithHeatmap(Prediction):
    """The reading of one radiograph, and where its evidence lies."""

    heatmap: HeatmapFacts


class Problem(Wire):
    """Why there is no reading: an RFC 9457 problem, ``application/problem+json``."""

    type: str = Field(
        default="about:blank",
        description="URI of the kind of problem.",
        examples=["urn:problem-type:nanocxr:not_a_chest"],
    )
    title: str = Field(
        default="", description="The kind of problem in words.", examples=["Not a chest"]
    )
    status: int = Field(ge=400, le=599, description="HTTP status; in a batch, of this one image.")
    detail: str = Field(description="The fact (a DICOM tag, a size) and the remedy, for people.")
    code: str = Field(description="Stable across releases.", examples=["not_a_chest"])
    request_id: str | SkipJsonSchema[None] = Field(
        default=None,
        description="Of the request, as in the header X-Request-Id and in the service's log.",
        examples=["5f0c8c7be2a04f6b8f4b2a2d3c1e9a77"],
    )

    @classmethod
    def of(cls, code: str, status: int, detail: str) -> "Problem":
        """Fill in ``type`` and ``title`` from the code."""
        return cls(
            type=f"urn:problem-type:nanocxr:{code}",
            title=code.replace("_", " ").capitalize(),
            status=status,
            detail=detail,
            code=code,
            request_id=current().id,
        )


class ModelInfo(Wire):
    """The served model."""

    manifest: SentManifest = Field(
        description="manifest.json: input, calibration, operating points, SHA-256s, provenance."
    )
    calibration: CalibrationInUse | SkipJsonSchema[None] = None
    card: str = Field(description="The model card, Markdown.")
    provider: str | SkipJsonSchema[None] = Field(
        default=None,
        description="Execution provider of onnxruntime.",
        examples=["CPUExecutionProvider"],
    )
    intended_use: str = Field(
        default=INTENDED_USE, description="Always the same sentence.", examples=[INTENDED_USE]
    )

    @classmethod
    def from_reader(cls, reader: "Reader") -> "ModelInfo":
        """Describe the model that ``reader`` reads with."""
        calibration = asdict(reader.calibration) | asdict(reader.scaling)
        return cls(
            manifest=reader.manifest,
            calibration=CalibrationInUse.model_validate(
                calibration | {"operating_points": reader.operating_points}
            ),
            card=reader.card,
            provider=reader.provider,
        )

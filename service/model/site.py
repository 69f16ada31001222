"""A site's own calibration of one model: what ``cxr calibrate`` writes, and a reader reads with.

labelled scores -> cxr calibrate -> site.json -> [site] -> bundle -> reader
Temperature, bias and operating points of a model were fitted to synthetic images. Those of a site
were fitted to its own labelled films, and take their place for that very model alone.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import CalibrationMismatch, InvalidCalibration, InvalidManifest
from service.files import sha256
from service.findings.calibration import Calibration, OperatingPoint
from service.model.manifest import Manifest, ModelIdentity

Count = Annotated[int, Field(ge=1)]
Source = Literal["synthetic", "site"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationIdentity:
    """On what the probability of a reading was calibrated.

    Attributes
    ----------
    name
        "synthetic": the model's own; "site": that of a site's films.
    sha256
        Of the site's file; None for the model's own.
    films
        How many films it was fitted to; None for the model's own.
    """

    name: Source
    sha256: str | None = None
    films: int | None = None

    def __str__(self) -> str:
        if self.sha256 is None:
            return self.name
        return f"{self.name} ({self.films} films, SHA-256 {self.sha256[:12]})"


SYNTHETIC = CalibrationIdentity(name="synthetic")


class SiteFile(BaseModel):
    """The file's content: nothing of a patient, and no path.

    Attributes
    ----------
    model
        That gave the scores.
    operating_points
        With what they reached on films that they were not chosen on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    model: ModelIdentity
    calibration: Calibration
    operating_points: Annotated[tuple[OperatingPoint, ...], Field(min_length=1)]
    films: Count
    positives: Count
    date: date
    nanocxr: str

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        names = [point.name for point in self.operating_points]
        if len(set(names)) != len(names):
            raise ValueError(f"operating points repeat a name: {names}")
        if self.positives >= self.films:
            raise ValueError(f"{self.positives} of {self.films} films are positive, not some")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteCalibration:
    """A site's calibration, checked against the model it is for."""

    identity: CalibrationIdentity
    calibration: Calibration
    operating_points: tuple[OperatingPoint, ...]

    @classmethod
    def open(cls, path: Path, manifest: Manifest) -> "SiteCalibration":
        """Read and verify a file of ``cxr calibrate``.

        Raises
        ------
        InvalidCalibration
            If the file cannot be read, is not such a file or contradicts itself, or lacks the
            operating point that decides ``call``.
        CalibrationMismatch
            If it was made with another model.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InvalidCalibration(
                f"Cannot read the calibration {path.name}: {error.strerror}. Set CXR_CALIBRATION "
                "to a file of `cxr calibrate`, or to nothing."
            ) from error
        found = _parse(content, path.name)
        _check_model(found.model, manifest)
        names = [point.name for point in found.operating_points]
        if manifest.default_operating_point not in names:
            raise InvalidCalibration(
                f"The calibration has the operating points {names}, and not the model's default, "
                f"{manifest.default_operating_point!r}. Make it again with `cxr calibrate`."
            )
        return cls(
            identity=CalibrationIdentity(name="site", sha256=sha256(content), films=found.films),
            calibration=found.calibration,
            operating_points=found.operating_points,
        )


def _parse(content: bytes, name: str) -> SiteFile:
    try:
        return SiteFile.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        fault = f"{where}: {first['msg']}"
    except InvalidManifest as error:
        fault = str(error)
    raise InvalidCalibration(
        f"The calibration {name} is not readable: {fault}. Make it again with `cxr calibrate`."
    )


def _check_model(made_with: ModelIdentity, manifest: Manifest) -> None:
    model = manifest.identity
    if made_with.sha256 != model.sha256:
        raise CalibrationMismatch(
            f"The calibration was made with {made_with} (SHA-256 {made_with.sha256[:12]}...), the "
            f"model is {model} ({model.sha256[:12]}...). Score the site's films with this model "
            "and run `cxr calibrate` again, or read without a calibration of the site."
        )

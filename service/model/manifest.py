"""The contract between training and serving: one JSON file beside the weights.

Training writes it once; serving takes every constant from it and verifies every file against it.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from service.errors import InvalidManifest
from service.findings.calibration import Calibration, OperatingPoint
from service.findings.gate import Gate
from service.imaging.standardise import InputSpec

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Which model: of a reading, of scores, of a site's calibration.

    Attributes
    ----------
    sha256
        Of the ONNX graph, hexadecimal.
    """

    name: str
    version: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # where it is read from JSON

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything serving needs to know about one model.

    Attributes
    ----------
    graph
        File name of the ONNX graph beside the manifest.
    sha256
        File name -> SHA-256 in hexadecimal, of every file beside the manifest.
    operating_points
        At least one; names are unique.
    default_operating_point
        Name of the one that decides ``call``.
    heatmap_scale
        Local logit (a heatmap's cell times the number of cells) drawn in the strongest colour.
    provenance
        What training records: config, seed, dataset, software; free-form, JSON values only.
    gate
        What is refused by its pixels; None in a manifest that names no gate: all is read.
    """

    name: str
    version: str
    graph: str
    precision: str
    input: InputSpec
    calibration: Calibration
    operating_points: tuple[OperatingPoint, ...]
    default_operating_point: str
    heatmap_scale: float
    sha256: dict[str, str]
    provenance: dict[str, Any]
    gate: Gate | None = None

    def __post_init__(self) -> None:
        names = [point.name for point in self.operating_points]
        if len(set(names)) != len(names):
            raise InvalidManifest(f"operating points repeat a name: {names}")
        if self.default_operating_point not in names:
            raise InvalidManifest(
                f"default operating point {self.default_operating_point!r} is not one of {names}"
            )
        if not 0 < self.heatmap_scale < math.inf:
            raise InvalidManifest(f"heatmap scale {self.heatmap_scale} is not above 0 and finite")
        if not all(isinstance(digest, str) for digest in self.sha256.values()):
            raise InvalidManifest("a SHA-256 is not a string")
        if self.graph not in self.sha256:
            raise InvalidManifest(f"no SHA-256 for the graph {self.graph!r}")
        if self.gate and self.gate.graph not in self.sha256:
            raise InvalidManifest(f"no SHA-256 for the gate {self.gate.graph!r}")

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return ModelIdentity(name=self.name, version=self.version, sha256=self.sha256[self.graph])

    def to_dict(self) -> dict[str, Any]:
        """JSON values only; what :meth:`to_json` writes."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    def to_json(self) -> str:
        """Serialise; :meth:`from_json` inverts it."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Parse and validate.

        Raises
        ------
        InvalidManifest
            If the text is not JSON, lacks a field, has an unknown one, or contradicts itself.
        """
        try:
            fields = json.loads(text)
            version = fields.pop("schema_version")
            if version != SCHEMA_VERSION:
                raise InvalidManifest(
                    f"manifest schema {version!r} is not {SCHEMA_VERSION}; update nanocxr"
                )
            fields["input"] = InputSpec(**fields["input"])
            fields["calibration"] = Calibration(**fields["calibration"])
            fields["operating_points"] = tuple(
                OperatingPoint(**point) for point in fields["operating_points"]
            )
            if fields.get("gate") is not None:
                fields["gate"] = Gate(**fields["gate"])
            return cls(**fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidManifest(f"manifest is not readable: {error}") from error

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Read ``manifest.json``; raises :class:`InvalidManifest` as :meth:`from_json` does."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InvalidManifest(f"cannot read {path.name}: {error.strerror}") from error
        return cls.from_json(text)

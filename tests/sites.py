"""Files of ``cxr calibrate``."""

import json
from pathlib import Path
from typing import Any

from service.model.manifest import Manifest

POINT = {"name": "balanced", "threshold": 0.25, "sensitivity": 0.75, "specificity": 0.875}
FILMS = 240


def site_fields(model: Path) -> dict[str, Any]:
    """A calibration of the model in this folder."""
    manifest = Manifest.load(model / "manifest.json")
    return {
        "schema_version": 1,
        "model": {
            "name": manifest.name,
            "version": manifest.version,
            "sha256": manifest.identity.sha256,
        },
        "calibration": {"temperature": 3.0, "bias": -0.5},
        "operating_points": [POINT],
        "films": FILMS,
        "positives": 100,
        "date": "2026-11-26",
        "nanocxr": "0.1.0",
    }


def write_site(
    file: Path, model: Path, *, sha256: str | None = None, temperature: float | None = None
) -> None:
    """Write it, with another digest of the model or another temperature."""
    fields = site_fields(model)
    if sha256 is not None:
        fields["model"]["sha256"] = sha256
    if temperature is not None:
        fields["calibration"]["temperature"] = temperature
    file.write_text(json.dumps(fields))

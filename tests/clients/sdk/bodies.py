"""Bodies of successful answers, as the service writes them."""

from base64 import b64encode
from typing import Any

SHA256 = "a" * 64
POINT = {"name": "balanced", "threshold": 0.5, "sensitivity": 0.9, "specificity": 0.9}

FITTED = {"temperature": 3.0, "bias": -0.5, "operating_points": [POINT]}  # of a calibration in use


def reading(probability: float = 0.75, sha256: str = SHA256) -> dict[str, Any]:
    return {
        "probability": probability,
        "familiarity": 0.875,
        "call": "pneumonia" if probability >= 0.5 else "no pneumonia",
        "operating_point": POINT,
        "model": {"name": "default", "version": "1", "sha256": sha256},
        "input": {
            "format": "PNG",
            "rows": 30,
            "columns": 40,
            "view": None,
            "photometric": "L",
        },
        "warnings": [],
    }


def with_heatmap(picture: bytes | None = None) -> dict[str, Any]:
    told = {
        "rows": 1, "columns": 2, "values": [[0.1, 0.25]], "full_scale": 5.0,
        "left": 0, "top": 0, "width": 40, "height": 30,
        "media_type": picture and "image/png",
        "picture": picture and b64encode(picture).decode(),
    }  # fmt: skip
    return reading() | {"heatmap": told}


def model() -> dict[str, Any]:
    return {
        "manifest": {
            "schema_version": 1,
            "name": "default",
            "version": "1",
            "graph": "model.onnx",
            "precision": "int8",
            "input": {"size": 224, "crop": 1.0, "equalise": True, "mean": 0.5, "std": 0.25},
            "calibration": {"temperature": 1.5, "bias": 0.0},
            "operating_points": [POINT],
            "default_operating_point": "balanced",
            "heatmap_scale": 5.0,
            "sha256": {"model.onnx": SHA256},
            "provenance": {"seed": 1},
        },
        "card": "# Card",
    }

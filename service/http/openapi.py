"""The OpenAPI document at /openapi.json and /docs.json: BentoML's endpoints, and this service's.

BentoML describes its native endpoints and mounted FastAPI apps only, so the paths are added here,
with the schemas of service.schemas; this route comes before BentoML's own /docs.json.
"""

from typing import Any

from pydantic.json_schema import models_json_schema

from service.http.problems import FRAMEWORK, MEDIA_TYPE, STATUS
from service.http.query import ExplainQuery, PredictQuery, Query, ViewQuery
from service.imaging.overlay import REDUCED_SIDE
from service.imaging.picture import FORMATS
from service.schemas import INTENDED_USE, ModelInfo, Prediction, PredictionWithHeatmap, Problem
from service.version import VERSION

Json = dict[str, Any]

TAG = {"name": "Readings", "description": "One radiograph in, one reading or one problem out."}
FILE = {"type": "string", "format": "binary", "description": "A DICOM, PNG or JPEG file."}
HEADERS = {
    "X-Probability": "Calibrated probability of pneumonia in [0, 1].",
    "X-Call": "`pneumonia` or `no pneumonia` at the default operating point.",
    "X-Model-Sha256": "SHA-256 of the ONNX graph, hexadecimal.",
    "X-Intended-Use": INTENDED_USE,
}
KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, where the service has any.",
}
ALONE = {
    media_type: {"schema": FILE}
    for media_type in ("application/dicom", "image/png", "image/jpeg", "application/octet-stream")
}
PARAMETERS = {
    "bare": "true: the heatmap alone; false: over the radiograph.",
    "format": "png: exact; jpeg: a tenth of the bytes, and of quality 90. Without it the header "
    "Accept decides between the two.",
    "heatmap": "Add `heatmap` to the answer: array: the network's grid alone; png, jpeg: also the "
    "picture of `/explain`, in base64.",
    "reading": "none: the radiograph alone, also where a reading is refused after decoding.",
    "size": "Of the picture. film: the radiograph's rows and columns; reduced: one pixel for "
    f"2 x 2, 4 x 4 or 8 x 8 of them, as long as the short side keeps {REDUCED_SIDE}, which needs "
    "a picture (at /predict: heatmap=png or jpeg).",
}

GRID = {
    "X-Rows": "Rows of `radiograph` and `heat`; at most 2048.",
    "X-Columns": "Columns of `radiograph` and `heat`; at most 2048.",
}
VIEW = {
    "radiograph": "uint16, little-endian, row by row: 0 black, 65535 white, bone bright.",
    "heat": "uint8, row by row: 255 stands for the full scale of the heatmap.",
    "colours": "uint8, 256 x 3: sRGB of each value of `heat`.",
}


def document(bentoml: Json) -> Json:
    """Add this service's paths and schemas to BentoML's document.

    Parameters
    ----------
    bentoml
        As BentoML generates it; not changed.

    Returns
    -------
    dict
        OpenAPI 3.1, whose schemas are those of JSON Schema, which pydantic writes.
    """
    sent = (ModelInfo, Prediction, PredictionWithHeatmap, Problem)
    _, definitions = models_json_schema(
        [(kind, "serialization") for kind in sent], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "nanocxr",
            "description": f"Pneumonia on frontal chest radiographs. {INTENDED_USE}",
            "version": VERSION,
        },
        "servers": bentoml["servers"],
        "tags": [TAG, *(tag for tag in bentoml["tags"] if tag["name"] == "Infrastructure")],
        "paths": {**_paths(), **bentoml["paths"]},
        "security": [{}, {"key": []}],
        "components": {"schemas": definitions["$defs"], "securitySchemes": {"key": KEY}},
    }


def _paths() -> Json:
    picture = {
        "description": "A picture of the radiograph's rows and columns, or a reduced one.",
        "headers": _headers(HEADERS),
        "content": {
            f"image/{form}": {"schema": {"type": "string", "format": "binary"}} for form in FORMATS
        },
    }
    entry = {"anyOf": [_reference("Prediction"), _reference("Problem")]}
    batch = _json_answer("One entry a file, in order.", {"type": "array", "items": entry})
    either = {"anyOf": [_reference("PredictionWithHeatmap"), _reference("Prediction")]}
    one, reading = {"image": FILE}, _json_answer("The reading.", either)
    return {
        "/predict": _upload(
            "predict",
            "Read one radiograph; with `heatmap`, also say where the evidence lies.",
            one,
            reading,
            parameters=_parameters(PredictQuery),
        ),
        "/explain": _upload(
            "explain",
            "Draw the heatmap of one radiograph.",
            one,
            picture,
            parameters=_parameters(ExplainQuery),
        ),
        "/view": _upload(
            "view",
            "What /ui shows of one radiograph, in one answer.",
            one,
            _view(),
            parameters=_parameters(ViewQuery),
        ),
        "/predict_batch": _upload(
            "predict_batch",
            "Read several radiographs; one refusal does not touch the others.",
            {"images": {"type": "array", "items": FILE, "minItems": 1}},
            batch,
        ),
        "/model": {
            "get": {
                "operationId": "model",
                "tags": [TAG["name"]],
                "summary": "The served model: its manifest and its card.",
                "responses": _answers(
                    _json_answer("The model.", _reference("ModelInfo")),
                    statuses={400, 401, 403, 500, 503},
                ),
            }
        },
    }


def _view() -> Json:
    parts = {
        name: {"type": "string", "format": "binary", "description": text}
        for name, text in VIEW.items()
    }
    return {
        "description": "The reading, and grey values and heat on one grid; with `reading=none` the "
        "grey values alone.",
        "headers": _headers(GRID),
        **_form({"reading": _reference("Prediction"), **parts}, always=["radiograph"]),
    }


def _headers(texts: dict[str, str]) -> Json:
    return {
        name: {"description": text, "schema": {"type": "string"}} for name, text in texts.items()
    }


def _upload(name: str, summary: str, fields: Json, success: Json, **more: Any) -> Json:
    post = {
        "operationId": name,
        "tags": [TAG["name"]],
        "summary": f"{summary} {INTENDED_USE}",
        "requestBody": {"required": True, "content": _form(fields)["content"] | ALONE},
        **more,
        "responses": _answers(success),
    }
    return {"post": post}


def _parameters(kind: type[Query]) -> list[Json]:
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": PARAMETERS[name],
            "schema": {"type": "string", "enum": list(words)},
        }
        for name, words in kind.words().items()
    ]


def _form(fields: Json, always: list[str] | None = None) -> Json:
    """A form with these fields; all are required, or those that ``always`` names."""
    schema = {"type": "object", "required": always or list(fields), "properties": fields}
    return {"content": {"multipart/form-data": {"schema": schema}}}


def _answers(success: Json, statuses: set[int] | None = None) -> Json:
    """Responses by status: the success, and a problem with its possible codes for each error."""
    codes: dict[int, list[str]] = {500: [FRAMEWORK[500][0]]}
    for error, status in STATUS.items():
        codes.setdefault(int(status), []).append(error.code)
    problems = {
        str(status): {
            "description": "Codes: " + ", ".join(f"`{code}`" for code in codes[status]) + ".",
            "content": {MEDIA_TYPE: {"schema": _reference("Problem")}},
        }
        for status in sorted(codes)
        if statuses is None or status in statuses
    }
    return {"200": success, **problems}


def _json_answer(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}

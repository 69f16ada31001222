"""The HTTP endpoints: take the files, have them read, answer.

upload -> admission -> [endpoints] -> schemas
"""

import asyncio

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from service.errors import ReadingError
from service.http.admission import Admission
from service.http.answers import JSON, Leased, json_answer, unless_known
from service.http.limits import File
from service.http.multipart import SEVERAL, write_form
from service.http.openapi import document
from service.http.page import Page
from service.http.problems import problem_of, refuse
from service.http.query import ExplainQuery, PredictQuery, Query, ViewQuery, asked, quality
from service.http.swagger import PAGE, SCRIPT
from service.imaging.overlay import colour_map
from service.imaging.picture import PictureFormat
from service.inference.async_reader import COPIES_SENT
from service.memory import Lease
from service.model.reader import Reading
from service.observe.request import current
from service.schemas import INTENDED_USE, HeatmapFacts, ModelInfo, Prediction, PredictionWithHeatmap

COPIES_IN_JSON = 7  # of a picture: itself, four in base64 (two while JSON grows), two of the answer


def create_app() -> Starlette:
    """Make the ASGI app; it takes its admission from ``app.state.admission``."""
    routes = [
        Route("/predict", predict, methods=["POST"]),
        Route("/explain", explain, methods=["POST"]),
        Route("/view", view, methods=["POST"]),
        Route("/predict_batch", predict_batch, methods=["POST"]),
        Route("/model", model, methods=["GET"]),
        Route("/docs.json", docs, methods=["GET"]),
        Route("/openapi.json", docs, methods=["GET"]),
        Route("/", swagger, methods=["GET"]),
        Route("/docs", swagger, methods=["GET"]),
        Route("/docs.js", swagger_script, methods=["GET"]),
        Route("/ui", to_page, methods=["GET"]),
        Mount("/ui", Page()),
    ]
    app = Starlette(routes=routes, exception_handlers={ReadingError: refuse})
    app.router.redirect_slashes = False  # to an address that the client names
    return app


def _admission(request: Request) -> Admission:
    admission: Admission = request.app.state.admission
    return admission


async def predict(request: Request) -> Response:
    """Read one radiograph, and give its heatmap where it is asked for."""
    admission = _admission(request)
    async with admission.files(request, "image", most=1) as files:
        query, reader = asked(request, PredictQuery), admission.reader
        form = query.heatmap
        if form is None:
            reading = await reader.read(_only(files))
            return json_answer(request, Prediction.from_reading(reading))
        scale = reader.reader.manifest.heatmap_scale
        if form == "array":
            reading = await reader.read(_only(files))
            return json_answer(request, _with_heatmap(reading, HeatmapFacts.of(reading, scale)))
        reading, picture, lease = await reader.explain(
            _only(files), bare=False, form=form, size=query.size, copies=COPIES_IN_JSON
        )
    with lease.handed_on():
        heatmap = HeatmapFacts.of(reading, scale, picture, f"image/{form}")
        body = await asyncio.to_thread(to_json, _with_heatmap(reading, heatmap))
        lease.keep(len(body) * COPIES_SENT)
    return Leased(body, JSON, {}, lease)


async def explain(request: Request) -> Response:
    """Draw the heatmap of one radiograph."""
    admission = _admission(request)
    async with admission.files(request, "image", most=1) as files:
        query = asked(request, ExplainQuery)
        bare, form = query.bare == "true", query.format or _accepted(request)
        reading, picture, lease = await admission.reader.explain(
            _only(files), bare=bare, form=form, size=query.size
        )
    headers = {
        "X-Probability": repr(reading.probability),
        "X-Call": reading.call,
        "X-Model-Sha256": reading.model.sha256,
        "X-Intended-Use": INTENDED_USE,
    }
    return Leased(picture, f"image/{form}", headers, lease)


async def view(request: Request) -> Response:
    """Give the reading, the radiograph and the heat of one file, for the page to show."""
    admission = _admission(request)
    async with admission.files(request, "image", most=1) as files:
        if asked(request, ViewQuery).reading == "none":
            grey, lease = await admission.reader.look(_only(files))
            return _on_screen(grey, {}, lease)
        reading, grey, heat, lease = await admission.reader.view(_only(files))
    told = Prediction.from_reading(reading).model_dump_json().encode()
    parts = {
        "reading": ("application/json", told),
        "heat": ("application/octet-stream", heat.tobytes()),
        "colours": ("application/octet-stream", colour_map().tobytes()),
    }
    return _on_screen(grey, parts, lease)


async def predict_batch(request: Request) -> Response:
    """Read several radiographs; one refusal does not touch the others."""
    admission = _admission(request)
    async with admission.files(request, SEVERAL) as files:
        asked(request, Query)
        current().images = len(files)
        images = [file for file in files if isinstance(file, bytes)]
        answers = iter(await admission.reader.read_batch(images))
    entries = [next(answers) if isinstance(file, bytes) else file for file in files]
    return json_answer(request, [_entry(entry) for entry in entries])


async def model(request: Request) -> Response:
    """Describe the served model."""
    asked(request, Query)
    return unless_known(request, ModelInfo.from_reader(_admission(request).reader.reader))


async def docs(request: Request) -> Response:
    """Describe the endpoints, BentoML's own included, as OpenAPI."""
    return json_answer(request, document(request.app.state.bentoml_openapi))


async def swagger(_: Request) -> Response:
    """Show the endpoints to people."""
    return HTMLResponse(PAGE)


async def swagger_script(_: Request) -> Response:
    """Start Swagger UI."""
    return Response(SCRIPT, media_type="text/javascript")


async def to_page(_: Request) -> Response:
    """Send browsers from /ui to /ui/: relative, so that a proxy may add a prefix."""
    return RedirectResponse("ui/")


def _on_screen(
    grey: NDArray[np.uint16], parts: dict[str, tuple[str, bytes]], lease: Lease
) -> Leased:
    """A form with the grey values and what else there is of them."""
    radiograph = ("application/octet-stream", grey.astype("<u2").tobytes())
    body, media_type = write_form({"radiograph": radiograph} | parts)
    rows, columns = grey.shape
    headers = {"X-Rows": str(rows), "X-Columns": str(columns), "Cache-Control": "no-store"}
    return Leased(body, media_type, headers, lease)


def _only(files: list[File]) -> bytes:
    (file,) = files
    if isinstance(file, ReadingError):
        raise file
    return file


def _entry(entry: Reading | ReadingError) -> BaseModel:
    if isinstance(entry, ReadingError):
        return problem_of(entry)
    return Prediction.from_reading(entry)


def _with_heatmap(reading: Reading, heatmap: HeatmapFacts) -> PredictionWithHeatmap:
    return PredictionWithHeatmap(**dict(Prediction.from_reading(reading)), heatmap=heatmap)


def _accepted(request: Request) -> PictureFormat:
    """What the header Accept wants: a JPEG where it is preferred."""
    accept = request.headers.get("accept", "")
    return "jpeg" if quality(accept, "image/jpeg") > quality(accept, "image/png") else "png"

"""The HTTP endpoints: take the files, have them read, answer.

upload -> admission -> [endpoints] -> schemas
"""

from collections.abc import Mapping

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from service.errors import InvalidParameter, ReadingError
from service.http.admission import Admission
from service.http.multipart import File, write_form
from service.http.openapi import PAGE, document
from service.http.page import Page
from service.http.problems import problem_of, refuse
from service.imaging.overlay import FORMATS, PictureFormat, colour_map
from service.memory import Lease
from service.model.reader import Reading
from service.observe.request import current
from service.schemas import INTENDED_USE, ModelInfo, Prediction


class Leased(Response):
    """An answer whose memory is accounted for until it is sent, or cannot be."""

    def __init__(
        self, content: bytes, media_type: str, headers: Mapping[str, str], lease: Lease
    ) -> None:
        super().__init__(content, headers=headers, media_type=media_type)
        self._lease = lease

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._lease:
            await super().__call__(scope, receive, send)


def create_app() -> Starlette:
    """Make the ASGI app; it takes its admission from ``app.state.admission``."""
    routes = [
        Route("/predict", predict, methods=["POST"]),
        Route("/explain", explain, methods=["POST"]),
        Route("/view", view, methods=["POST"]),
        Route("/predict_batch", predict_batch, methods=["POST"]),
        Route("/model", model, methods=["GET"]),
        Route("/docs.json", docs, methods=["GET"]),
        Route("/", swagger, methods=["GET"]),
        Route("/ui", to_page, methods=["GET"]),
        Mount("/ui", Page()),
    ]
    return Starlette(routes=routes, exception_handlers={ReadingError: refuse})


def _admission(request: Request) -> Admission:
    admission: Admission = request.app.state.admission
    return admission


async def predict(request: Request) -> Response:
    """Read one radiograph."""
    admission = _admission(request)
    async with admission.files(request, "image", most=1) as files:
        reading = await admission.reader.read(_only(files))
    return _json(Prediction.from_reading(reading))


async def explain(request: Request) -> Response:
    """Draw the heatmap of one radiograph."""
    admission = _admission(request)
    async with admission.files(request, "image", most=1) as files:
        bare, form = _flag(request, "bare"), _format(request)
        reading, picture, lease = await admission.reader.explain(_only(files), bare=bare, form=form)
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
        reading, grey, heat, lease = await admission.reader.view(_only(files))
    told = Prediction.from_reading(reading).model_dump_json().encode()
    body, media_type = write_form(
        {
            "reading": ("application/json", told),
            "radiograph": ("application/octet-stream", grey.astype("<u2").tobytes()),
            "heat": ("application/octet-stream", heat.tobytes()),
            "colours": ("application/octet-stream", colour_map().tobytes()),
        }
    )
    rows, columns = grey.shape
    headers = {"X-Rows": str(rows), "X-Columns": str(columns), "Cache-Control": "no-store"}
    return Leased(body, media_type, headers, lease)


async def predict_batch(request: Request) -> Response:
    """Read several radiographs; one refusal does not touch the others."""
    admission = _admission(request)
    async with admission.files(request, "images") as files:
        current().images = len(files)
        images = [file for file in files if isinstance(file, bytes)]
        answers = iter(await admission.reader.read_batch(images))
    entries = [next(answers) if isinstance(file, bytes) else file for file in files]
    return JSONResponse([_entry(entry).model_dump(mode="json") for entry in entries])


async def model(request: Request) -> Response:
    """Describe the served model."""
    return _json(ModelInfo.from_reader(_admission(request).reader.reader))


async def docs(request: Request) -> Response:
    """Describe the endpoints, BentoML's own included, as OpenAPI."""
    return JSONResponse(document(request.app.state.bentoml_openapi))


async def swagger(_: Request) -> Response:
    """Show the endpoints to people."""
    return HTMLResponse(PAGE)


async def to_page(_: Request) -> Response:
    """Send browsers from /ui to /ui/: relative, so that a proxy may add a prefix."""
    return RedirectResponse("ui/")


def _only(files: list[File]) -> bytes:
    (file,) = files
    if isinstance(file, ReadingError):
        raise file
    return file


def _entry(entry: Reading | ReadingError) -> BaseModel:
    if isinstance(entry, ReadingError):
        return problem_of(entry)
    return Prediction.from_reading(entry)


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "false")
    if value not in {"true", "false"}:
        raise InvalidParameter(f"The query parameter {name!r} is true or false.")
    return value == "true"


def _format(request: Request) -> PictureFormat:
    wanted = request.query_params.get("format", "png")
    for known in FORMATS:
        if known == wanted:
            return known
    raise InvalidParameter("The query parameter 'format' is png or jpeg.")


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")

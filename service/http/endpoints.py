"""The HTTP endpoints: take the files, let the Reader read them in a thread, answer.

upload -> [endpoints] -> schemas
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio.to_thread
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from service.errors import InvalidParameter, ModelUnavailable, ReadingError, ServiceBusy
from service.http.openapi import PAGE, document
from service.http.problems import problem_of, refuse
from service.http.upload import File, UploadLimits, UploadMemory, read_files
from service.model.reader import Reader, Reading
from service.model.session import cores
from service.schemas import INTENDED_USE, ModelInfo, Prediction
from service.settings import Settings

# Waiting for a free thread; with the time for an upload and for the longest batch it stays within
# the time after which BentoML would answer 504 with a body of its own.
QUEUE_SECONDS = 120.0

T = TypeVar("T")


class Desk:
    """Where requests come in: the reader, and the bounds on what is under way at once.

    Parameters
    ----------
    reader
        Or why there is none; every request then gets that answer.
    settings
        Bounds on uploads.
    """

    def __init__(self, reader: Reader | ModelUnavailable, settings: Settings) -> None:
        self._reader = reader
        self._settings = settings
        self._memory = UploadMemory(settings.max_upload_bytes)
        self._under_way = 0
        # As many readings at once as cores: one decodes while another one infers.
        self._threads = asyncio.Semaphore(cores())

    @property
    def reader(self) -> Reader:
        """The reader; raises ModelUnavailable where there is none."""
        if isinstance(self._reader, ModelUnavailable):
            raise self._reader.with_traceback(None)
        return self._reader

    @asynccontextmanager
    async def files(
        self, request: Request, field: str, most: int | None = None
    ) -> AsyncIterator[list[File]]:
        """Hold the files of a request, at most ``most`` of them (by default a batch)."""
        if self._under_way >= self._settings.max_requests:
            raise ServiceBusy("Too many requests at once. Send the request again later.")
        limits = UploadLimits(
            file_bytes=self._settings.limits.max_bytes, files=most or self._settings.max_batch
        )
        self._under_way += 1
        try:
            with self._memory.share() as share:
                yield await read_files(request, field, limits, share)
        finally:
            self._under_way -= 1

    async def work(self, task: Callable[[], T]) -> T:
        """Run a reading in a thread; the event loop stays free to answer /livez."""
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await self._threads.acquire()
        except TimeoutError:
            raise ServiceBusy("Other readings took too long. Send it again later.") from None
        try:
            return await anyio.to_thread.run_sync(task)
        finally:
            self._threads.release()


def create_app() -> Starlette:
    """Make the ASGI app; :func:`furnish` gives it the desk before the first request."""
    routes = [
        Route("/predict", predict, methods=["POST"]),
        Route("/explain", explain, methods=["POST"]),
        Route("/predict_batch", predict_batch, methods=["POST"]),
        Route("/model", model, methods=["GET"]),
        Route("/docs.json", docs, methods=["GET"]),
        Route("/", page, methods=["GET"]),
    ]
    return Starlette(routes=routes, exception_handlers={ReadingError: refuse})


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


async def predict(request: Request) -> Response:
    """Read one radiograph."""
    desk = _desk(request)
    reader = desk.reader
    async with desk.files(request, "image", most=1) as files:
        image = _only(files)
        reading = await desk.work(lambda: reader.read(image))
    return _json(Prediction.from_reading(reading))


async def explain(request: Request) -> Response:
    """Draw the heatmap of one radiograph."""
    desk = _desk(request)
    reader, bare = desk.reader, _flag(request, "bare")
    async with desk.files(request, "image", most=1) as files:
        image = _only(files)
        reading, png = await desk.work(lambda: reader.explain(image, bare=bare))
    headers = {
        "X-Probability": repr(reading.probability),
        "X-Call": reading.call,
        "X-Model-Sha256": reading.model.sha256,
        "X-Intended-Use": INTENDED_USE,
    }
    return Response(png, media_type="image/png", headers=headers)


async def predict_batch(request: Request) -> Response:
    """Read several radiographs; one refusal does not touch the others."""
    desk = _desk(request)
    reader = desk.reader
    async with desk.files(request, "images") as files:
        images = [file for file in files if isinstance(file, bytes)]
        answers = iter(await desk.work(lambda: reader.read_batch(images)))
    entries = [next(answers) if isinstance(file, bytes) else file for file in files]
    return JSONResponse([_entry(entry).model_dump(mode="json") for entry in entries])


async def model(request: Request) -> Response:
    """Describe the served model."""
    return _json(ModelInfo.from_reader(_desk(request).reader))


async def docs(request: Request) -> Response:
    """Describe the endpoints, BentoML's own included, as OpenAPI."""
    return JSONResponse(document(request.app.state.bentoml_openapi))


async def page(_: Request) -> Response:
    """Show the endpoints to people."""
    return HTMLResponse(PAGE)


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


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")

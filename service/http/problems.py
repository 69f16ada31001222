"""From an error to an RFC 9457 problem; no other error body leaves the service.

Research software, not a medical device.
"""

import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import errors
from service.errors import ModelUnavailable, ReadingError
from service.observe import metrics
from service.observe.request import current
from service.schemas import Problem

logger = logging.getLogger("nanocxr")

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1

# Every error that is raised; the bases between ReadingError and these are only there to be caught.
STATUS: Mapping[type[ReadingError], HTTPStatus] = {
    errors.NotAnImage: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.TruncatedImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.CorruptImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NoPixelData: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnsupportedTransferSyntax: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.DecoderCrashed: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.DecodeTimeout: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.MultipleFrames: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnsupportedModality: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotAChest: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotFrontal: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnfamiliarImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooSmall: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnsupportedPixels: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooManyBytes: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.TooManyPixels: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.MalformedBody: HTTPStatus.BAD_REQUEST,
    errors.InvalidParameter: HTTPStatus.BAD_REQUEST,
    errors.MissingImage: HTTPStatus.BAD_REQUEST,
    errors.NotAFile: HTTPStatus.BAD_REQUEST,
    errors.TooManyImages: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UploadTimeout: HTTPStatus.REQUEST_TIMEOUT,
    errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    errors.KeysRequired: HTTPStatus.FORBIDDEN,
    errors.ServiceBusy: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ModelUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ModelCorrupt: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ModelUnsigned: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ModelSignatureInvalid: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.InvalidManifest: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.InvalidCalibration: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.CalibrationMismatch: HTTPStatus.SERVICE_UNAVAILABLE,
}

# What the frameworks below answer themselves: status -> code and detail.
FRAMEWORK = {
    404: ("not_found", "There is nothing at this path. /docs.json lists the endpoints."),
    405: ("method_not_allowed", "This path takes another method; see the header Allow."),
    500: ("internal_error", "The service failed on this request; its log says why."),
    503: ("not_ready", "The service is not ready to read; its log says why."),
}


def problem_of(error: ReadingError) -> Problem:
    """The wire form of a refusal, with its status; counts it."""
    metrics.PROBLEMS.labels(error.code).inc()
    return Problem.of(error.code, STATUS[type(error)], str(error))


def refuse(_: Request, error: Exception) -> Response:
    """Answer a ReadingError; Starlette calls this for every one that an endpoint raises."""
    if not isinstance(error, ReadingError):
        raise error
    response = problem_response(problem_of(error))
    if isinstance(error, errors.ServiceBusy):
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    if isinstance(error, errors.UploadTimeout):  # whoever goes on sending would keep the connection
        response.headers["Connection"] = "close"
    return response


def problem_response(problem: Problem) -> Response:
    """The HTTP response with this problem and its status."""
    current().code = problem.code
    return Response(problem.model_dump_json(), status_code=problem.status, media_type=MEDIA_TYPE)


def _framework_problem(status: int) -> Problem:
    if status in FRAMEWORK:
        code, detail = FRAMEWORK[status]
    else:
        code, detail = f"http_{status}", f"The request failed with status {status}."
    return Problem.of(code, status, detail)


class ProblemMiddleware:
    """Replace every error body that is not a problem, and turn any exception into one.

    BentoML answers with an object, with a list or with plain text, Starlette with plain text; none
    of it reaches the client. The other headers of such an answer (Allow, Retry-After) stay.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:  # noqa: BLE001  the last place that can turn it into an answer
            if isinstance(error, ModelUnavailable) and not answer.started:  # /readyz, of BentoML
                await refuse(Request(scope), error)(scope, receive, send)
                return
            _log(error)
            if not answer.started:
                await answer.replace(HTTPStatus.INTERNAL_SERVER_ERROR, None)


class _Answer:
    """The response of one request on its way out."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._replaced = False
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            foreign = not headers.get("content-type", "").startswith(MEDIA_TYPE)
            if message["status"] >= 400 and foreign:
                await self.replace(message["status"], headers)
                return
            self.started = True
        if not self._replaced:
            await self._send(message)

    async def replace(self, status: int, headers: MutableHeaders | None) -> None:
        """Send a problem instead of what the framework was about to send."""
        self.started = self._replaced = True
        response = problem_response(_framework_problem(status))
        for name, value in (headers or {}).items():
            if name not in {"content-length", "content-type"}:
                response.headers[name] = value
        await self._send(
            {"type": "http.response.start", "status": status, "headers": response.raw_headers}
        )
        await self._send({"type": "http.response.body", "body": response.body})


def _log(error: Exception) -> None:
    """Log where it happened, but not the message: it may quote a value of the file."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("request failed with %s\n%s", type(error).__name__, where)

"""What a client raises.

ChestXrayError
├── ServiceUnreachable    no connection, or no answer in time
├── ServiceBusy           429, or 503 of a busy service, still so after the last retry
├── AccessDenied          401 or 403: the API key is missing or not valid
├── ImageRefused          4xx: ``status``, stable ``code``, ``detail``; the image must change
└── ServiceFailed         5xx, a service without a usable model among them, or an answer that is
                          not this service's; ``status``, ``code``
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx

from clients.sdk.problems import describe
from service.errors import ModelUnavailable
from service.schemas import Prediction, Problem

BUSY = (429, 503)
# Until somebody mends the service: to ask again is of no use.
NO_MODEL = frozenset(
    {ModelUnavailable.code, *(kind.code for kind in ModelUnavailable.__subclasses__())}
)
DENIED = (401, 403)
ABOUT_THE_IMAGE = (413, 415, 422)  # whoever in front of the service says so


class ChestXrayError(Exception):
    """Base of everything a client raises.

    Attributes
    ----------
    results
        Of ``predict_batch``: of the images before those whose request failed.
    """

    results: Sequence[Prediction | Problem] = ()


class ServiceUnreachable(ChestXrayError):
    """No connection, or no complete answer in time."""


class _ErrorAnswer(ChestXrayError):
    """An answer that is an error."""

    def __init__(self, message: str, *, status: int, code: str, detail: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.detail = detail


class ServiceBusy(_ErrorAnswer):
    """429, or 503 of a busy service, after the last retry."""


class AccessDenied(_ErrorAnswer):
    """401 or 403; the service wants another API key, or is set up to refuse everybody."""


class ImageRefused(_ErrorAnswer):
    """The service answered, and the image is not one it reads."""


class ServiceFailed(_ErrorAnswer):
    """The service, or something in front of it, is broken or is another service."""


@contextmanager
def handing_over(results: Sequence[Prediction | Problem]) -> Iterator[None]:
    """Let an error of the client bring what was read before it."""
    try:
        yield
    except ChestXrayError as error:
        error.results = results
        raise


def unreachable(error: httpx.HTTPError, address: httpx.URL) -> ServiceUnreachable:
    """Tell of a request without an answer."""
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):  # asyncio's has no message
        reason = "timed out"
    elif isinstance(error, httpx.LocalProtocolError):  # quotes headers, and so the API key
        reason = "the request cannot be sent"
    return ServiceUnreachable(f"No answer from {address}: {reason}. Is the service running there?")


def foreign(answer: httpx.Response, fact: str) -> ServiceFailed:
    """Tell of a successful answer that this service does not give."""
    return ServiceFailed(
        f"The answer of {answer.url} is not this service's: {fact}. Is the address right?",
        status=answer.status_code,
        code="foreign_answer",
        detail=fact,
    )


def is_busy(answer: httpx.Response) -> bool:
    """Whether the same request may succeed later; also what a proxy in front says counts."""
    return answer.status_code in BUSY and describe(answer.content)[0] not in NO_MODEL


def refusal(answer: httpx.Response) -> ChestXrayError:
    """Tell of an answer that is an error, whoever gave it."""
    status = answer.status_code
    known, detail = describe(answer.content)
    code = known or f"http_{status}"
    kind: type[_ErrorAnswer] = ServiceFailed
    message = f"{code}: {detail}"
    if is_busy(answer):
        kind, message = ServiceBusy, f"The service is busy ({status}): {detail}"
    elif status in DENIED:
        kind = AccessDenied
    elif 400 <= status < 500 and (known or status in ABOUT_THE_IMAGE):
        kind = ImageRefused
    else:
        message = f"{answer.url} answered {status}: {detail}"
    return kind(message, status=status, code=code, detail=detail)

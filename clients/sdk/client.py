"""Ask a running service for readings.

ChestXrayError
├── ServiceUnreachable    no connection, or no answer in time
├── ServiceBusy           429 or 503, still so after the last retry
├── AccessDenied          401 or 403: the API key is missing or not valid
├── ImageRefused          4xx: ``status``, stable ``code``, ``detail``; the image must change
└── ServiceFailed         5xx, or an answer that is not this service's; ``status``, ``code``

Research software, not a medical device.

    with ChestXrayClient("http://localhost:3000") as client:
        print(client.predict(Path("chest.dcm")).probability)

Retried: 429, 503 and failed connections, with exponential backoff and jitter, or as long as
``Retry-After`` asks for. Nothing else is sent twice. The name of a file is never sent: it may
identify a patient.
"""

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from clients.sdk.problems import describe
from clients.sdk.results import ModelInfo, Prediction, Problem

PROBABILITY_HEADER = "X-Probability"
CONNECT_SECONDS = 5.0
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60.0
BUSY = (429, 503)
DENIED = (401, 403)
ABOUT_THE_IMAGE = (413, 415, 422)  # whoever in front of the service says so

Image = bytes | Path
T = TypeVar("T")
Entry = Prediction | Problem


class ChestXrayError(Exception):
    """Base of everything this module raises."""


class ServiceUnreachable(ChestXrayError):
    """No connection, or no complete answer in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    status: int
    code: str
    detail: str


class _Answered(ChestXrayError):
    """An answer that is an error."""

    def __init__(self, message: str, facts: _Facts) -> None:
        super().__init__(message)
        self.status = facts.status
        self.code = facts.code
        self.detail = facts.detail


class ServiceBusy(_Answered):
    """429 or 503 after the last retry."""


class AccessDenied(_Answered):
    """401 or 403; the service wants another API key, or is set up to refuse everybody."""


class ImageRefused(_Answered):
    """The service answered, and the image is not one it reads."""


class ServiceFailed(_Answered):
    """The service, or something in front of it, is broken or is another service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A heatmap on the radiograph's own pixel grid.

    Attributes
    ----------
    picture
        A PNG or JPEG file: the overlay, or the heatmap alone where ``bare`` was asked for.
    probability
        Calibrated probability of pneumonia in [0, 1].
    """

    picture: bytes
    probability: float


class ChestXrayClient:
    """A connection to one service; safe to share between threads.

    Parameters
    ----------
    url
        Address of the service, e.g. ``http://localhost:3000``.
    timeout
        Seconds to wait for each answer; connecting has 5 of its own.
    retries
        How often a busy or unreachable service is asked again.
    api_key
        Sent with every request; by default what the environment variable ``CXR_API_KEY`` holds.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 60.0,
        retries: int = 3,
        api_key: str | None = None,
    ) -> None:
        self._retries = retries
        key = os.environ.get("CXR_API_KEY", "") if api_key is None else api_key
        self._http = httpx.Client(
            base_url=url,
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            headers={"Accept": "application/json, application/problem+json, image/png"}
            | ({"Authorization": f"Bearer {key}"} if key else {}),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(self, image: Image) -> Prediction:
        """Read one radiograph.

        Parameters
        ----------
        image
            Bytes of a DICOM, PNG or JPEG file, or the path of one.

        Raises
        ------
        ChestXrayError
            One of those in this module's tree.
        """
        answer = self._send("POST", "/predict", files=[_part("image", image)])
        return _parse(TypeAdapter(Prediction), answer)

    def predict_batch(self, images: Sequence[Image]) -> list[Entry]:
        """Read several radiographs in one request; entry i is a reading or the problem of image i.

        Raises
        ------
        ChestXrayError
            If the whole request failed, e.g. for more images than the service takes at once.
        """
        if not images:
            return []
        parts = [_part("images", image) for image in images]
        answer = self._send("POST", "/predict_batch", files=parts)
        entries = _parse(TypeAdapter(list[Prediction | Problem]), answer)
        if len(entries) != len(images):
            raise _foreign(answer, f"{len(entries)} entries for {len(images)} images")
        return entries

    def explain(
        self, image: Image, *, bare: bool = False, form: Literal["png", "jpeg"] = "png"
    ) -> Explanation:
        """Draw where the evidence lies; ``bare`` leaves the radiograph out of the picture.

        JPEG, with a tenth of the bytes, is for looking at; PNG is exact.
        """
        wanted = {"bare": str(bare).lower(), "format": form}
        answer = self._send("POST", "/explain", files=[_part("image", image)], params=wanted)
        try:
            probability = float(answer.headers[PROBABILITY_HEADER])
        except (KeyError, ValueError):
            raise _foreign(answer, f"no number in the header {PROBABILITY_HEADER}") from None
        return Explanation(picture=answer.content, probability=probability)

    def model(self) -> ModelInfo:
        """Ask which model is served: its manifest and its card."""
        return _parse(TypeAdapter(ModelInfo), self._send("GET", "/model"))

    def ready(self) -> bool:
        """Whether the service is up and has its model; asks once, never raises."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.HTTPError:
            return False

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                answer = self._http.request(method, path, **request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if last:
                    raise self._unreachable(error) from error
                time.sleep(wait_seconds(attempt, None))
                continue
            except httpx.HTTPError as error:
                raise self._unreachable(error) from error
            if answer.is_success:
                return answer
            wait = wait_seconds(attempt, answer.headers.get("Retry-After"))
            if answer.status_code not in BUSY or last or wait > LONGEST_WAIT_SECONDS:
                raise _refusal(answer)
            time.sleep(wait)
        raise ValueError(f"retries is {self._retries}; it must be at least 0")

    def _unreachable(self, error: httpx.HTTPError) -> ServiceUnreachable:
        reason = str(error) or type(error).__name__
        return ServiceUnreachable(
            f"No answer from {self._http.base_url}: {reason}. Is the service running there?"
        )


def wait_seconds(attempt: int, retry_after: str | None) -> float:
    """Seconds to wait after the given attempt (0 is the first).

    ``retry_after`` is the header's value, seconds or an HTTP date (RFC 9110, 10.2.3); without a
    usable one the wait doubles from 0.5 s, cut to 60 s, of which a random part is taken off.
    """
    if retry_after is not None:
        if retry_after.strip().isdecimal():
            return float(retry_after)
        try:
            when = parsedate_to_datetime(retry_after)
        except ValueError:
            pass
        else:
            return max(0.0, (when.astimezone(UTC) - datetime.now(UTC)).total_seconds())
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0**attempt)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  spreads clients, hides nothing


def _part(field: str, image: Image) -> tuple[str, tuple[str, bytes, str]]:
    content = image if isinstance(image, bytes) else image.read_bytes()
    return field, ("image", content, "application/octet-stream")


def _parse(adapter: TypeAdapter[T], answer: httpx.Response) -> T:
    try:
        return adapter.validate_json(answer.content)
    except ValidationError as error:
        raise _foreign(answer, f"{error.error_count()} fields are missing or wrong") from error


def _foreign(answer: httpx.Response, fact: str) -> ServiceFailed:
    message = f"The answer of {answer.url} is not this service's: {fact}. Is the address right?"
    return ServiceFailed(
        message, _Facts(status=answer.status_code, code="foreign_answer", detail=fact)
    )


def _refusal(answer: httpx.Response) -> _Answered:
    status = answer.status_code
    code, detail = describe(answer.content)
    facts = _Facts(status=status, code=code or f"http_{status}", detail=detail)
    if status in BUSY:
        return ServiceBusy(f"The service is busy ({status}): {detail}", facts)
    if status in DENIED:
        return AccessDenied(f"{facts.code}: {detail}", facts)
    if 400 <= status < 500 and (code or status in ABOUT_THE_IMAGE):
        return ImageRefused(f"{facts.code}: {detail}", facts)
    return ServiceFailed(f"{answer.url} answered {status}: {detail}", facts)

"""Google's image models through google-genai; the only file that imports it.

Every error of the SDK leaves here as one of :mod:`training.generate.nanobanana.faults`, without
the key: it comes from the environment and goes nowhere but to the service.
"""

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import httpx
from google import genai
from google.auth.exceptions import GoogleAuthError
from google.genai import errors, types
from pydantic import ValidationError

from training.generate.delivered import UNDECODABLE
from training.generate.nanobanana.faults import (
    Refused,
    ServiceFailed,
    Transient,
    Unusable,
    pause_asked_for,
)
from training.generate.nanobanana.settings import NanoBananaSettings

Answer = TypeVar("Answer")

KEYS = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
_LONGEST_REASON = 300  # characters: a proxy answers with a page of HTML
# No request was sent, so nothing can be billed.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
# What the SDK stumbles over in JSON of another form than an answer has.
_ANOTHER_FORM = (AttributeError, LookupError, TypeError, ValueError)
# Outlast no single look: with these states a batch job will not change any more.
_ENDED = {"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One delivered image, as it came, and the version of the model that says it drew it.

    ``others`` are further images of the same answer, which are none of its drafts.
    """

    content: bytes
    model_version: str
    others: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A batch job; ``results`` is the name of its result file, once there is one."""

    name: str
    state: str
    results: str | None

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.state in _ENDED


@contextmanager
def _translated() -> Iterator[None]:
    """What the SDK raises becomes one of ours."""
    try:
        yield
    except errors.APIError as error:
        reason = _without_keys(f"{error.code} {error.status}: {error.message}")[:_LONGEST_REASON]
        if error.code < 400:
            raise Transient(f"answer {error.code} instead of 200", accepted=True) from None
        if error.code in (408, 429) or error.code >= 500:
            headers = getattr(error.response, "headers", None) or {}
            pause = pause_asked_for(error.details, headers)
            raise Transient(reason, pause) from None
        raise ServiceFailed(reason) from None
    except ValidationError as error:
        raise _invalid(error) from None
    except (json.JSONDecodeError, errors.UnknownApiResponseError):
        raise Transient("an answer that is no JSON", accepted=True) from None
    except _NOT_SENT as error:
        raise Transient(f"no connection ({type(error).__name__})") from None
    except (httpx.RequestError, TimeoutError) as error:
        raise Transient(f"no answer ({type(error).__name__})", paid=True) from None
    except GoogleAuthError as error:
        raise ServiceFailed(_without_keys(str(error))) from None
    except _ANOTHER_FORM:
        raise Transient("an answer of another form", accepted=True) from None


def _invalid(error: ValidationError) -> Refused | Transient:
    """An image in base64 that is none was delivered, and is paid; all else is no answer."""
    for fault in error.errors(include_url=False):
        if fault["loc"][-1:] == ("data",):
            return Unusable(UNDECODABLE, str(fault["input"]).encode())
    return Transient("an answer of another form", accepted=True)


class Gemini:
    """The service. Raises :class:`ServiceFailed` where there is no way to log in.

    Whole answers are waited for in an event loop: the HTTP library's own time-out is for each read,
    and a server that sends a byte now and then would never meet it.
    """

    def __init__(self, settings: NanoBananaSettings) -> None:
        self._model = settings.model
        self._timeout = settings.timeout
        self._config = types.GenerateContentConfig(
            response_modalities=["IMAGE"],
            image_config=types.ImageConfig(
                aspect_ratio=settings.aspect_ratio, image_size=settings.image_size
            ),
        )
        if not settings.vertex and not any(os.environ.get(name) for name in KEYS):
            raise ServiceFailed(
                f"there is no key: set {' or '.join(reversed(KEYS))} in the environment"
            )
        limits = httpx.Limits(max_connections=settings.concurrency)
        self._http = httpx.AsyncClient(limits=limits, follow_redirects=False)
        options = types.HttpOptions(
            timeout=round(settings.timeout * 1000),
            # Objects of httpx choose it among the SDK's HTTP libraries; with aiohttp the SDK sends
            # a request again by itself. One that follows a redirect may be paid for twice, too.
            client_args={"limits": limits},
            httpx_async_client=self._http,
        )
        try:
            self._client = genai.Client(enterprise=settings.vertex, http_options=options)
        except (ValueError, GoogleAuthError) as error:
            raise ServiceFailed(_without_keys(str(error))) from None
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="gemini", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the connections."""
        self._whole(self._http.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._client.close()

    def _whole(self, answer: Coroutine[Any, Any, Answer]) -> Answer:
        """Wait for a whole answer; raises TimeoutError where it takes longer than allowed."""
        bounded = asyncio.wait_for(answer, self._timeout)
        return asyncio.run_coroutine_threadsafe(bounded, self._loop).result()

    @_translated()
    def check_model(self) -> None:
        """Raise :class:`ServiceFailed` with the models there are, unless ours is among them."""
        known = self._whole(self._models())
        if self._model not in known:
            drawing = sorted(name for name in known if "image" in name or "banana" in name)
            raise ServiceFailed(
                f"the service has no model {self._model!r}; models that draw: "
                f"{', '.join(drawing) or 'none'}. Choose one with --model."
            )

    async def _models(self) -> set[str]:
        models = await self._client.aio.models.list()
        return {(model.name or "").rpartition("/")[2] async for model in models}

    @_translated()
    def draw(self, prompt: str) -> Drawing:
        """Ask for one image; raises Refused, Transient or ServiceFailed."""
        answer = self._client.aio.models.generate_content(
            model=self._model, contents=prompt, config=self._config
        )
        return _drawing(self._whole(answer))

    @_translated()
    def submit(self, title: str, prompts: Mapping[str, str]) -> Job:
        """Start a batch job over prompts by key.

        The requests go up as a JSON-lines file, and so come the results: inline they would have to
        stay below 20 MB, which a dozen images exceed.
        """
        config = self._config.model_dump(mode="json", by_alias=True, exclude_none=True)
        lines = [
            {
                "key": key,
                "request": {
                    "contents": [{"role": "user", "parts": [{"text": prompt}]}],
                    "generationConfig": config,
                },
            }
            for key, prompt in prompts.items()
        ]
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        uploaded = self._client.files.upload(
            file=BytesIO(content),
            config=types.UploadFileConfig(display_name=title, mime_type="jsonl"),
        )
        job = self._client.batches.create(
            model=self._model,
            src=str(uploaded.name),
            config=types.CreateBatchJobConfig(display_name=title),
        )
        return _job(job)

    @_translated()
    def job(self, name: str) -> Job:
        """Look at a job."""
        return _job(self._whole(self._client.aio.batches.get(name=name)))

    @_translated()
    def find_job(self, title: str) -> Job | None:
        """Look for a job that was started under this title."""
        return self._whole(self._found(title))

    async def _found(self, title: str) -> Job | None:
        async for job in await self._client.aio.batches.list():
            if job.display_name == title:
                return _job(job)
        return None

    @_translated()
    def fetch(self, job: Job, path: Path) -> None:
        """Download the results of a job that has any."""
        self._client.files.download(file=str(job.results), destination=str(path))


def read_results(path: Path) -> Iterator[tuple[str, Callable[[], Drawing]]]:
    """Yield key and answer of every line of a result file.

    Calling the answer returns the image or raises :class:`Refused`, or :class:`Transient` where
    the line is an error of the service instead of an answer. A line that cannot be read has the key
    "".
    """
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
                yield str(entry.get("key", "")), partial(_answer, entry)
            except (AttributeError, json.JSONDecodeError):
                yield "", partial(_answer, {})


@_translated()
def _answer(entry: Mapping[str, Any]) -> Drawing:
    if "response" not in entry:
        raise Transient(f"error {entry.get('error', {}).get('code', 'unknown')} in the batch")
    return _drawing(types.GenerateContentResponse.model_validate(_known(entry["response"])))


def _known(response: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what we read of an answer: the SDK's types forbid fields that are newer than they."""
    candidates = []
    for candidate in response.get("candidates", []):
        parts = [
            {
                "text": part.get("text"),
                "thought": part.get("thought"),
                "inlineData": {"data": part["inlineData"].get("data")}
                if "inlineData" in part
                else None,
            }
            for part in candidate.get("content", {}).get("parts", [])
        ]
        finish = candidate.get("finishReason")
        candidates.append({"content": {"parts": parts}, "finishReason": finish})
    reason = response.get("promptFeedback", {}).get("blockReason")
    return {
        "candidates": candidates,
        "promptFeedback": {"blockReason": reason},
        "modelVersion": response.get("modelVersion"),
    }


def _drawing(response: types.GenerateContentResponse) -> Drawing:
    """Take the image out of an answer; drafts that a model makes while thinking do not count."""
    feedback = response.prompt_feedback
    if feedback is not None and feedback.block_reason is not None:
        raise Refused(f"prompt blocked: {feedback.block_reason.value}")
    if not response.candidates:
        if response.model_version is None:
            raise Transient("an answer that is empty", accepted=True)
        raise Unusable("no candidates")
    candidate = response.candidates[0]
    parts = (candidate.content.parts if candidate.content else None) or []
    images = [part.inline_data.data for part in parts if part.inline_data and not part.thought]
    if images and images[-1]:
        others = tuple(image for image in images[:-1] if image)
        version = response.model_version or ""
        return Drawing(content=images[-1], model_version=version, others=others)
    finish = candidate.finish_reason.value if candidate.finish_reason else "STOP"
    if finish != "STOP":
        raise Refused(finish)
    if parts and not images:
        raise Refused("text only")
    raise Unusable("empty answer")


def _job(job: types.BatchJob) -> Job:
    state = job.state.value if job.state else ""
    return Job(
        name=str(job.name),
        # The service writes BATCH_STATE_, the SDK JOB_STATE_ for most of them.
        state=state.removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_"),
        results=job.dest.file_name if job.dest else None,
    )


def _without_keys(text: str) -> str:
    for name in KEYS:
        if key := os.environ.get(name, "").strip():
            text = text.replace(key, "(key)")
    return text

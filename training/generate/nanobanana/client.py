"""Google's image models through google-genai; the only file that imports it.

Every error of the SDK leaves here as one of :mod:`training.generate.nanobanana.faults`, without
the key: it comes from the environment and goes nowhere but to the service.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from google import genai
from google.auth.exceptions import GoogleAuthError
from google.genai import errors, types
from pydantic import ValidationError

from training.generate.nanobanana.faults import (
    Refused,
    ServiceFailed,
    Transient,
    pause_asked_for,
)
from training.generate.nanobanana.settings import NanoBananaSettings

KEYS = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
_UNDECODABLE = "undecodable image"
# Outlast no single look: with these states a batch job will not change any more.
_ENDED = {"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One delivered image, as it came, and the version of the model that says it drew it."""

    content: bytes
    model_version: str


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
        reason = _without_keys(f"{error.code} {error.status}: {error.message}")
        if error.code in (408, 429) or error.code >= 500:
            headers = getattr(error.response, "headers", None) or {}
            pause = pause_asked_for(error.details, headers)
            raise Transient(reason, pause) from None
        raise ServiceFailed(reason) from None
    except ValidationError:  # of base64 that is none; the image was delivered, and is paid
        raise Refused(_UNDECODABLE, paid=True) from None
    except (httpx.TransportError, json.JSONDecodeError, errors.UnknownApiResponseError) as error:
        raise Transient(f"no answer ({type(error).__name__})") from None
    except GoogleAuthError as error:
        raise ServiceFailed(_without_keys(str(error))) from None


class Gemini:
    """The service. Raises :class:`ServiceFailed` where there is no way to log in."""

    def __init__(self, settings: NanoBananaSettings) -> None:
        self._model = settings.model
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
        options = types.HttpOptions(
            timeout=round(settings.timeout * 1000),
            # An object of httpx chooses it among the SDK's two HTTP libraries.
            client_args={"limits": httpx.Limits(max_connections=settings.concurrency)},
        )
        try:
            self._client = genai.Client(enterprise=settings.vertex, http_options=options)
        except (ValueError, GoogleAuthError) as error:
            raise ServiceFailed(_without_keys(str(error))) from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @_translated()
    def check_model(self) -> None:
        """Raise :class:`ServiceFailed` with the models there are, unless ours is among them."""
        known = {(model.name or "").rpartition("/")[2] for model in self._client.models.list()}
        if self._model not in known:
            drawing = sorted(name for name in known if "image" in name or "banana" in name)
            raise ServiceFailed(
                f"the service has no model {self._model!r}; models that draw: "
                f"{', '.join(drawing) or 'none'}. Choose one with --model."
            )

    @_translated()
    def draw(self, prompt: str) -> Drawing:
        """Ask for one image; raises Refused, Transient or ServiceFailed."""
        return _drawing(
            self._client.models.generate_content(
                model=self._model, contents=prompt, config=self._config
            )
        )

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
        return _job(self._client.batches.get(name=name))

    @_translated()
    def find_job(self, title: str) -> Job | None:
        """Look for a job that was started under this title."""
        jobs = self._client.batches.list()
        return next((_job(job) for job in jobs if job.display_name == title), None)

    @_translated()
    def fetch(self, job: Job, path: Path) -> None:
        """Download the results of a job that has any."""
        self._client.files.download(file=str(job.results), destination=str(path))


def read_results(path: Path) -> Iterator[tuple[str, Callable[[], Drawing]]]:
    """Yield key and answer of every line of a result file.

    Calling the answer returns the image or raises :class:`Refused`, or :class:`Transient` where
    the line is an error of the service instead of an answer.
    """
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            yield str(entry.get("key", "")), partial(_answer, entry)


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
        raise Refused("no candidates")
    candidate = response.candidates[0]
    parts = (candidate.content.parts if candidate.content else None) or []
    images = [part.inline_data.data for part in parts if part.inline_data and not part.thought]
    if images and images[-1]:
        return Drawing(content=images[-1], model_version=response.model_version or "")
    finish = candidate.finish_reason.value if candidate.finish_reason else "STOP"
    raise Refused(finish if finish != "STOP" else "text only" if parts else "empty answer")


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

"""What an operator can set, read once at start from the environment."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.imaging.decode import Limits
from service.model.shipped import default_model

ORIGIN = re.compile(r"\*|https?://[^/\s,*]+")  # RFC 6454 6.2: scheme, host and port, no path
MIB = 1024 * 1024
DEFAULT_LIMITS = Limits()
MAX_BATCH = 32
MAX_UPLOAD_BYTES = 512 * MIB
DECODE_SECONDS = 20
PROVIDERS = ("auto", "cpu", "cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one service process.

    Attributes
    ----------
    model
        Folder with ``manifest.json``; ``CXR_MODEL``, or the model that comes with nanocxr.
    limits
        Bounds on one image; ``CXR_MAX_BYTES``, ``CXR_MAX_PIXELS``.
    max_batch
        Images in one ``/predict_batch``; ``CXR_MAX_BATCH``.
    max_upload_bytes
        Bytes of uploads held in memory at once, over all requests; ``CXR_MAX_UPLOAD_BYTES``.
        Where memory is short they may be fewer.
    memory
        Bytes that all processes of the service may take together; 0 means the limit of its
        container, else the computer's; ``CXR_MEMORY``.
    max_requests
        Requests with an upload under way at once, the waiting ones counted; 0 means 16 per core;
        ``CXR_MAX_REQUESTS``.
    decode_seconds
        How long decoding one file may take; ``CXR_DECODE_SECONDS``.
    threads
        Threads of onnxruntime for one inference; 0 means one per core; ``CXR_THREADS``.
    provider
        Where inference has to run, "cpu" or "cuda"; "auto" takes the GPU where there is one;
        ``CXR_PROVIDER``.
    api_keys
        File of API keys, None for none; ``CXR_API_KEYS``.
    allow_anonymous
        Whether to listen beyond loopback without keys; ``CXR_ALLOW_ANONYMOUS``.
    cors_origins
        Origins of pages that may ask from a browser; ``CXR_CORS_ORIGINS``, separated by commas.
    model_key
        Public key (Ed25519, PEM) that the model's signature is checked with, None for no check;
        ``CXR_MODEL_KEY``.
    calibration
        File of ``cxr calibrate`` whose probabilities and thresholds take the place of the model's
        own, None for the latter; ``CXR_CALIBRATION``.
    """

    model: Path
    limits: Limits = DEFAULT_LIMITS
    max_batch: int = MAX_BATCH
    max_upload_bytes: int = MAX_UPLOAD_BYTES
    memory: int = 0
    max_requests: int = 0
    decode_seconds: int = DECODE_SECONDS
    threads: int = 0
    provider: str = PROVIDERS[0]
    api_keys: Path | None = None
    allow_anonymous: bool = False
    cors_origins: tuple[str, ...] = ()
    model_key: Path | None = None
    calibration: Path | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read ``CXR_*``; a malformed value raises ValueError naming the variable."""
        limits = Limits(
            max_bytes=_positive(environ, "CXR_MAX_BYTES", DEFAULT_LIMITS.max_bytes),
            max_pixels=_positive(environ, "CXR_MAX_PIXELS", DEFAULT_LIMITS.max_pixels),
        )
        return cls(
            model=_path(environ, "CXR_MODEL") or default_model(),
            limits=limits,
            max_batch=_positive(environ, "CXR_MAX_BATCH", MAX_BATCH),
            max_upload_bytes=_positive(environ, "CXR_MAX_UPLOAD_BYTES", MAX_UPLOAD_BYTES),
            memory=_positive(environ, "CXR_MEMORY", 0, least=0),
            max_requests=_positive(environ, "CXR_MAX_REQUESTS", 0, least=0),
            decode_seconds=_positive(environ, "CXR_DECODE_SECONDS", DECODE_SECONDS),
            threads=_positive(environ, "CXR_THREADS", 0, least=0),
            provider=_provider(environ),
            api_keys=_path(environ, "CXR_API_KEYS"),
            allow_anonymous=_flag(environ, "CXR_ALLOW_ANONYMOUS"),
            cors_origins=_origins(environ, "CXR_CORS_ORIGINS"),
            model_key=_path(environ, "CXR_MODEL_KEY"),
            calibration=_path(environ, "CXR_CALIBRATION"),
        )


def _provider(environ: Mapping[str, str]) -> str:
    provider = environ.get("CXR_PROVIDER", PROVIDERS[0])
    if provider not in PROVIDERS:
        raise ValueError(f"CXR_PROVIDER={provider!r} is none of {', '.join(PROVIDERS)}")
    return provider


def _positive(environ: Mapping[str, str], name: str, default: int, least: int = 1) -> int:
    text = environ.get(name)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{name}={text!r} is not an integer of at least {least}")
    return int(text)


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    return Path(environ[name]) if environ.get(name) else None


def _flag(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name) or "false"
    if text not in {"true", "false"}:
        raise ValueError(f"{name}={text!r} is not true or false")
    return text == "true"


def _origins(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    origins = tuple(part.strip() for part in environ.get(name, "").split(",") if part.strip())
    for origin in origins:
        if not ORIGIN.fullmatch(origin):
            raise ValueError(f"{name}: {origin!r} is not an origin such as https://pacs.example")
    return origins

"""What an operator can set, read once at start from the environment."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr as shortened

from service.imaging.claim import MIB
from service.imaging.decode import Limits
from service.memory import beside_readings
from service.model.shipped import default_model

ORIGIN = re.compile(r"\*|https?://[^/\s,*]+")  # RFC 6454 6.2: scheme, host and port, no path
DEFAULT_LIMITS = Limits()
MAX_BATCH = 32
MAX_UPLOAD_BYTES = 512 * MIB
DECODE_SECONDS = 20
PROVIDERS = ("auto", "cpu", "cuda")

# The most that a number may be: beyond it lies nothing that is wanted, only a slip of the keyboard
# that the service would pay for at its first film.
MOST = {
    "CXR_MAX_BYTES": 2**32 - 1,  # DICOM's lengths have 32 bits (PS3.5 7.1)
    "CXR_MAX_PIXELS": 65_535**2,  # its Rows and Columns have 16
    "CXR_MAX_BATCH": 1024,  # they are answered together, and their client waits for the last
    "CXR_MAX_UPLOAD_BYTES": 2**40,  # more than machines have memory
    "CXR_MEMORY": 2**40,  # as above
    "CXR_MAX_REQUESTS": 65_536,  # each has a connection, and Linux grants a service fewer
    "CXR_DECODE_SECONDS": 3600,  # a decoder that hangs is kept from everybody for so long
    "CXR_THREADS": 1024,  # more than cores; onnxruntime starts all, and with 100,000 never ends
}
# Every variable that anything of nanocxr reads; those of the clients may be set beside the rest.
KNOWN = frozenset(MOST) | {
    "CXR_MODEL",
    "CXR_MODEL_KEY",
    "CXR_CALIBRATION",
    "CXR_PROVIDER",
    "CXR_API_KEYS",
    "CXR_ALLOW_ANONYMOUS",
    "CXR_CORS_ORIGINS",
    "CXR_LOG",
    "CXR_API_KEY",  # clients
    "CXR_URL",  # clients
}
ALIKE = 0.75  # as difflib counts; all have CXR_ in common


class SettingError(ValueError):
    """One sentence: the variable, its value, what is allowed and what to do."""


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
        """Read ``CXR_*``.

        Raises
        ------
        SettingError
            If a value is malformed or out of bounds.
        """
        limits = Limits(
            max_bytes=_positive(environ, "CXR_MAX_BYTES", DEFAULT_LIMITS.max_bytes),
            max_pixels=_positive(environ, "CXR_MAX_PIXELS", DEFAULT_LIMITS.max_pixels),
        )
        return cls(
            model=_folder(environ, "CXR_MODEL", default_model()),
            limits=limits,
            max_batch=_positive(environ, "CXR_MAX_BATCH", MAX_BATCH),
            max_upload_bytes=_positive(environ, "CXR_MAX_UPLOAD_BYTES", MAX_UPLOAD_BYTES),
            memory=_positive(environ, "CXR_MEMORY", 0, least=beside_readings(1)),
            max_requests=_positive(environ, "CXR_MAX_REQUESTS", 0, least=0),
            decode_seconds=_positive(environ, "CXR_DECODE_SECONDS", DECODE_SECONDS),
            threads=_positive(environ, "CXR_THREADS", 0, least=0),
            provider=_provider(environ),
            api_keys=_file(environ, "CXR_API_KEYS"),
            allow_anonymous=_flag(environ, "CXR_ALLOW_ANONYMOUS"),
            cors_origins=_origins(environ, "CXR_CORS_ORIGINS"),
            model_key=_file(environ, "CXR_MODEL_KEY"),
            calibration=_file(environ, "CXR_CALIBRATION"),
        )


def unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """One sentence for each ``CXR_*`` that nothing reads, with the name that may be meant.

    The value is left out: it may be a secret that was meant for another variable.
    """
    for name in sorted(environ):
        if name in KNOWN or not name.upper().startswith("CXR_"):
            continue
        (near, *_) = get_close_matches(name.upper(), sorted(KNOWN), n=1, cutoff=ALIKE) or [""]
        hint = f"did you mean {near}?" if near else "docs/api.md lists those that have."
        yield f"The variable {name} has no effect: {hint}"


def _provider(environ: Mapping[str, str]) -> str:
    provider = environ.get("CXR_PROVIDER", PROVIDERS[0])
    if provider not in PROVIDERS:
        raise _malformed("CXR_PROVIDER", provider, f"none of {', '.join(PROVIDERS)}")
    return provider


def _positive(environ: Mapping[str, str], name: str, default: int, least: int = 1) -> int:
    text = environ.get(name)
    if text is None:
        return default
    most = MOST[name]
    # Python refuses to read numbers of thousands of digits, in words that name no variable.
    readable = text.isascii() and text.isdecimal() and len(text) <= len(str(most))
    if not readable or not least <= int(text) <= most:
        raise _malformed(name, text, f"no integer from {least} to {most}")
    return int(text)


def _folder(environ: Mapping[str, str], name: str, default: Path) -> Path:
    text = environ.get(name)
    if text == "":  # pathlib takes it for the working directory
        raise _malformed(name, text, "no folder")
    return default if text is None else Path(text)


def _file(environ: Mapping[str, str], name: str) -> Path | None:
    text = environ.get(name)
    if text == "":  # most likely of a variable that was not set; to serve without would be silent
        raise _malformed(name, text, "no file")
    return None if text is None else Path(text)


def _flag(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name) or "false"
    if text not in {"true", "false"}:
        raise _malformed(name, text, "neither true nor false")
    return text == "true"


def _origins(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    origins = tuple(part.strip() for part in environ.get(name, "").split(",") if part.strip())
    for origin in origins:
        if not ORIGIN.fullmatch(origin):
            raise _malformed(name, origin, "no origin such as https://pacs.example, nor *")
    return origins


def _malformed(name: str, text: str, fact: str) -> SettingError:
    return SettingError(
        f"{name}={shortened(text)} is {fact}. Correct it, or unset it for the default."
    )

"""What an operator can set, read once at start from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that are checked before any pixel is decoded."""

    max_bytes: int = 64 * MIB  # one upload; a 4,288 x 3,520 16-bit DX image has 29 MiB
    max_pixels: int = 40_000_000  # rows x columns; the same image has 15 million


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one service process.

    Attributes
    ----------
    model
        Folder with ``manifest.json``; ``CXR_MODEL``.
    limits
        ``CXR_MAX_BYTES``, ``CXR_MAX_PIXELS``.
    max_batch
        Images in one ``/predict_batch``; ``CXR_MAX_BATCH``.
    threads
        Threads of onnxruntime for one inference; 0 means one per core; ``CXR_THREADS``.
    """

    model: Path
    limits: Limits = Limits()
    max_batch: int = 32
    threads: int = 0

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read ``CXR_*``; a malformed value raises ValueError naming the variable."""
        limits = Limits(
            max_bytes=_positive(environ, "CXR_MAX_BYTES", Limits().max_bytes),
            max_pixels=_positive(environ, "CXR_MAX_PIXELS", Limits().max_pixels),
        )
        root = Path(__file__).resolve().parent.parent
        return cls(
            model=Path(environ.get("CXR_MODEL", root / "models" / "default" / "1")),
            limits=limits,
            max_batch=_positive(environ, "CXR_MAX_BATCH", 32),
            threads=_positive(environ, "CXR_THREADS", 0, least=0),
        )


def _positive(environ: Mapping[str, str], name: str, default: int, least: int = 1) -> int:
    text = environ.get(name)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{name}={text!r} is not an integer of at least {least}")
    return int(text)

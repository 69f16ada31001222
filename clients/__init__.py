"""What a user of a running service or of a model folder needs: SDK, `cxr`, evaluation.

The names in ``__all__`` are for users, see docs/api.md; modules may move.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clients.sdk.client import (
        AccessDenied,
        ChestXrayClient,
        ChestXrayError,
        Explanation,
        ImageRefused,
        ServiceBusy,
        ServiceFailed,
        ServiceUnreachable,
    )
    from clients.sdk.results import (
        CalibrationReference,
        ImageFacts,
        ModelInfo,
        ModelReference,
        Prediction,
        Problem,
    )

__all__ = [
    "AccessDenied",
    "CalibrationReference",
    "ChestXrayClient",
    "ChestXrayError",
    "Explanation",
    "ImageFacts",
    "ImageRefused",
    "ModelInfo",
    "ModelReference",
    "Prediction",
    "Problem",
    "ServiceBusy",
    "ServiceFailed",
    "ServiceUnreachable",
]


def __getattr__(name: str) -> object:
    """Import the SDK where it is asked for: each decoding process would carry 15 MiB of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from clients.sdk import client, results  # noqa: PLC0415

    return (vars(results) | vars(client))[name]

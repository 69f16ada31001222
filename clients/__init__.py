"""What a user of a running service or of a model folder needs: SDK, `cxr`, evaluation.

The names in ``__all__`` are for users, see docs/python.md; modules may move.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clients.api import (
        DatasetError,
        EvaluationError,
        Measures,
        ScoringError,
        evaluate,
        rows,
        score,
    )
    from clients.sdk.calls import Explanation
    from clients.sdk.client import AsyncChestXrayClient, ChestXrayClient
    from clients.sdk.errors import (
        AccessDenied,
        ChestXrayError,
        ImageRefused,
        ServiceBusy,
        ServiceFailed,
        ServiceUnreachable,
    )
    from service.schemas import (
        CalibrationReference,
        HeatmapFacts,
        ImageFacts,
        ModelInfo,
        ModelReference,
        Prediction,
        PredictionWithHeatmap,
        Problem,
    )

__all__ = [
    "AccessDenied",
    "AsyncChestXrayClient",
    "CalibrationReference",
    "ChestXrayClient",
    "ChestXrayError",
    "DatasetError",
    "EvaluationError",
    "Explanation",
    "HeatmapFacts",
    "ImageFacts",
    "ImageRefused",
    "Measures",
    "ModelInfo",
    "ModelReference",
    "Prediction",
    "PredictionWithHeatmap",
    "Problem",
    "ScoringError",
    "ServiceBusy",
    "ServiceFailed",
    "ServiceUnreachable",
    "evaluate",
    "rows",
    "score",
]
# In this order: the SDK alone needs no pandas.
_MODULES = (
    "clients.sdk.client", "clients.sdk.calls", "clients.sdk.errors", "service.schemas",
    "clients.api",
)  # fmt: skip


def __getattr__(name: str) -> object:
    """Import what is asked for: each decoding process would carry 15 MiB of the SDK."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return next(
        vars(module)[name] for module in map(import_module, _MODULES) if name in vars(module)
    )

"""The service without what benchmarks.observing measures, for `bentoml serve`."""

from typing import Any

from service.app import service
from service.observe.middleware import ObserveMiddleware

observed = service.to_asgi


def without(is_main: bool = True) -> Any:  # noqa: FBT001, FBT002  BentoML's signature
    """BentoML's app without the middleware."""
    app = observed(is_main)
    kept = (m for m in app.user_middleware if m.cls is not ObserveMiddleware)
    app.user_middleware = list(kept)
    return app


service.to_asgi = without

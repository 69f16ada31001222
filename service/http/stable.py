"""Every path once more under /v1, where it is promised to stay as it is.

uvicorn -> pieces -> [stable] -> observe -> everything else
The prefix is taken off before anybody looks at the path, so that keys, limits, metrics and logs
cannot differ.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "/v1"


class StableMiddleware:
    """Serves /v1/x as it serves /x."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope.get("path", "")
        if path.startswith(f"{PREFIX}/"):
            scope = {**scope, "path": path.removeprefix(PREFIX)}
        await self._app(scope, receive, send)

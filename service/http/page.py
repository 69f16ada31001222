"""The page at /ui: the files of service/ui, under a policy that lets them reach this service only.

The files need no key and hold nothing of a patient. A browser may keep them, but asks each time
whether they have changed, so that page and service are always of one release.
"""

from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).resolve().parent.parent / "ui"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Page(StaticFiles):
    """Serves :data:`FOLDER` with :data:`HEADERS`."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER, html=True)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """As Starlette makes it, also where it says that nothing changed, and the headers."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(HEADERS)
        return response

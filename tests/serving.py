"""The service in this process: BentoML's whole ASGI app, with its middleware and routes."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from starlette.testclient import TestClient

from service.app import service

PROBLEM_JSON = "application/problem+json"
FORM = "multipart/form-data; boundary=limit"


@cache
def asgi_app() -> Any:
    """The only ASGI app of the test run: BentoML registers its metrics once in a process."""
    return service.to_asgi()


@contextmanager
def serving(
    model: Path, *, address: str = "127.0.0.1", **variables: object
) -> Iterator[TestClient]:
    """Start the service with this model folder and these CXR_* variables; one at a time.

    ``address`` is where it was reached.
    """
    environment = {"CXR_MODEL": str(model)} | {k: str(v) for k, v in variables.items()}
    with (
        mock.patch.dict("os.environ", environment),
        TestClient(
            asgi_app(), base_url=f"http://{address}", raise_server_exceptions=False
        ) as client,
    ):
        yield client


def part(content: bytes, name: str = "image", *, filename: str | None = "image") -> bytes:
    """One part of a form with the boundary ``limit``; text where there is no file name."""
    tail = "" if filename is None else f'; filename="{filename}"'
    head = f'--limit\r\nContent-Disposition: form-data; name="{name}"{tail}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def part_with(content: bytes, *headers: str) -> bytes:
    """One part of a form with the boundary ``limit`` and these headers."""
    return "\r\n".join(["--limit", *headers, "", ""]).encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole body of type :data:`FORM`."""
    return b"".join(parts) + b"--limit--\r\n"


def problem(response: Any) -> tuple[int, str]:
    """Status and code of an answer that must be a problem and nothing else."""
    assert response.headers["content-type"] == PROBLEM_JSON, response.text
    body = response.json()
    assert set(body) == {"type", "title", "status", "detail", "code", "request_id"}
    assert body["status"] == response.status_code
    assert body["type"].endswith(body["code"])
    assert body["detail"]
    return response.status_code, str(body["code"])

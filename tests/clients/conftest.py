"""A server to talk to, and bodies as the service writes them."""

from collections.abc import Iterator

import pytest

from tests.clients.sdk.http_server import Server, running_server


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.sdk.retry.FIRST_WAIT_SECONDS", 0.001)

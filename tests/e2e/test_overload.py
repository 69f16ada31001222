"""More clients than can be served: every one gets an answer."""

import pytest

from benchmarks.load import send, upload
from tests.e2e.conftest import Server
from tests.factories import png_bytes

pytestmark = pytest.mark.e2e


class TestOverload:
    def test_only_readings_and_refusals_with_the_time_to_come_back(self, server: Server) -> None:
        request = upload(server.url, "/explain", png_bytes())
        load = send(server.url, request, clients=100, requests=400)
        assert sum(load.statuses.values()) == 400
        assert set(load.statuses) == {200, 503}
        assert load.broken == load.rude == 0
        after = send(server.url, request, clients=4, requests=8)
        assert after.statuses == {200: 8}

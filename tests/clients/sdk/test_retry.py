"""How long a client waits before it asks again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from clients.scoring.rest import RETRIES
from clients.sdk.retry import RetryPolicy, asked_seconds, wait_seconds


@pytest.fixture(autouse=True)
def real_waits(short_waits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.sdk.retry.FIRST_WAIT_SECONDS", 0.5)


class TestWaits:
    def test_double_each_time_and_never_exceed_a_minute(self) -> None:
        assert 0.25 <= wait_seconds(0) <= 0.5
        assert 2.0 <= wait_seconds(3) <= 4.0
        assert wait_seconds(20) == 60
        assert wait_seconds(20, 59.0) == 60

    def test_differ_also_where_the_service_asks_for_one(self) -> None:
        waits = {wait_seconds(1, 1.0) for _ in range(20)}
        assert len(waits) > 1
        assert all(1.5 <= wait <= 2 for wait in waits)

    def test_retry_after_is_seconds_or_a_date(self) -> None:
        later = format_datetime(datetime.now(UTC) + timedelta(seconds=3000), usegmt=True)
        assert asked_seconds(" 7 ") == 7
        assert 2000 < asked_seconds(later) <= 3000

    @pytest.mark.parametrize("header", [None, "soon", "-1", "Wed, 21 Oct 2015 07:28:00 GMT"])
    def test_nothing_is_asked_by_nonsense_nor_by_the_past(self, header: str | None) -> None:
        assert asked_seconds(header) == 0

    @pytest.mark.parametrize(
        "outcome", [httpx.ConnectError("gone"), httpx.Response(503, headers={"Retry-After": "1"})]
    )
    def test_a_run_outlasts_a_restart_of_the_service(
        self, outcome: httpx.Response | httpx.HTTPError
    ) -> None:
        waits = [RetryPolicy(RETRIES).wait(attempt, outcome) for attempt in range(RETRIES + 1)]
        assert waits.pop() is None
        assert 90 < sum(wait or 0 for wait in waits) < 200


def test_negative_number_of_retries_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="retries is -1"):
        RetryPolicy(-1)

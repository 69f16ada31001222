"""How long a client waits before it asks again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from clients.sdk.retry import RetryPolicy, wait_seconds


class TestWaits:
    def test_double_each_time_and_never_exceed_a_minute(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("clients.sdk.retry.FIRST_WAIT_SECONDS", 0.5)
        assert 0.25 <= wait_seconds(0, None) <= 0.5
        assert 2.0 <= wait_seconds(3, None) <= 4.0
        assert 30 <= wait_seconds(20, None) <= 60

    def test_retry_after_in_seconds_and_as_a_date_are_honoured(self) -> None:
        later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
        assert wait_seconds(0, "7") == 7
        assert 25 < wait_seconds(0, later) <= 30

    def test_date_in_the_past_means_at_once(self) -> None:
        assert wait_seconds(0, "Wed, 21 Oct 2015 07:28:00 GMT") == 0

    def test_nonsense_falls_back_to_backoff(self) -> None:
        assert wait_seconds(0, "soon") <= 0.5


def test_negative_number_of_retries_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="retries is -1"):
        RetryPolicy(-1)

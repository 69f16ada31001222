"""Nano Banana through the real SDK against a local server that fails as the real one does."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.training.generate.nanobanana.films import LOOKS
from tests.training.generate.nanobanana.gemini_server import (
    BROKEN,
    ERRORS,
    REFUSALS,
    VERSION,
    GeminiServer,
)
from tests.training.generate.nanobanana.run import ask, ledger, table
from training.generate.manifest import COLUMNS
from training.generate.nanobanana.faults import ServiceFailed, pause_asked_for
from training.generate.nanobanana.settings import DEFAULT_MODEL


class TestImages:
    def test_every_image_has_a_record_that_is_its_row(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        rows = table(ask(tmp_path, pairs=3))
        assert tuple(rows.columns[: len(COLUMNS)]) == COLUMNS
        assert rows.groupby("group").label.apply(sorted).tolist() == [[0, 1]] * 3
        assert sorted(rows.sha256) == sorted(server.delivered)
        assert sorted(rows.prompt) == sorted(server.prompts)
        assert set(rows.model_version) == {VERSION}
        assert set(rows.model) == {DEFAULT_MODEL}
        assert rows.notice.str.contains("SynthID").all()
        for row in rows.to_dict("records"):
            assert row["path"] == f"images/{row['request']}.png"
            record = tmp_path / "images" / f"{row['request']}.json"
            assert json.loads(record.read_text()) == row
        assert [path.name for path in tmp_path.rglob(".*")] == [".lock"]

    def test_an_image_that_is_there_is_not_asked_for_again(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        first = table(ask(tmp_path, pairs=2))
        assert server.calls["draw"] == 4
        assert table(ask(tmp_path, pairs=2)).equals(first)
        assert server.calls["draw"] == 4
        more = table(ask(tmp_path, pairs=3))
        assert server.calls["draw"] == 6
        assert more.iloc[:4].equals(first)

    def test_a_lost_image_alone_is_asked_for(self, server: GeminiServer, tmp_path: Path) -> None:
        rows = table(ask(tmp_path))
        (tmp_path / rows.path[0]).unlink()
        assert table(ask(tmp_path)).request.tolist() == rows.request.tolist()
        assert server.calls["draw"] == 5

    def test_requests_in_flight_are_bounded(self, server: GeminiServer, tmp_path: Path) -> None:
        server.delay = 0.05
        ask(tmp_path, pairs=8, concurrency=3)
        assert 1 < server.busiest <= 3

    def test_vertex_ai_draws_as_well(self, server: GeminiServer, tmp_path: Path) -> None:
        rows = table(ask(tmp_path, vertex=True))
        assert set(rows["mode"]) == {"vertex"}
        assert sorted(rows.sha256) == sorted(server.delivered)

    def test_aspect_ratio_and_size_are_asked_for(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        ask(tmp_path, pairs=1, aspect_ratio="4:5", image_size="2K")
        assert server.configs[-1]["imageConfig"] == {"aspectRatio": "4:5", "imageSize": "2K"}
        ask(tmp_path / "plain", pairs=1)
        assert server.configs[-1]["imageConfig"] == {"aspectRatio": "1:1"}


class TestFaultsThatPass:
    @pytest.mark.parametrize("fault", ERRORS)
    def test_are_waited_out(self, server: GeminiServer, tmp_path: Path, fault: str) -> None:
        server.script = [fault]
        outcome = ask(tmp_path, pairs=1, concurrency=1, timeout=1.5)
        assert outcome.images == 2
        assert server.calls["draw"] == 3
        assert len(server.delivered) == 2

    @pytest.mark.parametrize("fault", ["retry-info", "retry-after"])
    def test_the_pause_the_server_asks_for_is_kept(
        self, server: GeminiServer, tmp_path: Path, fault: str
    ) -> None:
        server.script = [fault, "", fault]
        ask(tmp_path, pairs=2, concurrency=1)
        assert server.faults[fault] == 2
        assert server.too_early == 0

    def test_a_request_that_keeps_failing_is_left_for_the_next_run(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        server.script = ["500"] * 3
        outcome = ask(tmp_path, pairs=2, concurrency=1, retries=2)
        assert (outcome.images, outcome.wanted) == (3, 4)
        assert "1 requests failed after all retries: 500 INTERNAL" in outcome.reason
        assert len(table(outcome)) == 2
        assert ask(tmp_path, pairs=2).images == 4
        assert len(server.delivered) == 4

    def test_a_service_that_stays_away_ends_the_run(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        server.script = ["500"] * 1000
        with pytest.raises(ServiceFailed, match="overloaded"):
            ask(tmp_path, pairs=50, concurrency=2, retries=1)
        assert server.calls["draw"] <= 12

    def test_an_error_that_does_not_pass_ends_the_run_at_once(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        server.script = ["", "400"]
        with pytest.raises(ServiceFailed, match="400 INVALID_ARGUMENT"):
            ask(tmp_path, pairs=50, concurrency=1)
        assert server.calls["draw"] == 2
        assert ask(tmp_path, pairs=1).images == 2
        assert server.calls["draw"] == 3

    def test_a_quota_of_the_day_ends_the_run(self, server: GeminiServer, tmp_path: Path) -> None:
        server.script = ["", "quota"]
        with pytest.raises(
            ServiceFailed, match=r"quota of the day\. The service asks to wait 720 "
        ):
            ask(tmp_path, pairs=8, concurrency=3)  # the threads that wait are woken
        assert ask(tmp_path, pairs=8).images == 16
        assert len(server.delivered) == 16

    def test_pauses_are_read_from_body_and_headers(self) -> None:
        info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.5s"}
        assert pause_asked_for({"error": {"details": [{"@type": "other"}, info]}}, {}) == 17.5
        assert pause_asked_for({}, {"retry-after": "3"}) == 3
        assert pause_asked_for({"error": {"details": [info]}}, {"retry-after": "30"}) == 30
        bodies: list[Any] = ["text", {"error": "text"}, {"error": {"details": None}}, {"error": {}}]
        for body in bodies:
            assert pause_asked_for(body, {}) == 0
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
        assert 90 < pause_asked_for({}, {"retry-after": date}) <= 100
        assert pause_asked_for({}, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


class TestRefusals:
    @pytest.mark.parametrize("fault", [*REFUSALS, *BROKEN])
    def test_are_counted_recorded_and_asked_in_another_wording(
        self, server: GeminiServer, tmp_path: Path, fault: str
    ) -> None:
        server.script = [fault]
        outcome = ask(tmp_path, pairs=1, concurrency=1)
        assert outcome.images == 2
        assert outcome.refusals.total() == 1
        refused, again, _ = ledger(tmp_path)
        assert refused["request"] == again["request"]
        assert refused["wording"] != again["wording"]
        assert (refused["outcome"], again["outcome"]) == (next(iter(outcome.refusals)), "image")
        assert len(set(server.prompts)) == 3
        record = json.loads((tmp_path / "images" / f"{again['request']}.json").read_text())
        assert record["wording"] == again["wording"]
        assert record["prompt"] == server.prompts[1]

    def test_reasons_are_those_of_the_service(self, server: GeminiServer, tmp_path: Path) -> None:
        server.script = [*REFUSALS, *BROKEN]
        outcome = ask(tmp_path, pairs=4, concurrency=1)
        assert set(outcome.refusals) == {
            "prompt blocked: PROHIBITED_CONTENT",
            *REFUSALS[1:],
            "undecodable image",
        }

    def test_too_many_give_the_request_up_for_good_and_keep_the_balance(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        server.script = ["IMAGE_SAFETY"] * 3
        outcome = ask(tmp_path, pairs=2, concurrency=1, refusals=3)
        assert (outcome.images, outcome.wanted) == (3, 4)
        assert outcome.reason == "1 requests were refused 3 times"
        assert sorted(table(outcome).label) == [0, 1]
        calls = server.calls["draw"]
        assert ask(tmp_path, pairs=2, refusals=3).images == 3
        assert server.calls["draw"] == calls
        assert ask(tmp_path, pairs=2, refusals=4).images == 4

    def test_odd_looks_are_kept_for_curation(self, server: GeminiServer, tmp_path: Path) -> None:
        server.script = list(LOOKS)
        assert len(table(ask(tmp_path))) == 4
        assert server.calls["draw"] == 4

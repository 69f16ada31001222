"""Nano Banana through the real SDK against a local server that fails as the real one does."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

from tests.training.gemini_server import (
    BROKEN,
    ERRORS,
    KEY,
    LOOKS,
    REFUSALS,
    VERSION,
    GeminiServer,
    serving,
)
from training.cli import cli
from training.generate.manifest import COLUMNS, DatasetMismatch
from training.generate.nanobanana.faults import ServiceFailed, pause_asked_for
from training.generate.nanobanana.run import Outcome, estimate, generate
from training.generate.nanobanana.settings import DEFAULT_MODEL, PRICES, NanoBananaSettings

PRICE = PRICES[DEFAULT_MODEL]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GeminiServer]:
    for name in ("GOOGLE_API_KEY", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"):
        monkeypatch.delenv(name, raising=False)
    with serving() as local:
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", local.url)
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", local.url)
        yield local


def quick(**changes: Any) -> NanoBananaSettings:
    return NanoBananaSettings(**{"backoff": 0.005, "timeout": 5.0, "poll": 0.01} | changes)


def ask(folder: Path, pairs: int = 2, seed: int = 1, **changes: Any) -> Outcome:
    return generate(folder, pairs=pairs, seed=seed, settings=quick(**changes), progress=False)


def ledger(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]


def table(outcome: Outcome) -> Any:
    assert outcome.manifest is not None
    return pd.read_parquet(outcome.manifest)


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
        assert not list(tmp_path.rglob("*.part"))

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
        assert server.busiest == 3

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


class TestBounds:
    def test_images_of_the_folder_are_bounded(self, server: GeminiServer, tmp_path: Path) -> None:
        for _ in range(2):
            outcome = ask(tmp_path, pairs=4, max_images=5)
            assert (outcome.images, outcome.wanted) == (5, 8)
            assert outcome.reason == "--max-images 5 reached"
        assert len(table(outcome)) == 4
        assert server.calls["draw"] == 5

    @pytest.mark.parametrize("batch", [False, True])
    def test_cost_of_the_folder_is_bounded(
        self, server: GeminiServer, tmp_path: Path, batch: bool
    ) -> None:
        server.script = ["no image inside"]  # paid all the same
        for _ in range(2):
            outcome = ask(tmp_path, pairs=4, price=0.1, max_cost=0.5, batch=batch)
        paid = 10 if batch else 5
        assert outcome.images == min(paid - 1, 8)
        assert len(server.delivered) + server.wasted == min(paid, 9)
        assert outcome.spent == pytest.approx(0.45 if batch else 0.5)
        assert ("--max-cost 0.5" in outcome.reason) == (not batch)

    def test_cost_is_never_exceeded_by_requests_in_flight(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        server.delay = 0.02
        outcome = ask(tmp_path, pairs=8, price=0.1, max_cost=0.3, concurrency=8)
        assert len(server.delivered) == 3
        assert outcome.spent == pytest.approx(0.3)

    def test_the_cost_of_all_runs_adds_up(self, server: GeminiServer, tmp_path: Path) -> None:
        ask(tmp_path, pairs=1)
        assert ask(tmp_path, pairs=2).spent == pytest.approx(4 * PRICE)

    def test_a_bound_on_an_unknown_price_is_refused(self) -> None:
        for unknown in ({"model": "another"}, {"image_size": "4K"}):
            with pytest.raises(ValueError, match="give --price"):
                quick(max_cost=1.0, **unknown)

    def test_an_estimate_asks_and_writes_nothing(
        self, server: GeminiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("GEMINI_API_KEY")
        folder = tmp_path / "data"
        expected = estimate(folder, pairs=10, seed=1, settings=quick(batch=True))
        assert len(expected.prompts) == 20
        assert expected.cost == pytest.approx(20 * PRICE / 2)
        assert not folder.exists()
        assert not server.calls
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        ask(folder, pairs=10, max_images=4)
        rest = estimate(folder, pairs=10, seed=1, settings=quick(max_images=10))
        assert list(rest.prompts) == list(expected.prompts)[4:10]
        assert set(server.prompts) <= set(expected.prompts.values())


class TestBeforeTheFirstImage:
    def test_a_missing_key_is_said(
        self, server: GeminiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("GEMINI_API_KEY")
        with pytest.raises(ServiceFailed, match="GEMINI_API_KEY or GOOGLE_API_KEY"):
            ask(tmp_path / "data")
        assert not (tmp_path / "data").exists()

    def test_a_wrong_key_is_not_repeated_in_the_error(
        self, server: GeminiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GEMINI_API_KEY", "AIzaWrong")
        with pytest.raises(ServiceFailed) as failed:
            ask(tmp_path)
        assert "API key not valid: (key)" in str(failed.value)
        assert failed.value.__cause__ is None

    def test_a_model_that_is_gone_is_refused_with_those_there_are(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        with pytest.raises(ServiceFailed) as failed:
            ask(tmp_path, model="gemini-1-image")
        assert "gemini-2.5-flash-image, gemini-nano-banana-2.1" in str(failed.value)
        assert server.calls["draw"] == 0
        assert ask(tmp_path).images == 4  # the folder was not claimed for it

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"aspect_ratio": "3:4"}, "aspect_ratio is '1:1', asked for '3:4'"),
            ({"model": "gemini-2.5-flash-image"}, "model is"),
            ({"seed": 2}, "seed is 1, asked for 2"),
        ],
    )
    def test_other_parameters_are_refused_by_name(
        self, server: GeminiServer, tmp_path: Path, change: dict[str, Any], message: str
    ) -> None:
        ask(tmp_path, pairs=1)
        with pytest.raises(DatasetMismatch, match=message):
            ask(tmp_path, **change)
        assert server.calls["draw"] == 2

    def test_two_runs_on_one_folder_are_refused(self, server: GeminiServer, tmp_path: Path) -> None:
        with FileLock(tmp_path / ".lock"), pytest.raises(ValueError, match="another run works"):
            ask(tmp_path)
        assert server.calls["draw"] == 0
        assert ask(tmp_path).images == 4


class TestBatch:
    def test_images_cost_half_and_carry_the_mode(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        outcome = ask(tmp_path, pairs=3, batch=True)
        assert outcome.spent == pytest.approx(3 * PRICE)
        rows = table(outcome)
        assert set(rows["mode"]) == {"gemini batch"}
        assert set(rows.model_version) == {VERSION}
        assert sorted(rows.sha256) == sorted(server.delivered)
        assert server.calls["start job"] == 1
        assert server.calls["draw"] == 0
        assert not (tmp_path / "results.jsonl").exists()

    @pytest.mark.parametrize("fault", ["500", *REFUSALS, *BROKEN])
    def test_what_failed_or_was_refused_goes_into_the_next_job(
        self, server: GeminiServer, tmp_path: Path, fault: str
    ) -> None:
        server.script = [fault]
        outcome = ask(tmp_path, pairs=2, batch=True)
        assert outcome.images == 4
        assert server.calls["start job"] == 2
        assert len(server.delivered) == 4
        assert outcome.refusals.total() == (fault != "500")

    def test_a_job_whose_submission_was_cut_is_found_by_its_title(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        server.cut_submissions = 1
        assert ask(tmp_path, pairs=2, batch=True).images == 4
        assert server.calls["start job"] == 1
        assert len(server.delivered) == 4

    @pytest.mark.parametrize("event", ["submitting", "submitted"])
    def test_a_run_that_ended_while_waiting_goes_on_with_its_job(
        self, server: GeminiServer, tmp_path: Path, event: str
    ) -> None:
        server.batch_state = "FAILED"
        with pytest.raises(ServiceFailed, match="rounds of batch jobs"):
            ask(tmp_path, pairs=2, batch=True)
        assert server.calls["start job"] == 3
        server.batch_state = "SUCCEEDED"
        jobs = tmp_path / "jobs.jsonl"
        lines = jobs.read_text().splitlines()[:3]  # as if killed before the first was collected
        assert [json.loads(line)["event"] for line in lines[:2]] == ["submitting", "submitted"]
        jobs.write_text("\n".join(lines[: 1 if event == "submitting" else 2]) + "\n")
        assert ask(tmp_path, pairs=2, batch=True).images == 4
        assert server.calls["start job"] == 3

    def test_a_job_of_another_place_is_collected_by_name(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        ask(tmp_path / "lost", pairs=2, batch=True)
        outcome = ask(tmp_path / "new", pairs=2, batch=True, job="batches/1")
        assert outcome.images == 4
        assert outcome.spent == pytest.approx(2 * PRICE)
        assert server.calls["start job"] == 1

    def test_a_job_of_a_larger_design_is_not_thrown_away(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        ask(tmp_path / "lost", pairs=3, batch=True)
        folder = tmp_path / "new"
        with pytest.raises(ValueError, match="2 images of batches/1 belong to another design"):
            ask(folder, pairs=2, batch=True, job="batches/1")
        assert ask(folder, pairs=3, batch=True).images == 6
        assert server.calls["start job"] == 1

    def test_answers_are_entered_once_however_often_a_job_is_collected(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        server.script = ["SAFETY", "no image inside"]
        first = ask(tmp_path, pairs=2, batch=True)
        again = ask(tmp_path, pairs=2, batch=True, job="batches/1")
        assert (again.spent, again.refusals) == (first.spent, first.refusals)

    def test_vertex_ai_and_jobs_without_batch_are_refused(self) -> None:
        with pytest.raises(ValueError, match="bucket"):
            quick(batch=True, vertex=True)
        with pytest.raises(ValueError, match="--batch"):
            quick(job="batches/1")


class TestCommand:
    def test_a_dry_run_prints_prompts_count_and_cost(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        done = invoke(tmp_path / "data", "--pairs", 3, "--dry-run", "--batch")
        assert done.exit_code == 0, done.output
        *prompts, last = done.output.splitlines()
        assert len(prompts) == 6
        assert last.startswith("6 images; estimated cost US$ 0.10, US$ 0.0168 each (price from ")
        assert last.endswith("November 2026, half of it in batches)")
        assert not server.calls
        unknown = invoke(tmp_path / "data", "--pairs", 3, "--dry-run", "--model", "new")
        assert "price of new is not known: give --price" in unknown.output

    def test_an_incomplete_folder_exits_with_3_and_says_why(
        self, server: GeminiServer, tmp_path: Path
    ) -> None:
        folder = tmp_path / "data"
        done = invoke(folder, "--pairs", 2, "--max-images", 2)
        assert done.exit_code == 3
        assert "2 of 4 images: --max-images 2 reached" in done.output
        assert invoke(folder, "--pairs", 2).exit_code == 0

    def test_errors_take_one_line(self, server: GeminiServer, tmp_path: Path) -> None:
        done = invoke(tmp_path / "data", "--pairs", 2, "--model", "gone")
        assert done.exit_code == 1
        errors = [line for line in done.output.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1
        assert "no model 'gone'" in errors[0]

    @pytest.mark.parametrize("option", ["--steps", "--size"])
    def test_options_of_another_generator_are_refused(self, tmp_path: Path, option: str) -> None:
        done = invoke(tmp_path / "data", "--pairs", 2, option, 64)
        assert done.exit_code == 2
        assert f"{option} is not an option of nano-banana" in done.output


def invoke(folder: Path, *options: object) -> Result:
    arguments = ["generate", folder, "--generator", "nano-banana", *options]
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])

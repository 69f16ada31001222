"""Nano Banana by the Batch API: jobs are paid once, whatever becomes of the run."""

import json
from pathlib import Path

import pytest

from tests.training.generate.nanobanana.gemini_server import BROKEN, REFUSALS, VERSION, GeminiServer
from tests.training.generate.nanobanana.run import PRICE, ask, quick, table
from training.generate.nanobanana.faults import ServiceFailed


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

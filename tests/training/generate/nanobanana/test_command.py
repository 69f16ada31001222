"""Bounds on Nano Banana, what is checked before the first image, and the command line."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

from tests.training.generate.nanobanana.gemini_server import KEY, GeminiServer
from tests.training.generate.nanobanana.run import PRICE, ask, quick, table
from training.cli.main import cli
from training.generate.manifest import DatasetMismatch
from training.generate.nanobanana.faults import ServiceFailed


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
        settings = quick(batch=True)
        expected = settings.plan(10, 1).missing_prompts(folder, settings.max_images)
        assert len(expected) == 20
        assert settings.cost == pytest.approx(PRICE / 2)
        assert not folder.exists()
        assert not server.calls
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        ask(folder, pairs=10, max_images=4)
        rest = settings.plan(10, 1).missing_prompts(folder, 10)
        assert list(rest) == list(expected)[4:10]
        assert set(server.prompts) <= set(expected.values())


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
        assert ask(tmp_path).images == 4  # the folder was not locked to it

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

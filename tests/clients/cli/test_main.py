"""`cxr` as a user calls it, against a real HTTP server."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Event

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from clients.cli.main import cli
from clients.cli.terminal import NOTICE
from clients.scoring.score import done_names, parts_folder
from service.doctor import run as examine
from service.model.reader import Reader
from service.version import VERSION
from tests.clients.folders import write_images
from tests.clients.sdk import bodies
from tests.clients.sdk.http_server import Answer, Server
from tests.tiny_model import write_golden


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def png(folder: Path, name: str = "chest.png") -> Path:
    file = folder / name
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())  # no two are one film
    return file


class TestVersion:
    def test_names_the_model_of_the_settings_and_the_runtime(
        self, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CXR_MODEL", str(tiny_model))
        reader = Reader.open(tiny_model)
        result = run("--version")
        assert result.exit_code == 0
        package, model, runtime = result.stdout.splitlines()
        assert package == f"nanocxr {VERSION}"
        assert model == f"model tiny 1, SHA-256 {reader.model.sha256[:12]}"
        assert re.fullmatch(rf"onnxruntime \d[\d.]+, {reader.provider}", runtime)

    def test_without_a_model_says_why_and_the_rest(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CXR_MODEL", str(tmp_path))
        result = run("--version")
        assert result.exit_code == 0
        lines = result.stdout.splitlines()
        assert lines[1].startswith("model none: ")
        assert "manifest.json" in lines[1]
        assert len(lines) == 3

    def test_malformed_setting_is_wrong_usage(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CXR_PROVIDER", "gpu")
        result = run("--version")
        assert result.exit_code == 2
        assert "CXR_PROVIDER" in result.stderr


class TestPredict:
    def test_prints_json_and_the_research_notice_beside_it(
        self, server: Server, tmp_path: Path
    ) -> None:
        server.on("/predict", Answer.json(bodies.reading(0.25)))
        result = run("predict", png(tmp_path), "--url", server.url)
        assert result.exit_code == 0
        assert json.loads(result.stdout)["probability"] == 0.25
        assert result.stderr == NOTICE + "\n"

    def test_address_comes_from_the_environment(
        self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CXR_URL", server.url)
        server.on("/predict", Answer.json(bodies.reading()))
        assert run("predict", png(tmp_path)).exit_code == 0

    def test_key_that_is_none_is_one_line_without_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CXR_API_KEY", "cxr_\u201cabc")
        result = run("predict", png(tmp_path))
        assert result.exit_code == 1
        assert result.stderr.splitlines()[1].startswith("Error: CXR_API_KEY is no API key: its ch")
        assert "abc" not in result.stderr

    def test_explain_writes_the_picture(self, server: Server, tmp_path: Path) -> None:
        server.on("/predict", Answer.json(bodies.with_heatmap(b"PICTURE")))
        out = tmp_path / "heat.png"
        result = run("predict", png(tmp_path), "--explain", out, "--url", server.url)
        assert result.exit_code == 0
        told = json.loads(result.stdout)
        assert told["probability"] == 0.75
        assert "heatmap" not in told
        assert [asked.path for asked in server.asked] == ["/predict?heatmap=png"]
        assert out.read_bytes() == b"PICTURE"
        assert {file.name for file in tmp_path.iterdir()} == {"chest.png", "heat.png"}

    def test_refusal_is_one_line_and_exit_status_1(self, server: Server, tmp_path: Path) -> None:
        server.on("/predict", Answer.problem(422, "not_frontal", "ViewPosition is 'LL'."))
        result = run("predict", png(tmp_path), "--url", server.url)
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1] == "Error: not_frontal: ViewPosition is 'LL'."


class TestDoctor:
    def test_text_and_exit_status_are_those_of_the_service(
        self, golden_model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        status = examine(golden_model)
        expected = capsys.readouterr().out
        result = run("doctor", "--model", golden_model)
        assert result.exit_code == status == 0
        assert without_speed(result.output) == without_speed(expected)

    def test_difference_gives_exit_status_1(self, golden_model: Path) -> None:
        write_golden(golden_model, off=0.01)
        result = run("doctor", "--model", golden_model)
        assert result.exit_code == 1
        assert "does NOT read on this machine" in result.stdout

    def test_no_golden_readings_is_one_line(self, tiny_model: Path) -> None:
        result = run("doctor", "--model", tiny_model)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: The model has no golden readings")

    def test_unknown_option_is_wrong_usage(self) -> None:
        assert run("doctor", "--thorough").exit_code == 2


def without_speed(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("speed")]


class TestScoreAndEvaluate:
    def test_scores_become_a_table_and_json(self, server: Server, tmp_path: Path) -> None:
        images = [png(tmp_path, f"{number}.png") for number in range(8)]
        rows = [f"{file.name},{number % 2},s{number // 4}" for number, file in enumerate(images)]
        (tmp_path / "labels.csv").write_text("path,label,source\n" + "\n".join(rows) + "\n")
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", *[Answer.json(bodies.reading(0.1 * n)) for n in range(1, 9)])
        out, numbers = tmp_path / "scores.parquet", tmp_path / "numbers.json"
        result = run("score", tmp_path / "labels.csv", "--out", out, "--url", server.url)
        assert result.exit_code == 0, result.output
        assert "8 images, 0 without a reading" in result.stderr
        result = run("evaluate", out, "--by", "source", "--json", numbers, "--replicates", 50)
        assert result.exit_code == 0, result.output
        assert [line.split()[0] for line in result.stdout.splitlines()] == [
            "stratum",
            "all",
            "source=s0",
            "source=s1",
        ]
        assert [row["images"] for row in json.loads(numbers.read_text())["groups"]] == [8, 4, 4]

    def test_image_without_a_reading_gives_exit_status_3(
        self, server: Server, tmp_path: Path
    ) -> None:
        png(tmp_path)
        out = tmp_path / "out" / "scores.parquet"
        out.parent.mkdir()
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.problem(422, "corrupt_image"))
        result = run("score", tmp_path, "--out", out, "--url", server.url)
        assert result.exit_code == 3
        assert pd.read_parquet(out)["error"].tolist() == ["corrupt_image"]

    @pytest.mark.parametrize("other", [["--model", "."], ["--ray-address", "x"], ["--embeddings"]])
    def test_url_excludes_what_a_service_does_not_take(
        self, tmp_path: Path, other: list[str]
    ) -> None:
        result = run("score", tmp_path, "--out", "x", "--url", "http://h", *other)
        assert result.exit_code == 2

    def test_local_run_keeps_embeddings_where_asked(self, tiny_model: Path, tmp_path: Path) -> None:
        folder, out = write_images(tmp_path / "images", 3), tmp_path / "scores.parquet"
        result = run("score", folder, "--out", out, "--model", tiny_model, "--embeddings")
        assert result.exit_code == 0, result.output
        assert pd.read_parquet(out)["embedding"].map(len).tolist() == [512, 512, 512]

    def test_missing_part_of_a_known_dataset_is_a_warning(
        self, server: Server, tmp_path: Path
    ) -> None:
        (tmp_path / "test" / "NORMAL").mkdir(parents=True)
        png(tmp_path / "test" / "NORMAL", "IM-0001-0001.png")
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.json(bodies.reading()))
        out = tmp_path / "scores.parquet"
        result = run("score", tmp_path, "--out", out, "--url", server.url)
        assert result.exit_code == 0, result.output
        assert "Warning: test/NORMAL holds 1 images, not 234\n" in result.stderr
        assert pd.read_parquet(out)["patient"].tolist() == ["IM-0001"]

    def test_layout_can_be_overridden(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / "test" / "NORMAL").mkdir(parents=True)
        png(tmp_path / "test" / "NORMAL")
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.json(bodies.reading()))
        arguments = ("--out", tmp_path / "s.parquet", "--url", server.url, "--layout", "folder")
        result = run("score", tmp_path, *arguments)
        assert result.exit_code == 0, result.output
        assert "Warning" not in result.stderr

    def test_all_classes_of_another_dataset_is_one_line(self, tmp_path: Path) -> None:
        png(tmp_path)
        result = run("score", tmp_path, "--out", tmp_path / "x", "--all-classes")
        assert result.exit_code == 2
        assert "only rsna has classes to add" in result.stderr

    def test_unknown_stratum_is_one_line(self, tmp_path: Path) -> None:
        pd.DataFrame(
            {"label": [1], "probability": [0.5], "call": ["x"], "error": [None]}
        ).to_parquet(tmp_path / "s.parquet")
        result = run("evaluate", tmp_path / "s.parquet", "--by", "ward")
        assert result.exit_code == 1
        assert "no column ward" in result.stderr

    def test_codes_are_counted_and_problems_names_their_images(
        self, server: Server, tmp_path: Path
    ) -> None:
        folder, out = tmp_path / "images", tmp_path / "my scores.parquet"
        folder.mkdir()
        for number in range(3):
            png(folder, f"{number}.png")
        server.on("/model", Answer.json(bodies.model()))
        codes = ("truncated_image", "not_a_chest", "truncated_image")
        server.on("/predict", *[Answer.problem(422, code) for code in codes])
        result = run("score", folder, "--out", out, "--url", server.url)
        last = result.stderr.splitlines()[-1]
        assert last == f"2 truncated_image, 1 not_a_chest: cxr problems '{out}'"
        result = run("problems", out)
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        assert re.fullmatch(r"truncated_image +2 +The file ends before its pixels do", lines[0])
        assert len({line.split()[1] for line in lines[3:]}) == 3

    def test_no_problem_is_one_line(self, server: Server, tmp_path: Path) -> None:
        out = tmp_path / "scores.parquet"
        png(tmp_path)
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.json(bodies.reading()))
        assert run("score", tmp_path, "--out", out, "--url", server.url).exit_code == 0
        assert run("problems", out).stdout == "all 1 images have a reading\n"

    def test_scores_of_another_dataset_are_refused_for_good(
        self, server: Server, tmp_path: Path
    ) -> None:
        folder, out = tmp_path / "images", tmp_path / "scores.parquet"
        folder.mkdir()
        png(folder)
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.json(bodies.reading()))
        arguments = ("score", folder, "--out", out, "--url", server.url)
        assert run(*arguments).exit_code == 0
        png(folder, "more.png")
        result = run(*arguments)
        assert result.exit_code == 2  # not 1, which asks for the same command again
        assert "What differs: the dataset (images were added" in result.stderr

    @pytest.mark.parametrize("option", ["--json", "--report"])
    def test_file_that_cannot_be_written_ends_evaluation_before_it_begins(
        self, tmp_path: Path, option: str
    ) -> None:
        (tmp_path / "s.parquet").write_text("no scores")  # would be refused if it were read
        result = run("evaluate", tmp_path / "s.parquet", option, tmp_path / "none" / "file")
        assert result.exit_code == 2
        assert "there is no folder" in result.stderr

    def test_ctrl_c_says_how_to_go_on(self, server: Server, tmp_path: Path) -> None:
        """The way of a terminal: the signal goes to all processes of the group."""
        folder = tmp_path / "images"
        folder.mkdir()
        for number in range(40):
            png(folder, f"{number:03d}.png")
        server.on("/model", Answer.json(bodies.model()))
        asked, release = Event(), Event()
        # Eight images are under way at most: when the twelfth is asked for, four are done.
        answers = [Answer.json(bodies.reading())] * 11

        def hold() -> None:
            asked.set()
            release.wait(60)

        held = replace(Answer.json(bodies.reading()), when=hold)
        server.on("/predict", *answers, held)
        out = tmp_path / "scores.parquet"
        # A job in the background ignores the signal.
        code = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "from clients.cli.main import cli; cli()"
        )
        arguments = ["score", str(folder), "--out", str(out), "--url", server.url]
        command = [sys.executable, "-c", code, *arguments]
        running = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert asked.wait(60)
        os.killpg(running.pid, signal.SIGINT)
        release.set()
        _, said = running.communicate()
        assert running.returncode == 1
        assert "Traceback" not in said
        found = re.search(r"Error: stopped with (\d+) of 40 images done; the same command", said)
        assert found is not None, said
        assert int(found[1]) == len(done_names(parts_folder(out))) >= 4
        assert run(*arguments).exit_code == 0
        assert pd.read_parquet(out)["path"].nunique() == 40

    def test_killed_run_resumes_to_exactly_one_row_an_image(
        self, server: Server, tmp_path: Path
    ) -> None:
        folder = tmp_path / "images"
        folder.mkdir()
        for number in range(600):
            png(folder, f"{number:03d}.png")
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.json(bodies.reading()))
        out = tmp_path / "scores.parquet"
        code = "from clients.cli.main import cli; cli()"
        arguments = ["score", str(folder), "--out", str(out), "--url", server.url]
        command = [sys.executable, "-c", code, *arguments]
        killed = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        parts = tmp_path / "scores.parquet.parts"
        while not list(parts.glob("*.parquet")) and killed.poll() is None:
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
        assert not out.exists()
        asked_before = len(server.asked)
        assert run(*arguments).exit_code == 0
        table = pd.read_parquet(out)
        assert len(table) == table["path"].nunique() == 600
        assert len(server.asked) - asked_before < 600


class TestSettings:
    def test_malformed_one_is_one_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CXR_MAX_PIXELS", "many")
        folder = write_images(tmp_path / "films", 1)
        result = run("score", folder, "--out", tmp_path / "scores.parquet")
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1].startswith("Error: CXR_MAX_PIXELS='many' is no")

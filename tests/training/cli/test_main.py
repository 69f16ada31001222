import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import click
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result

from service.model.manifest import Manifest
from tests.sources import ROOT
from tests.training.model_run import Run
from training.cli.console import OneLineErrors
from training.cli.main import cli


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


SHOWN = [command for command in cli.commands.values() if not command.hidden]


@pytest.mark.parametrize("command", SHOWN, ids=lambda command: command.name)
def test_every_command_explains_itself_with_an_example(command: click.Command) -> None:
    assert command.help is not None
    assert "Example:" in command.help
    assert f"cxr-train {command.name}" in command.help


def test_help_does_not_wait_for_torch() -> None:
    script = (
        "import sys; from training.cli.main import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "assert not {'torch', 'onnxruntime', 'pandas', 'bentoml'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True)
    assert b"not a medical device" in done.stdout


def test_generate_then_sheet(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "sheet.png"
    made = invoke("generate", data, "--pairs", 2, "--size", 64, "--seed", 3, "--workers", 1)
    assert made.exit_code == 0, made.output
    frame = pd.read_parquet(data / "manifest.parquet")
    assert sorted(frame["label"]) == [0, 0, 1, 1]
    drawn = invoke("sheet", data, out, "--rows", 1, "--columns", 2)
    assert drawn.exit_code == 0, drawn.output
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", ["sheet", "curate"])
@pytest.mark.parametrize(
    ("begun", "reason"), [(False, "holds no data set"), (True, "is not complete")]
)
def test_folder_without_a_manifest_is_told_what_is_missing(
    tmp_path: Path, command: str, begun: bool, reason: str
) -> None:
    if begun:
        (tmp_path / "generation.json").write_text("{}")
    result = invoke(command, tmp_path, tmp_path / "out")
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith(f"Error: {tmp_path} has no manifest.parquet: it")
    assert reason in line


class TestCard:
    GROUP: ClassVar[dict[str, object]] = {
        "stratum": {"source": "north"}, "images": 2, "positives": 1, "auroc": None, "aupr": None,
        "sensitivity": None, "specificity": None, "ece": None,
    }  # fmt: skip

    def card(
        self, model: Path, measures: Path, sha256: str | None, calibration: str | None = None
    ) -> Result:
        named = None if sha256 is None else {"name": "m", "version": "1", "sha256": sha256}
        run = {"model": named, "calibration": calibration}
        measures.write_text(json.dumps({"run": run, "groups": [self.GROUP]}))
        return invoke("card", model, "--measures", measures)

    def test_takes_the_measures_of_its_model_and_no_others(
        self, packaged: Run, tmp_path: Path
    ) -> None:
        model = tmp_path / "model"
        shutil.copytree(packaged.model, model)
        own = Manifest.load(model / "manifest.json").identity.sha256
        before = (model / "MODEL_CARD.md").read_bytes()
        for sha256, calibration, words in (
            ("0" * 64, None, "SHA-256 000000000000"),
            (None, None, "no named"),
            (own, "1" * 64, "a site's calibration (SHA-256 111111111111)"),
        ):
            result = self.card(model, tmp_path / "measures.json", sha256, calibration)
            assert result.exit_code == 1
            assert words in result.output
            assert len(result.output.splitlines()) == 1
            assert (model / "MODEL_CARD.md").read_bytes() == before
        for _ in range(2):  # the card is no part of the model's identity
            result = self.card(model, tmp_path / "measures.json", own)
            assert result.exit_code == 0, result.output
        assert "| north | 2 | 1 |" in (model / "MODEL_CARD.md").read_text()

    def test_measures_that_do_not_say_how_they_were_made_are_refused(
        self, packaged: Run, tmp_path: Path
    ) -> None:
        (tmp_path / "measures.json").write_text(json.dumps([self.GROUP]))
        result = invoke("card", packaged.model, "--measures", tmp_path / "measures.json")
        assert result.exit_code == 1
        assert "measures.json does not say which scores" in result.output
        assert len(result.output.splitlines()) == 1


def test_export_package_and_verify_in_turn(packaged: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(packaged.folder, run)
    exported = invoke("export", packaged.toml, "--run", run)
    assert exported.exit_code == 0, exported.output
    assert "model.int8.onnx" in exported.output

    made = invoke(
        "package", packaged.toml, "--run", run, "--models", tmp_path, "--no-store", "--version", "2"
    )
    assert made.exit_code == 0, made.output
    model = tmp_path / "tiny" / "2"
    assert made.output.strip() == str(model)

    second = invoke(
        "package", packaged.toml, "--run", run, "--models", tmp_path, "--no-store", "--version", "2"
    )
    assert second.exit_code == 1
    assert "--replace" in second.output

    verified = invoke("verify", packaged.toml, model, "--run", run)
    assert "pytorch-grad-cam" in verified.output
    assert "golden heatmap" in verified.output


def test_verify_of_tampered_weights_exits_with_1(packaged: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(packaged.folder, run)
    state = torch.load(run / "weights.pt", weights_only=True)
    state["model"]["backbone.fc.bias"] += 1.0
    torch.save(state, run / "weights.pt")
    result = invoke("verify", packaged.toml, packaged.model, "--run", run)
    assert result.exit_code == 1
    assert "FAILED" in result.output


@pytest.mark.parametrize("command", ["export", "package"])
def test_a_run_that_is_not_there_is_one_line(packaged: Run, tmp_path: Path, command: str) -> None:
    result = invoke(command, packaged.toml, "--run", tmp_path / "absent")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [(BrokenPipeError(errno.EPIPE, "gone"), ""), (OSError("full"), "Error: full\n")],
)
def test_a_closed_pipe_is_no_error_worth_a_line(error: OSError, said: str) -> None:
    @click.group(cls=OneLineErrors)
    def group() -> None:
        pass

    @group.command()
    def fails() -> None:
        raise error

    result = CliRunner().invoke(group, ["fails"])
    assert (result.exit_code, result.output) == (1, said)

"""`python -m service.doctor`, as `make serve` and people who report an error call it."""

import getpass
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from service.doctor import AGREES, DISAGREES, PACKAGES, run
from service.model.bundle import Bundle
from service.processor import cores, this_processor
from service.schemas import INTENDED_USE
from service.version import VERSION
from tests.sources import ROOT
from tests.tiny_model import write_golden, write_manifest

MODULES = "; ".join(
    (
        "import sys; from service.doctor import run; status = run(None)",
        "print(*sorted(sys.modules), file=sys.stderr); sys.exit(status)",
    )
)


def doctor(*arguments: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "service.doctor", *(str(a) for a in arguments)]
    environment = os.environ | variables
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


class TestAgreeingModel:
    def test_report_says_what_a_report_of_an_error_needs(self, golden_model: Path) -> None:
        done = doctor(golden_model)
        assert (done.returncode, done.stderr) == (0, "")
        facts = dict(re.findall(r"^(\S+) +(.*)$", done.stdout, re.MULTILINE))
        assert facts["nanocxr"] == VERSION
        assert (
            facts["model"]
            == f"golden 1, SHA-256 {Bundle.open(golden_model).manifest.identity.sha256}"
        )
        assert facts["provider"] == "CPUExecutionProvider"
        assert facts["processor"] == str(this_processor())
        assert facts["cores"] == str(cores())
        assert facts["python"].startswith(sys.version.split()[0])
        assert set(PACKAGES) - facts.keys() == {"onnxruntime-gpu"}
        assert facts["golden"].startswith("1 images, largest difference (at most 0.001)")
        assert re.search(r"^ +probability [\d.e-]+, heatmap [\d.e-]+$", done.stdout, re.MULTILINE)
        assert re.fullmatch(r"[\d.]+ images/s, .*", facts["speed"])
        assert done.stdout.endswith(f"\n{AGREES}\n{INTENDED_USE}\n")

    def test_names_no_computer_user_or_folder(self, golden_model: Path, tmp_path: Path) -> None:
        written = doctor(golden_model, HOME=str(tmp_path)).stdout
        for telling in (socket.gethostname(), getpass.getuser(), *map(str, (tmp_path, ROOT))):
            assert telling not in written

    def test_needs_nothing_that_serving_does_not(self, golden_model: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-c", MODULES],
            cwd=ROOT,
            env=os.environ | {"CXR_MODEL": str(golden_model)},
            capture_output=True,
            text=True,
            check=True,
        )
        loaded = {name.partition(".")[0] for name in done.stderr.split()}
        assert {"onnxruntime", "pydicom"} <= loaded
        assert not loaded & {"torch", "click", "pandas", "httpx", "bentoml", "clients", "training"}


class TestDisagreeingModel:
    def test_exit_status_is_1_and_the_report_says_what_to_do(
        self, golden_model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_golden(golden_model, off=0.002)
        assert run(golden_model) == 1
        written = capsys.readouterr().out
        assert "probability 0.002, heatmap " in written
        assert DISAGREES in written
        assert AGREES not in written
        assert written.endswith(INTENDED_USE + "\n")


class TestNothingToProve:
    def test_no_model(self, tmp_path: Path) -> None:
        done = doctor(tmp_path / "gone")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: No model: 'gone' has no manifest.json")
        assert len(done.stderr.splitlines()) == 1

    def test_no_golden_readings(self, golden_model: Path) -> None:
        (golden_model / "golden.json").unlink()
        write_manifest(golden_model)
        done = doctor(golden_model)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: The model has no golden readings (golden.json)")
        assert len(done.stderr.splitlines()) == 1

    def test_changed_file_is_found_before_anything_is_read(self, golden_model: Path) -> None:
        (golden_model / "golden.json").write_text("{}")
        done = doctor(golden_model)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: golden.json has SHA-256")


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        (["one", "two"], {}, "two"),
        (["--thorough"], {}, "--thorough"),
        ([], {"CXR_THREADS": "many"}, "CXR_THREADS='many' is no integer from 0 to 1024. Correct"),
    ],
)
def test_wrong_usage_has_exit_status_2(
    arguments: list[str], variables: dict[str, str], named: str
) -> None:
    done = doctor(*arguments, **variables)
    assert done.returncode == 2
    assert named in done.stderr.splitlines()[-1]


def test_misspelt_variable_is_warned_of_beside_the_report(golden_model: Path) -> None:
    done = doctor(golden_model, CXR_THREAD="secret")
    assert done.returncode == 0
    assert done.stderr == (
        "Warning: The variable CXR_THREAD has no effect: did you mean CXR_THREADS?\n"
    )

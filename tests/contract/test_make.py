"""What `make serve` and `make test` run, and when they stop."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sources import ROOT


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The Makefile beside a .venv-serve that is set up, whose commands only say their names."""
    (tmp_path / "requirements").mkdir()
    for file in ("Makefile", "pyproject.toml", "requirements/dev.txt", "requirements/serve.txt"):
        shutil.copy(ROOT / file, tmp_path / file)
    programs = tmp_path / ".venv-serve" / "bin"
    programs.mkdir(parents=True)
    script(programs / "python", 'echo "proof $CXR_MODEL $*"; exit ${FAILURE:-0}')
    script(programs / "bentoml", 'echo "started $*"')
    (tmp_path / ".venv-serve" / ".ready").touch()
    return tmp_path


def make(project: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *words],
        cwd=project,
        env=clean | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_processes_keep_what_they_compile(project: Path) -> None:
    script(project / ".venv-serve" / "bin" / "python", 'echo "proof <$PYTHONDONTWRITEBYTECODE>"')
    assert "proof <>" in make(project, "serve", PYTHONDONTWRITEBYTECODE="1").stdout


def serve(project: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    return make(project, "serve", **variables)


def test_proves_the_model_that_it_serves_and_starts(project: Path) -> None:
    done = serve(project, MODEL="models/mine/1")
    assert done.returncode == 0, done.stderr
    proof, *_, started = done.stdout.splitlines()
    assert proof == "proof models/mine/1 -m service.doctor"
    assert started.startswith("started serve service.app:ChestXray")


def test_does_not_start_where_the_proof_fails_however_often_it_is_asked(project: Path) -> None:
    for _ in range(2):
        done = serve(project, FAILURE="1")
        assert done.returncode != 0
        assert "proof" in done.stdout
        assert "started" not in done.stdout
        assert "STOP: the service does not start" in done.stderr


def test_proves_once_after_each_time_it_is_set_up(project: Path) -> None:
    assert "proof" in serve(project).stdout
    again = serve(project).stdout
    assert "proof" not in again
    assert "started" in again
    later = time.time() + 1  # than the stamp of the proof, on coarse file systems too
    os.utime(project / ".venv-serve" / ".ready", (later, later))
    assert "proof" in serve(project).stdout


def test_those_that_must_be_alone_are_where_the_second_run_looks() -> None:
    tests = ROOT / "tests"
    marked = [path for path in tests.rglob("test_*.py") if "pytest.mark.alone" in path.read_text()]
    assert {path.parent for path in marked if path != Path(__file__)} == {tests / "e2e"}


@pytest.mark.parametrize("failing", ["", "not alone", "alone and"])
def test_both_runs_of_the_tests_end_and_each_may_fail(project: Path, failing: str) -> None:
    programs = project / ".venv" / "bin"
    programs.mkdir(parents=True)
    fails = f'case "$4" in "{failing}"*) exit 1;; esac' if failing else ""
    script(programs / "python", f'echo "$OMP_NUM_THREADS: $*"; {fails}')
    (project / ".venv" / ".ready").touch()
    done = make(project, "test", "--assume-old=browser")
    first, second = [line for line in done.stdout.splitlines() if "-m pytest" in line]
    assert first.endswith(
        "-m pytest -m not alone and not container --ignore tests/container -n 3 --dist loadfile"
    )
    assert second.endswith("-m pytest -m alone and not container tests/e2e")
    assert (done.returncode != 0) == bool(failing)


def test_package_ends_with_the_model_that_the_configuration_names(project: Path) -> None:
    programs = project / ".venv" / "bin"
    programs.mkdir(parents=True)
    script(programs / "python", f'exec {sys.executable} "$@"')
    script(programs / "cxr-train", 'echo "ran $*"')
    (project / ".venv" / ".ready").touch()
    config = str(ROOT / "training" / "configs" / "ablations" / "seed.toml")  # named by its base
    words = f"CONFIG={config}", "MEASURES=real.json"
    done = make(project, "package", *words, PYTHONPATH=str(ROOT))
    *_, gate, card, verify = [line for line in done.stdout.splitlines() if line.startswith("ran")]
    assert gate == f"ran gate {config} models/base/1", done.stderr
    assert card.split() == ["ran", "card", "models/base/1", "--measures", "real.json"]
    assert verify == f"ran verify {config} models/base/1 --run runs/default"

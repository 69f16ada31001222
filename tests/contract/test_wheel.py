"""What `pip install` brings works by itself: no checkout, no setting, any working directory."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pandas as pd
import pytest

from service.doctor import AGREES
from service.model.bundle import GOLDEN, Bundle
from service.model.golden import TOLERANCE
from service.model.session import NO_RUNTIME, runtime
from service.model.shipped import default_model
from service.version import VERSION
from tests.sources import ROOT, files

SHIPPED = default_model()
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
PACKAGES = "service", "clients", "training"
ORIGINS = (
    f"import {', '.join(PACKAGES)}; print(*({'.__file__, '.join(PACKAGES)}.__file__), sep='\\n')"
)
READ = """
import sys
from pathlib import Path
from service.model.reader import Reader

print(Reader.open().read(Path(sys.argv[1]).read_bytes()).probability)
"""
SERVE = """
from starlette.testclient import TestClient
from service.app import service

with TestClient(service.to_asgi(), base_url="http://127.0.0.1") as client:
    ready = client.get("/readyz")
    print(ready.status_code, client.get("/model").text)
"""
# What Python does where a package is not installed.
WITHOUT_RUNTIME = "import sys; sys.modules['onnxruntime'] = None; "
CXR = "from clients.cli.main import cli; cli()"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since setuptools leaves its work in the project."""
    project, out = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("wheel")
    for folder in PACKAGES:
        shutil.copytree(
            ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("default", "mine"):
        shutil.copytree(SHIPPED, project / "models" / name / "1")
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, project)
    options = "--no-deps", "--no-index", "--no-build-isolation"
    subprocess.run([*PIP, "wheel", *options, "--wheel-dir", out, project], check=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder it is installed in; its dependencies are those of the tests."""
    target = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [*PIP, "install", "--no-deps", "--no-index", "--target", target, wheel], check=True
    )
    return target


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Run a command in an empty folder, where nothing leads to the checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    found = {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    bentoml = {"BENTOML_HOME": str(tmp_path / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    away = tmp_path / "elsewhere"
    away.mkdir()

    def run_there(*command: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(part) for part in command],
            cwd=away,
            env=kept | found | bentoml,
            capture_output=True,
            text=True,
            check=False,
        )

    return run_there


@pytest.fixture
def films(tmp_path: Path) -> dict[Path, float]:
    """Two synthetic films, and the probabilities that the model was packaged with."""
    folder = tmp_path / "films"
    folder.mkdir()
    found = {}
    for number, golden in enumerate(json.loads((SHIPPED / GOLDEN).read_text())["readings"][:2]):
        file = folder / f"{number}.png"
        file.write_bytes(base64.b64decode(golden["image"]))
        found[file] = golden["probability"]
    return found


def test_wheel_holds_the_code_and_the_default_model_alone(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.startswith("nanocxr-")]
        models = {name: archive.read(name) for name in names if name.startswith("models/")}
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, "models"}
    assert models == {f"models/default/1/{f.name}": f.read_bytes() for f in SHIPPED.iterdir()}


def test_wheel_holds_the_page_and_its_examples(wheel: Path) -> None:
    page = {path.relative_to(ROOT).as_posix() for path in files(ROOT / "service" / "ui")}
    with ZipFile(wheel) as archive:
        assert page <= set(archive.namelist())


def test_nothing_of_the_checkout_is_found(run: Run, installed: Path) -> None:
    done = run(sys.executable, "-c", ORIGINS)
    origins = [Path(line) for line in done.stdout.splitlines()]
    assert origins == [installed / package / "__init__.py" for package in PACKAGES], done.stderr


def test_version_names_package_model_and_runtime(run: Run, installed: Path) -> None:
    done = run(installed / "bin" / "cxr", "--version")
    assert done.stdout.splitlines() == [
        f"nanocxr {VERSION}",
        f"model default 1, SHA-256 {Bundle.open(SHIPPED).manifest.identity.sha256[:12]}",
        f"onnxruntime {runtime().version}, {runtime().provider}",
    ], done.stderr


def test_scores_a_folder(run: Run, installed: Path, films: dict[Path, float]) -> None:
    folder = next(iter(films)).parent
    out = folder.parent / "scores.parquet"
    done = run(installed / "bin" / "cxr", "score", folder, "--out", out)
    assert done.returncode == 0, done.stderr
    scores = pd.read_parquet(out).set_index("path")["probability"].to_dict()
    expected = {file.name: probability for file, probability in films.items()}
    assert scores == pytest.approx(expected, abs=TOLERANCE)


def test_reads_a_film_from_python(run: Run, films: dict[Path, float]) -> None:
    film, probability = next(iter(films.items()))
    done = run(sys.executable, "-c", READ, film)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(probability, abs=TOLERANCE)


def test_doctor_proves_the_model(run: Run) -> None:
    done = run(sys.executable, "-m", "service.doctor")
    assert done.returncode == 0, done.stderr
    assert AGREES in done.stdout


def test_serves_the_default_model(run: Run) -> None:
    status, _, model = run(sys.executable, "-c", SERVE).stdout.partition(" ")
    assert status == "200"
    assert json.loads(model)["manifest"]["name"] == "default"


class TestWithoutOnnxruntime:
    """As installed without the extras `cpu` and `gpu`."""

    def test_scoring_ends_with_the_sentence_that_names_the_extra(
        self, run: Run, films: dict[Path, float]
    ) -> None:
        out = next(iter(films)).with_suffix(".parquet")
        arguments = "score", next(iter(films)).parent, "--out", out
        done = run(sys.executable, "-c", WITHOUT_RUNTIME + CXR, *arguments)
        assert (done.returncode, done.stderr) == (1, f"Error: {NO_RUNTIME}\n")
        assert not out.exists()

    def test_version_says_that_there_is_none(self, run: Run) -> None:
        done = run(sys.executable, "-c", WITHOUT_RUNTIME + CXR, "--version")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"onnxruntime none: {NO_RUNTIME}"

    def test_doctor_says_it(self, run: Run) -> None:
        main = "from service.doctor import main; main()"
        done = run(sys.executable, "-c", WITHOUT_RUNTIME + main)
        assert (done.returncode, done.stderr) == (1, f"Error: {NO_RUNTIME}\n")

    def test_service_says_it_to_every_request(self, run: Run) -> None:
        status, _, problem = run(sys.executable, "-c", WITHOUT_RUNTIME + SERVE).stdout.partition(
            " "
        )
        assert status == "503"
        assert json.loads(problem)["detail"] == NO_RUNTIME

"""The Bento holds the service, one model and nothing else, and can be loaded from there alone."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources import ROOT, files

LOAD = """
import bentoml
from pathlib import Path
import sys
from starlette.testclient import TestClient

bento = bentoml.load("nanocxr:latest")
with TestClient(bento.to_asgi(), base_url="http://127.0.0.1") as client:
    print(client.get("/model").json()["manifest"]["name"], client.get("/readyz").status_code)
import service
print(Path(service.__file__).is_relative_to(Path(sys.argv[1]).resolve()))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("bentoml")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    return kept | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}


@pytest.fixture(scope="module")
def bento(
    environment: dict[str, str], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of a Bento built from a copy of the project with the tiny model as its default."""
    project = tmp_path_factory.mktemp("project")
    kept_out = shutil.ignore_patterns("__pycache__")
    for folder in ("service", "requirements", "clients"):
        shutil.copytree(ROOT / folder, project / folder, ignore=kept_out)
    for file in ("bentofile.yaml", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / file, project)
    for version in ("default/1", "default/2", "other/1"):
        shutil.copytree(tiny_model, project / "models" / version)
    (project / "patient.dcm").write_bytes(b"not to be shipped")
    command = [str(Path(sys.executable).with_name("bentoml")), "build", "--output", "tag"]
    done = subprocess.run(
        command, cwd=project, env=environment, check=True, capture_output=True, text=True
    )
    assert "nanocxr:" in done.stdout
    shutil.rmtree(project)
    versions = Path(environment["BENTOML_HOME"], "bentos", "nanocxr")
    return versions / (versions / "latest").read_text().strip()


def test_holds_the_service_and_one_model(bento: Path) -> None:
    sources = {f"service/{p.relative_to(ROOT / 'service').as_posix()}" for p in _service_files()}
    model = {
        f"models/default/1/{name}" for name in ("model.onnx", "manifest.json", "MODEL_CARD.md")
    }
    packed = {
        path.relative_to(bento / "src").as_posix()
        for path in (bento / "src").rglob("*")
        if path.is_file()
    }
    assert packed == sources | model | {"bentofile.yaml"}


def _service_files() -> Iterator[Path]:
    yield from files(ROOT / "service", "*.py")
    yield from files(ROOT / "service" / "ui")


def test_requirements_are_the_locked_ones_without_torch(bento: Path) -> None:
    def pins(path: Path) -> set[str]:
        return {line.strip() for line in path.read_text().splitlines() if "==" in line}

    packed = pins(bento / "env" / "python" / "requirements.txt")
    assert pins(ROOT / "requirements" / "serve.txt") <= packed
    assert not [pin for pin in packed if pin.startswith("torch")]


def test_says_research_only(bento: Path) -> None:
    facts = (bento / "bento.yaml").read_text()
    assert "use: research-only" in facts
    assert "Not a medical device" in facts


def test_container_does_not_run_as_root(bento: Path) -> None:
    lines = (bento / "env" / "docker" / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users[-1] == "bentoml"


def test_serves_from_the_bento_alone(
    bento: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(bento)],
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["tiny", "200", "True"], done.stderr

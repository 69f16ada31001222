"""Architecture as a test: which package may import which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sources import ROOT, files

FORBIDDEN = {
    "service": {"training", "clients", "torch", "torchvision", "cv2", "pandas"},
    "clients": {"training", "torch"},
    "training": {"clients"},
}
ONLY_IN = {
    "bentoml": {"service/app.py"},
    "_bentoml_impl": {"service/app.py"},
    "circus": {"service/supervisor.py"},
    "h11": {"service/http/connection.py"},
    "onnxruntime": {"service/model/session.py"},
    "uvicorn": {"service/app.py", "service/http/connection.py"},
    "cryptography": {"service/model/signature.py"},
    "starlette": {
        f"service/http/{name}.py"
        for name in (
            "admission",
            "answers",
            "endpoints",
            "multipart",
            "page",
            "pieces",
            "places",
            "problems",
            "query",
            "stable",
            "upload",
        )
    }
    | {"service/auth/middleware.py", "service/observe/middleware.py"},
    "prometheus_client": {"service/observe/metrics.py"},
    "opentelemetry": {"service/app.py", "service/observe/middleware.py"},
}


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add((node.module or "").partition(".")[0])
    return found


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    code = f"{statement}; import sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_dependencies_point_one_way(package: str) -> None:
    for path in files(ROOT / package, "*.py"):
        found = imported(path) & FORBIDDEN[package]
        assert not found, f"{path.relative_to(ROOT)} imports {sorted(found)}"


@pytest.mark.parametrize("library", ONLY_IN)
def test_framework_stays_at_the_edge(library: str) -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in files(ROOT / "service", "*.py")
        if library in imported(path)
    }
    assert users == ONLY_IN[library]


@pytest.mark.parametrize(
    ("library", "only"),
    [
        ("google", {"training/generate/nanobanana/client.py"}),
        ("diffusers", {"training/generate/roentgen.py"}),
    ],
)
def test_generators_keep_their_library_in_one_file(library: str, only: set[str]) -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for path in files(ROOT / "training", "*.py")
        if library in imported(path)
    }
    assert users == only


def test_reading_does_not_import_the_http_layer() -> None:
    for folder in ("imaging", "inference", "model", "findings"):
        for path in files(ROOT / "service" / folder, "*.py"):
            text = path.read_text()
            assert "service.http" not in text, path
            assert "service.app" not in text, path
            assert "service.schemas" not in text, path


def test_service_package_is_empty() -> None:
    assert (ROOT / "service" / "__init__.py").read_text() == ""


def test_imaging_costs_no_server_and_no_network() -> None:
    loaded = modules_after("import service.imaging.prepare, service.inference.worker")
    assert not loaded & {"bentoml", "onnxruntime", "starlette", "pydantic", "torch"}


def test_commands_cost_no_network_and_no_figures_until_they_need_them() -> None:
    loaded = modules_after("import clients.cli.main")
    assert "click" in loaded
    slow = {"onnxruntime", "matplotlib", "jinja2", "umap", "torch", "bentoml", "sklearn"}
    assert not loaded & slow


def test_deidentifying_and_receiving_cost_no_building_of_objects() -> None:
    loaded = modules_after("import clients.dicom.deidentify, clients.dicom.node.receive")
    assert {"dicomanonymizer", "pynetdicom"} <= loaded
    assert not loaded & {"highdicom", "contourpy", "onnxruntime"}


def test_serving_never_imports_torch_training_or_clients() -> None:
    start = (
        "from service.app import service; from starlette.testclient import TestClient; "
        "client = TestClient(service.to_asgi()); client.__enter__(); client.get('/model')"
    )
    loaded = modules_after(start)
    assert {"bentoml", "onnxruntime", "pydicom"} <= loaded
    assert not loaded & {"torch", "torchvision", "training", "clients", "pandas", "sklearn"}

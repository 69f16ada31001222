"""What users import from `clients` is all there, documented, and costs nothing until it is used."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pytest

import clients
from clients import api
from clients.sdk import client as sdk
from clients.sdk import errors
from service import schemas
from tests.clients.sdk import bodies
from tests.clients.sdk.http_server import Answer, Server
from tests.sources import ROOT

NAMES = (ROOT / "docs" / "python.md").read_text(encoding="utf-8").partition("\n## Names\n")[2]
(SAMPLE,) = re.findall(
    r"```python\n(.+?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL
)


def public_classes(module: ModuleType) -> set[str]:
    return {
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and name[0] != "_"
    }


def classes_in(hint: Any) -> set[type]:
    """Classes of this project in a type hint."""
    if isinstance(hint, type) and hint.__module__.startswith(("clients.", "service.")):
        return {hint}
    return set().union(*map(classes_in, get_args(hint)))


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_every_client_error_result_and_function_is_there() -> None:
    results = {
        result.__name__
        for name, method in vars(clients.ChestXrayClient).items()
        if name[0] != "_"
        for result in classes_in(get_type_hints(method)["return"])
    }
    facts = {
        part.__name__
        for result in (schemas.PredictionWithHeatmap, schemas.Problem)
        for field in result.model_fields.values()
        for part in classes_in(field.annotation)
    }
    assert "Prediction" in results
    assert "ImageFacts" in facts
    expected = public_classes(sdk) | public_classes(errors) | results | facts | set(api.__all__)
    assert expected - {"OperatingPointFacts"} == set(clients.__all__)
    for name in clients.__all__:
        assert getattr(clients, name).__name__ == name


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(clients.__file__).read_text(encoding="utf-8"))
    (branch,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in branch.body if isinstance(node, ast.ImportFrom)]
    assert {alias.name for node in imports for alias in node.names} == set(clients.__all__)


def test_documentation_has_a_row_for_each() -> None:
    rows = re.findall(r"^\| (`.+?) \|", NAMES, re.MULTILINE)
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == clients.__all__


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Desk'"):
        clients.Desk  # noqa: B018


def test_decoding_processes_carry_no_http_client() -> None:
    heavy = {"httpx", "pydantic", "pandas"}
    assert not loaded_after("import clients.scoring.decoding") & heavy
    assert loaded_after("from clients import ChestXrayClient") & heavy == {"httpx", "pydantic"}


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        (Answer.json(bodies.reading(0.75)), "0.75 pneumonia\n"),
        (Answer.problem(422, "not_frontal", "a lateral view"), "not_frontal: a lateral view\n"),
    ],
)
def test_sample_in_the_documentation_runs(
    server: Server,
    answer: Answer,
    printed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.on("/predict", answer)
    (tmp_path / "chest.dcm").write_bytes(b"pixels")
    monkeypatch.chdir(tmp_path)
    exec(SAMPLE.replace("http://localhost:3000", server.url), {})
    assert capsys.readouterr().out == printed

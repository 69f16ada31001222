"""No name in a function hides what its module imports: a call would reach something else."""

import ast
from collections.abc import Iterator

import pytest

from tests.sources import ROOT, files

# Not `training`: the text of its generators is the version of the data sets they have drawn.
PACKAGES = ("service", "clients", "deploy")


def hidden(tree: ast.Module) -> Iterator[str]:
    """Imports of a module that its functions assign or take as parameters and also hold."""
    imported = {
        (alias.asname or alias.name).partition(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for node in ast.walk(function):
                match node:
                    case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                        if name in imported:
                            yield f"line {node.lineno}: {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_hides_an_import(package: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}, {place}"
        for path in files(ROOT / package, "*.py")
        for place in hidden(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert not found

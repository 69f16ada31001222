"""Each fault that docs/security.md lists has tests, and they exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.sources import ROOT

TEST = re.compile(r"`(tests/[\w/]+\.py)((?:::\w+)*)`")


def rows() -> list[list[str]]:
    section = (ROOT / "docs/security.md").read_text().split("\n## Faults\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


ROWS = rows()


@cache
def names_in(path: str) -> frozenset[str]:
    """Tests and classes of tests in a file, as pytest calls them."""
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(f"::{node.name}")
        if isinstance(node, ast.ClassDef):
            inner = (one for one in node.body if isinstance(one, ast.FunctionDef))
            found |= {f"::{node.name}::{one.name}" for one in inner}
    return frozenset(found)


def test_there_are_faults() -> None:
    assert len(ROWS) > 20


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_every_fault_is_tested(row: list[str]) -> None:
    fault, happens, recovers, tests = row
    assert fault
    assert happens
    assert recovers
    named = TEST.findall(tests)
    assert named
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert not name or name in names_in(path), path + name
        assert Path(path).name.startswith("test_")

"""Links of pages lead somewhere, paths exist, and lines that people write are short to review."""

import re
from functools import cache
from pathlib import Path

import pytest

from benchmarks.house import PACKAGES
from tests.sources import ROOT, files

GENERATED = {"cli.md", "conformance.md"}  # from the commands, and from the code of the node
ALL = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
PAGES = [path for path in ALL if path.name not in GENERATED]
PRESENT = [path for path in ALL if path.name != "CHANGELOG.md"]  # which names what is gone
WIDTH = 120
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = (*PACKAGES, "benchmarks", "tests", "deploy", "docs", "examples")
# Modules, which may be named from any folder on, and what else lies in these folders.
MODULE = re.compile(r"`([\w./-]+\.py)`|-m ((?:" + "|".join(CODE) + r")\.[\w.]*\w)")
PATH = re.compile(r"`((?:service|clients|training|benchmarks|tests)/[\w./-]+)`")


@cache
def prose(page: Path) -> tuple[str, ...]:
    """Lines outside of code and tables."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return tuple(line for line in text.splitlines() if not line.startswith("|"))


@cache
def anchors(page: Path) -> frozenset[str]:
    """What links can name in a page: its headings, as GitHub turns them into anchors."""
    headings = (line.lstrip("#").strip() for line in prose(page) if line.startswith("#"))
    return frozenset(re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings)


@cache
def modules() -> frozenset[str]:
    """Every path that a module can be named by: from the root, or from a folder below it."""
    parts = [p.relative_to(ROOT).parts for name in CODE for p in files(ROOT / name, "*.py")]
    return frozenset("/".join(names[at:]) for names in parts for at in range(len(names)))


def runs(dotted: str) -> bool:
    """Whether `python -m` finds the module, or the package of commands."""
    path = dotted.replace(".", "/")
    return f"{path}.py" in modules() or f"{path}/__main__.py" in modules()


def test_there_are_pages() -> None:
    names = {page.name for page in PAGES}
    assert {"README.md", "CHANGELOG.md", "api.md", "limitations.md", "experiments.md"} <= names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PRESENT, ids=lambda page: page.name)
def test_paths_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path, dotted in MODULE.findall(text):
        assert path in modules() or runs(dotted), path or dotted
    for named in PATH.findall(text):
        assert (ROOT / named).exists() or "mine" in named, named  # mine: a file of the user's


def test_a_module_that_was_renamed_is_told() -> None:
    assert MODULE.findall("| `imaging/dicom_file.py`, `lut.py` |") == [
        ("imaging/dicom_file.py", ""),
        ("lut.py", ""),
    ]
    assert "lut.py" in modules()
    assert "imaging/dicom_file.py" not in modules()


def test_the_table_of_experiments_has_a_line_for_each_entry() -> None:
    summary, *others = (ROOT / "docs" / f"experiments{day}.md" for day in ("", "-2026-11-24"))
    rows = re.findall(r"^\| \[[\d-]+\]\(([\w.-]*)#(.+?)\) \|", summary.read_text(), re.MULTILINE)
    dated = {(name, a) for name, a in rows}
    entries = {("" if p == summary else p.name, a) for p in (summary, *others) for a in anchors(p)}
    assert dated == {(name, a) for name, a in entries if re.match(r"\d{4}-\d\d-\d\d-\w", a)}
    assert len(rows) == len(dated)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_are_short(page: Path) -> None:
    assert not [line for line in prose(page) if len(line) >= WIDTH]

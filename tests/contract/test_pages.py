"""Pages that people write: links lead somewhere, and lines stay short enough to review."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.sources import ROOT

GENERATED = {"cli.md", "conformance.md"}  # from the commands, and from the code of the node
PAGES = sorted(
    path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")] if path.name not in GENERATED
)
WIDTH = 120
LINK = re.compile(r"\]\(([^)\s]+)\)")


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_are_short(page: Path) -> None:
    assert not [line for line in prose(page) if len(line) >= WIDTH]

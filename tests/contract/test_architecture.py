"""docs/architecture.md names every room and what to open; rooms do not import each other."""

import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from benchmarks.house import PACKAGES, arrows, lines_of_source, room_of, sources
from tests.sources import ROOT, files

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`((?:service|training|clients|benchmarks|tests)/[\w./-]+)`", PAGE))
CHANGES = re.findall(r"^\| an? [^|]+\| `([^`]+)` \|$", PAGE, re.MULTILINE)


def test_the_page_names_every_room() -> None:
    rooms = {path.parent.relative_to(ROOT).as_posix() for path in files(ROOT / "service", "*.py")}
    for package in PACKAGES[1:]:
        rooms |= {p.parent.relative_to(ROOT).as_posix() for p in files(ROOT / package, "*.py")}
    depth = {room for room in rooms if room.count("/") < 2 or room.startswith("service")}
    assert depth - NAMED <= {*PACKAGES}


def test_the_page_says_for_ten_changes_which_file_to_open() -> None:
    assert len(CHANGES) == 10
    assert all(Path(ROOT / change).is_file() for change in CHANGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_rooms_import_each_other(package: str) -> None:
    """A package's own modules are all rooms' (errors, settings) or join them (app)."""
    graph: dict[str, set[str]] = {}
    for name, targets in arrows(sources(ROOT)).items():
        room = _stage(name)
        if room.startswith(f"{package}."):
            others = {_stage(target) for target in targets} - {room, *PACKAGES}
            graph.setdefault(room, set()).update(o for o in others if o.startswith(package))
    assert graph
    tuple(TopologicalSorter(graph).static_order())


def _stage(module: str) -> str:
    """Return the folder below the package: what lies in folders of that is of the same stage."""
    return ".".join(room_of(module).split(".")[:2])


def test_lines_of_source_are_code() -> None:
    assert (
        lines_of_source('"""Said."""\n\n# why\nx = 1  # one\n\n\ndef f():\n    """Say."""\n') == 2
    )

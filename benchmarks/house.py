"""How the house stands: modules, lines of source and arrows of each room.

    python -m benchmarks.house [CHECKOUT]

A room is a folder of code, an arrow an import of one module by another. Lines of source are those
that are neither blank nor comment nor docstring.
"""

import ast
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.sources import ROOT

PACKAGES = ("service", "clients", "training")
Arrows = dict[str, set[str]]


@dataclass(slots=True)
class Room:
    """A folder of code: its modules, lines of source, arrows within and rooms it imports from."""

    modules: int = 0
    lines: int = 0
    within: int = 0
    neighbours: set[str] = field(default_factory=set)


def sources(root: Path) -> dict[str, str]:
    """Text of every module by its dotted name; a package's own is that of its folder."""
    return {
        path.relative_to(root)
        .with_suffix("")
        .as_posix()
        .removesuffix("/__init__")
        .replace("/", "."): path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
    }


def arrows(texts: dict[str, str]) -> Arrows:
    """Which modules each one imports, anywhere in it."""
    found: Arrows = defaultdict(set)
    for name, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found[name] |= (inner & texts.keys()) or ({node.module} & texts.keys())
            elif isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names} & texts.keys()
    return found


def room_of(module: str) -> str:
    """Return the folder that a module lies in."""
    return module.rpartition(".")[0] or module


def rooms(texts: dict[str, str]) -> dict[str, Room]:
    """Count what each folder holds."""
    found: dict[str, Room] = defaultdict(Room)
    for name, text in texts.items():
        room = found[room_of(name)]
        room.modules += 1
        room.lines += lines_of_source(text)
    for name, targets in arrows(texts).items():
        place = room_of(name)
        found[place].within += sum(room_of(target) == place for target in targets)
        found[place].neighbours |= {room_of(target) for target in targets} - {place}
    return found


def lines_of_source(text: str) -> int:
    """Count lines that are neither blank nor comment nor docstring."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            documented |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and number not in documented
        for number, line in enumerate(text.splitlines(), 1)
    )


def main() -> None:
    """Print the table."""
    texts = sources(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
    counted = rooms(texts)
    print(f"{'room':30} modules  lines  arrows within  rooms imported from")
    for name, room in sorted(counted.items()):
        neighbours = len(room.neighbours)
        print(f"{name:30} {room.modules:7} {room.lines:6} {room.within:14} {neighbours:20}")
    total = sum(room.lines for room in counted.values())
    names = Counter(
        node.name.removeprefix("_")
        for text in texts.values()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
    )
    print(f"{'all':30} {len(texts):7} {total:6}")
    print("one name for several types:", {name: n for name, n in names.items() if n > 1})


if __name__ == "__main__":
    main()

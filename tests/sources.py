"""Files that a test takes by their place in the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def files(folder: Path, pattern: str = "*") -> list[Path]:
    """Files anywhere below a folder, in a fixed order.

    None is a mistake of the test: it would hold of nothing once its folder is moved.
    """
    found = sorted(path for path in folder.rglob(pattern) if path.is_file())
    assert found, f"{folder} holds no {pattern}: has it been moved?"
    return found

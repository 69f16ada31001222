from pathlib import Path

import pytest

from tests.sources import ROOT, files


def test_files_of_a_folder_come_with_those_below_it() -> None:
    found = files(ROOT / "tests", "*.py")
    assert Path(__file__) in found
    assert ROOT / "tests" / "contract" / "test_imports.py" in found


@pytest.mark.parametrize("folder", ["moved", "."])
def test_none_fail_the_test_that_asks(folder: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="has it been moved"):
        files(tmp_path / folder, "*.py")

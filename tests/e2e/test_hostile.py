"""Hostile files against a real service; benchmarks/hostile.py sends 20,000."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from tests.attack import READING, target
from tests.hostile import inputs

pytestmark = pytest.mark.e2e

FILES, WARM_UP = 400, 100
AT_ONCE = 4


def test_every_answer_is_documented_and_nothing_is_left_behind(
    tiny_model: Path, tmp_path: Path
) -> None:
    files = inputs(FILES, 7)
    with target(tiny_model, tmp_path) as service:
        answers = list(service.attack(islice(files, WARM_UP), AT_ONCE))
        before = service.footprint()
        answers += service.attack(files, AT_ONCE)
        after = service.footprint()
    assert [answer for answer in answers if not answer.documented] == []
    assert len(answers) == FILES
    codes = Counter(answer.code for answer in answers)
    assert codes[READING] > FILES // 20  # damage that spares the image is read
    assert len(codes) > 5
    assert after.workers == before.workers
    assert after.processes == before.processes
    assert after.open_files <= before.open_files + AT_ONCE
    assert after.temporary_files == before.temporary_files
    assert "Traceback" not in (tmp_path / "log").read_text()

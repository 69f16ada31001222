import os
import subprocess
import sys
from pathlib import Path

COUNT = """
from service.observe import metrics
from prometheus_client import generate_latest
metrics.QUEUE_LENGTH.set(3)
metrics.REQUESTS.labels("/predict", "POST", "200", "ok").inc()
{then}
print(generate_latest().decode())
"""


def run(folder: Path, then: str = "") -> str:
    """What a process counts that BentoML's supervisor has given a folder for files."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", COUNT.format(then=then)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_figures_are_kept_in_memory(tmp_path: Path) -> None:
    lines = run(tmp_path).splitlines()
    assert "nanocxr_queue_length 3.0" in lines
    assert any(line.startswith("nanocxr_requests_total{") for line in lines)
    assert not [line for line in lines if "_created" in line]
    assert list(tmp_path.iterdir()) == []


def test_folder_for_files_is_removed_when_it_is_there_and_empty(tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    folder.mkdir()
    for _ in range(2):  # a process that takes the place of another is given the same folder
        run(folder, then="metrics.remove_unused_folder()")
        assert not folder.exists()
    folder.mkdir()
    (folder / "foreign").touch()
    run(folder, then="metrics.remove_unused_folder()")
    assert (folder / "foreign").exists()

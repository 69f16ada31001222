"""300 images at 15 % faults by `cxr-train generate`, killed in the middle, online and in batches.

The key must be nowhere: not in the output of any run, and in no file.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from service.imaging.decode import Limits, decode
from tests.training.generate.nanobanana.films import LOOKS, SIDE
from tests.training.generate.nanobanana.gemini_server import KEY, GeminiServer, serving
from training.generate.archive import read_records

PAIRS = 150
CONCURRENCY = 6
COMMAND = Path(sys.executable).with_name("cxr-train")


@pytest.fixture
def faulty() -> Iterator[GeminiServer]:
    """15 % faults; time-outs are scripted, since they take long."""
    with serving() as local:
        local.rate = 0.15
        local.kinds = tuple(kind for kind in local.kinds if kind != "hang")
        yield local


class Runs:
    """Starts `cxr-train generate` against a server and keeps all that it prints."""

    def __init__(self, server: GeminiServer, root: Path) -> None:
        self.folder = root / "data"
        self._output = root / "output"
        kept = {name: text for name, text in os.environ.items() if not name.startswith("GOOGLE_")}
        self._environment = kept | {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": server.url}

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        fixed = f"--generator nano-banana --pairs {PAIRS} --seed 4 --backoff 0.01 --timeout 10"
        # At 15 % faults one of 300 requests may well be refused 4 times, and 10 of 40 answers.
        refusals = "--refusals 12 --max-unusable 25"
        command = [str(COMMAND), "generate", str(self.folder), *fixed.split(), *refusals.split()]
        with self._output.open("ab") as output:
            return subprocess.Popen(
                [*command, *options], env=self._environment, stdout=output, stderr=output
            )

    def finish(self, *options: str) -> None:
        assert self.start(*options).wait() == 0, self.output()

    def kill_once(self, reached: Callable[[], bool], *options: str) -> None:
        run = self.start(*options)
        deadline = time.monotonic() + 120
        while not reached():
            assert run.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL

    def output(self) -> str:
        return self._output.read_text()


def attempts(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "attempts.jsonl").read_bytes().splitlines()
    return [json.loads(line) for line in lines]


def check_data_set(folder: Path, server: GeminiServer) -> None:
    """300 images, balanced, each as it was delivered, some of every odd look among them."""
    table = pd.read_parquet(folder / "manifest.parquet")
    assert len(table) == 2 * PAIRS
    assert table["label"].value_counts().to_dict() == {0: PAIRS, 1: PAIRS}
    assert (table.groupby("group")["label"].nunique() == 2).all()
    assert table["sha256"].nunique() == 2 * PAIRS
    assert set(table["sha256"]) <= set(server.delivered)
    for path in table["path"]:
        assert decode((folder / path).read_bytes(), Limits()).pixels.shape == (SIDE, SIDE)


def check_secrecy(runs: Runs) -> None:
    assert "US$" in runs.output()
    assert KEY not in runs.output()
    for path in runs.folder.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def test_300_images_one_by_one_with_a_kill_in_the_middle(
    faulty: GeminiServer, tmp_path: Path
) -> None:
    runs = Runs(faulty, tmp_path)
    options = ("--concurrency", str(CONCURRENCY))
    runs.kill_once(lambda: len(faulty.delivered) > PAIRS, *options)
    had = {name: row["sha256"] for name, row in read_records(runs.folder).items()}
    delivered = len(faulty.delivered)
    assert PAIRS < delivered < 2 * PAIRS
    assert 0 <= delivered - len(had) <= CONCURRENCY

    faulty.script = ["hang", "hang"]  # time-outs, while the other threads go on
    runs.finish(*options)
    check_data_set(runs.folder, faulty)
    records = read_records(runs.folder)
    assert {name: records[name]["sha256"] for name in had} == had
    assert len(faulty.delivered) - 2 * PAIRS == delivered - len(had)  # none twice but those lost
    share = faulty.faults.total() - faulty.faults[""]
    paid = [entry for entry in attempts(runs.folder) if entry["cost"]]
    assert len(paid) >= len(faulty.paid)  # also those of the run that was killed
    assert 0.08 < share / faulty.faults.total() < 0.25
    assert set(faulty.faults) >= set(LOOKS)
    assert faulty.busiest <= CONCURRENCY
    check_secrecy(runs)

    before = faulty.calls["draw"]
    runs.finish(*options)
    assert faulty.calls["draw"] == before


def test_300_images_in_batches_with_a_kill_in_the_middle(
    faulty: GeminiServer, tmp_path: Path
) -> None:
    runs = Runs(faulty, tmp_path)
    faulty.looks_until_done = -1
    options = ("--batch", "--poll", "0.02")
    runs.kill_once(lambda: faulty.calls["look at job"] > 3, *options)
    assert faulty.calls["start job"] == 1
    assert not read_records(runs.folder)

    faulty.looks_until_done = 2
    runs.finish(*options)
    check_data_set(runs.folder, faulty)
    assert len(faulty.delivered) == 2 * PAIRS
    jobs = [json.loads(line) for line in (runs.folder / "jobs.jsonl").read_text().splitlines()]
    assert sum(job["event"] == "submitting" for job in jobs) == faulty.calls["start job"]
    paid = [entry for entry in attempts(runs.folder) if entry["cost"]]
    assert len(paid) == 2 * PAIRS + faulty.wasted
    check_secrecy(runs)

    started = faulty.calls["start job"]
    runs.finish(*options)
    assert faulty.calls["start job"] == started

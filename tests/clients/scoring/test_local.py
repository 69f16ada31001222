"""Scoring on this computer: Reader's own numbers, whatever befalls the decoding processes."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clients.datasets.open import Dataset, Item, open_dataset
from clients.scoring.decoding import UNREADABLE_FILE
from clients.scoring.local import LocalEngine
from clients.scoring.score import Score, parts_folder, score
from service.errors import DecoderCrashed
from service.files import sha256
from service.model.bundle import Bundle
from service.model.reader import Reader
from service.settings import Settings
from tests.clients.folders import write_images
from tests.factories import dicom_bytes, png_bytes
from tests.processes import decoders_of, descendants, own_decoders, wait_until, wait_until_gone
from tests.tiny_model import FAMILIAR, UNFAMILIAR


@contextmanager
def engine(model: Path, *, embeddings: bool = False) -> Iterator[LocalEngine]:
    settings = Settings(model=model)
    with LocalEngine(Bundle.open(model), settings, embeddings=embeddings, cores_used=2) as opened:
        yield opened


def scores(opened: LocalEngine, dataset: Dataset) -> dict[str, Score]:
    found = [(item.name, row) for item, row in opened.score(dataset.items)]
    assert len(found) == len(dataset.items)
    return dict(found)


class TestNumbers:
    def test_are_those_of_the_reader(self, tiny_model: Path, tmp_path: Path) -> None:
        dataset = open_dataset(write_images(tmp_path / "images", 20))
        reader = Reader.open(tiny_model, threads=1)
        with engine(tiny_model, embeddings=True) as opened:
            found = scores(opened, dataset)
        for item in dataset.items:
            content = item.file.read_bytes()
            expected, row = reader.read(content), found[item.name]
            assert row.sha256 == sha256(content)
            assert row.probability == pytest.approx(expected.probability, abs=1e-5)
            assert row.logit == pytest.approx(expected.logit, abs=1e-5)
            assert (row.call, row.view) == (expected.call, expected.radiograph.view)
            assert (row.height, row.width) == (80, 96) if row.view is None else (96, 80)
            assert (row.peak_x, row.peak_y) == expected.peak
            assert row.error is None
            assert row.embedding is not None
            np.testing.assert_allclose(row.embedding, expected.embedding, atol=1e-5)

    def test_unfamiliar_images_are_rows_with_a_code(
        self, gated_model: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "images").mkdir()
        for name, content in (("a", FAMILIAR), ("b", UNFAMILIAR), ("c", FAMILIAR)):
            (tmp_path / "images" / f"{name}.png").write_bytes(content)
        with engine(gated_model) as opened:
            first, second, third = scores(opened, open_dataset(tmp_path / "images")).values()
        expected = Reader.open(gated_model, threads=1).read(FAMILIAR).familiarity
        assert first.familiarity == third.familiarity == pytest.approx(expected)
        assert second == Score(sha256=sha256(UNFAMILIAR), error="unfamiliar_image")

    def test_sex_and_age_band_come_from_the_header(self, tiny_model: Path, tmp_path: Path) -> None:
        dataset = open_dataset(write_images(tmp_path / "images", 2))
        with engine(tiny_model) as opened:
            png, dicom = scores(opened, dataset).values()
        assert (png.patient_sex, png.age_band) == (None, None)
        assert (dicom.patient_sex, dicom.age_band) == ("F", "40-49")

    def test_bad_files_are_rows_and_the_others_are_read(
        self, tiny_model: Path, tmp_path: Path
    ) -> None:
        contents = {
            "lateral": dicom_bytes(view="LL"),
            "cut": png_bytes()[:500],
            "good": png_bytes(),
        }
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
        listed = open_dataset(tmp_path).items
        gone = Item(name="gone", file=tmp_path / "gone", label=None)
        with engine(tiny_model) as opened:
            found = scores(opened, Dataset(items=(*listed, gone)))
        assert {name: row.error for name, row in found.items()} == {
            "lateral": "not_frontal",
            "cut": "truncated_image",
            "good": None,
            "gone": UNREADABLE_FILE,
        }
        assert found["lateral"].sha256 == sha256(contents["lateral"])
        assert found["lateral"].probability is None


class TestEmbeddings:
    def test_are_a_column_of_fixed_size_and_null_where_there_is_no_reading(
        self, tiny_model: Path, tmp_path: Path
    ) -> None:
        folder = write_images(tmp_path / "images", 5)
        (folder / "lateral").write_bytes(dicom_bytes(view="LL"))
        out = tmp_path / "scores.parquet"
        with engine(tiny_model, embeddings=True) as opened:
            size = opened.embedding_size
            score(open_dataset(folder), opened, out, advance=lambda _: None)
        assert pq.read_schema(out).field("embedding").type == pa.list_(pa.float32(), size)
        table = pd.read_parquet(out).set_index("path")
        assert table["embedding"].isna().to_dict() == {
            **dict.fromkeys(["00000", "00001", "00002", "00003", "00004"], False),
            "lateral": True,
        }
        reading = Reader.open(tiny_model, threads=1).read((folder / "00003").read_bytes())
        np.testing.assert_allclose(table["embedding"]["00003"], reading.embedding, atol=1e-5)


class TestDeadDecoders:
    def test_file_that_kills_its_process_is_a_row_and_the_others_are_read(
        self, tiny_model: Path, tmp_path: Path
    ) -> None:
        folder = write_images(tmp_path / "images", 40)
        dataset = open_dataset(folder)
        fatal = tmp_path / "fatal"
        os.mkfifo(fatal)
        items = list(dataset.items)
        items.insert(9, Item(name="fatal", file=fatal, label=None))
        with engine(tiny_model) as opened, readers_killed(fatal) as killed:
            found = scores(opened, Dataset(items=tuple(items)))
        assert len(killed) == 2  # among others, then alone
        assert found.pop("fatal").error == DecoderCrashed.code
        assert {row.error for row in found.values()} == {None}

    def test_killed_processes_cost_no_row(self, tiny_model: Path, tmp_path: Path) -> None:
        dataset = open_dataset(write_images(tmp_path / "images", 200))
        with engine(tiny_model) as opened:
            for _ in range(2):  # one death in each: a file may lose its process once, not twice
                found = {}
                for number, (item, row) in enumerate(opened.score(dataset.items)):
                    found[item.name] = row
                    if number == 20:
                        own_decoders()[0].kill()
                assert len(found) == 200
                assert {row.error for row in found.values()} == {None}


@contextmanager
def readers_killed(fifo: Path) -> Iterator[list[int]]:
    """Kill -9 every child process that opens this pipe; yields their process ids."""
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while True:
            # Returns when a reader opens it, or at once where a dying one has not let go of it yet.
            with fifo.open("wb"):
                wait_until(lambda: over.is_set() or bool(holders(fifo)))
                if over.is_set():
                    return
                (reader,) = holders(fifo)
                os.kill(reader, signal.SIGKILL)
                killed.append(reader)
                wait_until(lambda: not holders(fifo))

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # a writer may wait for one
        thread.join()
        os.close(reader)


def holders(file: Path) -> list[int]:
    """Child processes that have this file open."""
    return [child.pid for child in descendants(os.getpid()) if file in open_files(child.pid)]


def open_files(pid: int) -> set[Path]:
    """What a process has open; nothing where it has just ended."""
    try:
        return {link.resolve() for link in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:
        return set()


RUN = """
import signal
import sys
import time
from pathlib import Path
from clients.scoring import score
from clients.datasets.open import open_dataset
from clients.scoring.local import LocalEngine
from service.model.bundle import Bundle
from service.settings import Settings

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
score.PART_ROWS = 16
images, model, out = map(Path, sys.argv[1:4])
pause = float(sys.argv[4])
with LocalEngine(Bundle.open(model), Settings(model=model), cores_used=2) as engine:
    score.score(open_dataset(images), engine, out, advance=lambda _: time.sleep(pause))
"""


IMAGES = 600
PAUSE = 0.05  # seconds after each row, or a fast machine would be done before it is interrupted


class TestInterruption:
    def test_interruptions_leave_no_process_and_cost_no_row(
        self, tiny_model: Path, tmp_path: Path
    ) -> None:
        images, out = write_images(tmp_path / "images", IMAGES), tmp_path / "scores.parquet"
        command = [sys.executable, "-c", RUN, str(images), str(tiny_model), str(out)]
        slowly = [*command, str(PAUSE)]
        parts = parts_folder(out)
        for stop in (signal.SIGKILL, signal.SIGINT):  # of a run, and of one that goes on
            before = len(list(parts.glob("*.parquet")))
            run = subprocess.Popen(slowly, stderr=subprocess.DEVNULL)
            wait_until(lambda: len(list(parts.glob("*.parquet"))) > before)  # noqa: B023
            below = descendants(run.pid)
            assert len(decoders_of(run.pid)) == 2
            run.send_signal(stop)
            assert run.wait() != 0
            wait_until_gone(below)
            assert not out.exists()
        kept = sum(pq.read_metadata(part).num_rows for part in parts.glob("*.parquet"))
        assert 0 < kept < IMAGES
        subprocess.run([*command, "0"], check=True)
        table = pd.read_parquet(out)
        assert len(table) == table["path"].nunique() == IMAGES
        assert table["error"].isna().all()
        assert not parts.exists()
        assert [file.name for file in tmp_path.iterdir() if file != images] == [out.name]

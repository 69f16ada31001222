"""A run writes one row an image, survives interruptions and never mixes models."""

import re
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from clients.datasets.open import Dataset, Item, open_dataset
from clients.scoring.rest import RestEngine
from clients.scoring.score import (
    ITSELF,
    OtherRun,
    Score,
    ScoringError,
    done_names,
    parts_folder,
    score,
)
from clients.sdk.client import ChestXrayClient
from clients.sdk.errors import AccessDenied, ServiceBusy
from service.files import sha256
from service.model.manifest import ModelIdentity
from tests.clients.sdk import bodies
from tests.clients.sdk.http_server import Answer, Server
from tests.factories import dicom_bytes
from tests.processes import wait_until

MODEL = ModelIdentity(name="default", version="1", sha256="a" * 64)


class CountingEngine:
    """Scores by the length of the name; fails at the image it is told to fail at."""

    embedding_size: int | None = None
    operating_point = "balanced"
    read_by = ITSELF

    def __init__(
        self,
        model: ModelIdentity = MODEL,
        fail_at: int | None = None,
        calibration: str | None = None,
    ) -> None:
        self.model = model
        self.calibration = calibration
        self.fail_at = fail_at
        self.scored: list[str] = []

    def score(self, items: Iterable[Item]) -> Generator[tuple[Item, Score], None, None]:
        for number, item in enumerate(items):
            if number == self.fail_at:
                raise ConnectionError("the network is gone")
            self.scored.append(item.name)
            yield item, Score(probability=len(item.name) / 100, call="no pneumonia")


def ignore(_: Score) -> None:
    """Show no progress."""


def listed(folder: Path, rows: int, strata: str = "source") -> Dataset:
    lines = [f"{number:04d}.png,{number % 2},north" for number in range(rows)]
    (folder / "labels.csv").write_text(f"path,label,{strata}\n" + "\n".join(lines) + "\n")
    return open_dataset(folder / "labels.csv")


class TestRun:
    def test_one_row_an_image_with_label_and_strata(self, tmp_path: Path) -> None:
        out = tmp_path / "scores.parquet"
        summary = score(listed(tmp_path, 3), CountingEngine(), out, advance=ignore)
        table = pd.read_parquet(out)
        assert (summary.images, summary.errors) == (3, 0)
        assert table["path"].tolist() == ["0000.png", "0001.png", "0002.png"]
        assert table["label"].tolist() == [0, 1, 0]
        assert table["source"].tolist() == ["north"] * 3
        assert table["probability"].tolist() == [0.08] * 3
        assert not parts_folder(out).exists()

    def test_stratum_named_like_a_measured_column_is_kept_apart(self, tmp_path: Path) -> None:
        out = tmp_path / "scores.parquet"
        score(listed(tmp_path, 1, strata="view"), CountingEngine(), out, advance=ignore)
        table = pd.read_parquet(out)
        assert table["dataset_view"].tolist() == ["north"]
        assert table["view"].isna().all()

    @pytest.mark.parametrize("fail_at", [0, 1, 5, 9])
    def test_interrupted_run_continues_without_losing_or_repeating(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int
    ) -> None:
        monkeypatch.setattr("clients.scoring.score.PART_ROWS", 2)
        dataset, out = listed(tmp_path, 10), tmp_path / "scores.parquet"
        broken, whole = CountingEngine(fail_at=fail_at), CountingEngine()
        with pytest.raises(ConnectionError):
            score(dataset, broken, out, advance=ignore)
        assert not out.exists()
        score(dataset, whole, out, advance=ignore)
        assert broken.scored + whole.scored == [item.name for item in dataset.items]
        assert pd.read_parquet(out)["path"].tolist() == [item.name for item in dataset.items]

    def test_half_written_part_of_a_killed_run_is_not_read(self, tmp_path: Path) -> None:
        dataset, out = listed(tmp_path, 4), tmp_path / "scores.parquet"
        with pytest.raises(ConnectionError):
            score(dataset, CountingEngine(fail_at=2), out, advance=ignore)
        (parts_folder(out) / ".00000001.parquet.4711").write_bytes(b"PAR1 half")
        assert done_names(parts_folder(out)) == {"0000.png", "0001.png"}
        score(dataset, CountingEngine(), out, advance=ignore)
        assert len(pd.read_parquet(out)) == 4

    def test_finished_run_is_not_done_again(self, tmp_path: Path) -> None:
        dataset, out = listed(tmp_path, 4), tmp_path / "scores.parquet"
        score(dataset, CountingEngine(), out, advance=ignore)
        again = CountingEngine()
        assert score(dataset, again, out, advance=ignore).images == 4
        assert again.scored == []

    @pytest.mark.parametrize("fail_at", [None, 2])
    def test_other_model_or_dataset_is_refused(self, tmp_path: Path, fail_at: int | None) -> None:
        dataset, out = listed(tmp_path, 4), tmp_path / "scores.parquet"
        other = ModelIdentity(name="x", version="2", sha256="b" * 64)
        try:
            score(dataset, CountingEngine(fail_at=fail_at), out, advance=ignore)
        except ConnectionError:
            assert fail_at is not None
        with pytest.raises(
            OtherRun, match=r"the model \(was default 1, aaa.*now x 2, bbb.* Delete"
        ):
            score(dataset, CountingEngine(other), out, advance=ignore)
        with pytest.raises(OtherRun, match=r"the dataset \(images were added"):
            score(listed(tmp_path, 5), CountingEngine(), out, advance=ignore)

    @pytest.mark.parametrize("fail_at", [None, 2])
    @pytest.mark.parametrize(
        ("rows", "words"),
        [
            ("0000.png,0,north\n0002.png,0,north", "^1 images are gone"),
            ("0000.png,1,north\n0001.png,1,north", "1 labels are others$"),
            ("0000.png,0,south\n0001.png,1,south", "2 images have other facts$"),
        ],
    )
    def test_what_differs_of_the_dataset_is_counted(
        self, tmp_path: Path, fail_at: int | None, rows: str, words: str
    ) -> None:
        dataset, out = listed(tmp_path, 2), tmp_path / "scores.parquet"
        with suppress(ConnectionError):
            score(dataset, CountingEngine(fail_at=fail_at), out, advance=ignore)
        (tmp_path / "labels.csv").write_text(f"path,label,source\n{rows}\n")
        with pytest.raises(OtherRun) as refused:
            score(open_dataset(tmp_path / "labels.csv"), CountingEngine(), out, advance=ignore)
        (change,) = re.findall(r"the dataset \((.*)\)\. Delete", str(refused.value))
        assert re.search(words, change)

    def test_rows_of_a_service_and_of_the_model_itself_are_not_mixed(
        self, tmp_path: Path, server: Server
    ) -> None:
        server.on("/model", Answer.json(bodies.model()))
        dataset, out = listed(tmp_path, 4), tmp_path / "scores.parquet"
        with pytest.raises(ConnectionError):
            score(dataset, CountingEngine(fail_at=2), out, advance=ignore)
        with ChestXrayClient(server.url) as client:
            with pytest.raises(OtherRun, match=r"who reads \(was the model itself, now a service"):
                score(dataset, RestEngine(client), out, advance=ignore)
            score(dataset, RestEngine(client), tmp_path / "rest.parquet", advance=ignore)
        with pytest.raises(OtherRun, match=r"who reads \(was a service, now the model itself"):
            score(dataset, CountingEngine(), tmp_path / "rest.parquet", advance=ignore)

    def test_other_columns_are_named(self, tmp_path: Path) -> None:
        out = tmp_path / "scores.parquet"
        score(listed(tmp_path, 2), CountingEngine(), out, advance=ignore)
        with pytest.raises(
            OtherRun, match="columns were label, path, source, and are label, path, w"
        ):
            score(listed(tmp_path, 2, strata="ward"), CountingEngine(), out, advance=ignore)

    def test_other_file_is_not_overwritten(self, tmp_path: Path) -> None:
        out = tmp_path / "scores.parquet"
        out.write_text("a thesis")
        with pytest.raises(OtherRun, match="is no file of scores"):
            score(listed(tmp_path, 2), CountingEngine(), out, advance=ignore)
        assert out.read_text() == "a thesis"

    @pytest.mark.parametrize("fail_at", [None, 2])
    @pytest.mark.parametrize(("first", "second"), [(None, "c"), ("c", None), ("c", "d")])
    def test_other_calibration_is_refused(
        self, tmp_path: Path, fail_at: int | None, first: str | None, second: str | None
    ) -> None:
        dataset, out = listed(tmp_path, 4), tmp_path / "scores.parquet"
        with suppress(ConnectionError):
            score(dataset, CountingEngine(fail_at=fail_at, calibration=first), out, advance=ignore)
        with pytest.raises(OtherRun, match=r"the calibration \(was "):
            score(dataset, CountingEngine(calibration=second), out, advance=ignore)
        assert score(dataset, CountingEngine(calibration=first), out, advance=ignore).images == 4

    def test_image_that_comes_twice_is_one_row(self, tmp_path: Path) -> None:
        class Stuttering(CountingEngine):
            def score(self, items: Iterable[Item]) -> Generator[tuple[Item, Score], None, None]:
                for item, found in super().score(items):
                    yield item, found
                    yield item, found

        out = tmp_path / "scores.parquet"
        assert score(listed(tmp_path, 5), Stuttering(), out, advance=ignore).images == 5

    def test_image_that_never_comes_is_an_error_and_scored_when_run_again(
        self, tmp_path: Path
    ) -> None:
        class Forgetful(CountingEngine):
            def score(self, items: Iterable[Item]) -> Generator[tuple[Item, Score], None, None]:
                yield from super().score(list(items)[1:])

        out, again = tmp_path / "scores.parquet", CountingEngine()
        with pytest.raises(ScoringError, match="1 images got no row"):
            score(listed(tmp_path, 5), Forgetful(), out, advance=ignore)
        score(listed(tmp_path, 5), again, out, advance=ignore)
        assert again.scored == ["0000.png"]


class TestRestEngine:
    def files(self, folder: Path, *contents: bytes) -> Dataset:
        for number, content in enumerate(contents):
            (folder / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
        return open_dataset(folder)

    def test_reading_becomes_a_row(self, server: Server, tmp_path: Path) -> None:
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.json(bodies.reading(0.75)))
        dataset = self.files(tmp_path, b"one")
        with ChestXrayClient(server.url) as client:
            engine = RestEngine(client)
            ((item, found),) = engine.score(dataset.items)
        assert (engine.model, engine.operating_point) == (MODEL, "balanced")
        assert found.sha256 == sha256(item.file)
        assert (found.probability, found.call) == (0.75, "pneumonia")
        assert (found.width, found.height, found.logit, found.error) == (40, 30, None, None)
        assert found.milliseconds is not None

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (Answer.problem(422, "not_frontal"), "not_frontal"),
            (Answer(status=413), "http_413"),
            (Answer.problem(500, "internal_error"), "internal_error"),
        ],
    )
    def test_refused_image_is_a_row_with_its_code(
        self, server: Server, tmp_path: Path, answer: Answer, code: str
    ) -> None:
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", answer)
        with ChestXrayClient(server.url) as client:
            ((_, found),) = RestEngine(client).score(self.files(tmp_path, b"one").items)
        assert (found.error, found.probability) == (code, None)

    def test_missing_file_is_a_row_and_the_others_are_read(
        self, server: Server, tmp_path: Path
    ) -> None:
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.json(bodies.reading()))
        dataset = self.files(tmp_path, b"one", b"two")
        dataset.items[0].file.unlink()
        with ChestXrayClient(server.url) as client:
            found = {
                item.name: score.error for item, score in RestEngine(client).score(dataset.items)
            }
        assert found == {"0.png": "unreadable_file", "1.png": None}

    def test_slow_answer_does_not_hold_the_others_up(self, server: Server, tmp_path: Path) -> None:
        """Images are asked for while one of the first is still being read."""

        def until_all_others_are_asked_for() -> None:
            wait_until(lambda: sum(asked.path == "/predict" for asked in server.asked) >= 7)

        answer = Answer.json(bodies.reading())
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", replace(answer, when=until_all_others_are_asked_for), answer)
        dataset = self.files(tmp_path, *(b"%d" % number for number in range(9)))
        with ChestXrayClient(server.url) as client:
            found = [item.name for item, _ in RestEngine(client).score(dataset.items)]
        assert sorted(found) == [item.name for item in dataset.items]

    def test_busy_service_is_asked_again_when_it_says(self, server: Server, tmp_path: Path) -> None:
        server.on("/model", Answer.json(bodies.model()))
        server.on(
            "/predict",
            Answer(status=503, headers={"Retry_After": "0"}),
            Answer(status=429),
            Answer.json(bodies.reading(0.75)),
        )
        with ChestXrayClient(server.url) as client:
            ((_, found),) = RestEngine(client).score(self.files(tmp_path, b"one").items)
        assert (found.probability, found.error) == (0.75, None)

    def test_sex_and_age_band_are_read_here(self, server: Server, tmp_path: Path) -> None:
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.json(bodies.reading()))
        (tmp_path / "1").write_bytes(dicom_bytes(PatientSex="M", PatientAge="062Y"))
        with ChestXrayClient(server.url) as client:
            ((_, found),) = RestEngine(client).score(open_dataset(tmp_path).items)
        assert (found.patient_sex, found.age_band) == ("M", "60-69")

    def test_service_that_wants_another_key_stops_the_run(
        self, server: Server, tmp_path: Path
    ) -> None:
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.problem(401, "unauthorized"))
        with ChestXrayClient(server.url) as client:
            engine = RestEngine(client)
            with pytest.raises(AccessDenied):
                list(engine.score(self.files(tmp_path, b"one").items))

    def test_busy_service_stops_the_run(self, server: Server, tmp_path: Path) -> None:
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer(status=503))
        with ChestXrayClient(server.url, retries=0) as client:
            engine = RestEngine(client)
            with pytest.raises(ServiceBusy):
                list(engine.score(self.files(tmp_path, b"one").items))

    def test_calibration_that_changes_during_the_run_stops_it(
        self, server: Server, tmp_path: Path
    ) -> None:
        site = {"name": "site", "sha256": "c" * 64, "films": 200}
        server.on("/model", Answer.json(bodies.model() | {"calibration": site | bodies.FITTED}))
        server.on(
            "/predict",
            Answer.json(bodies.reading() | {"calibration": site}),
            Answer.json(bodies.reading()),
        )
        with ChestXrayClient(server.url) as client:
            engine = RestEngine(client)
            assert engine.calibration == "c" * 64
            items = self.files(tmp_path, b"one").items
            assert [found.error for _, found in engine.score(items)] == [None]
            with pytest.raises(ScoringError, match="changed its calibration"):
                list(engine.score(items))

    def test_model_that_changes_during_the_run_stops_it(
        self, server: Server, tmp_path: Path
    ) -> None:
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.json(bodies.reading(sha256="b" * 64)))
        with ChestXrayClient(server.url) as client:
            engine = RestEngine(client)
            with pytest.raises(ScoringError, match="changed its model"):
                list(engine.score(self.files(tmp_path, b"one").items))

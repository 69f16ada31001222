"""Readings and commands against a really running service with the tiny model."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from clients import ChestXrayClient, ImageRefused, Prediction, Problem, ServiceUnreachable
from clients.cli.main import cli
from clients.cli.terminal import NOTICE
from clients.dicom import KINDS, Kind, read, report
from clients.dicom.minimal import minimal
from service.model.reader import Reader
from tests.clients.dicom.films import DX, drawn, film, read_by
from tests.clients.dicom.objects.objects import by_kind
from tests.clients.sdk import bodies
from tests.clients.sdk.http_server import Answer, Server
from tests.e2e.conftest import running
from tests.e2e.marked import NEEDLES, marked
from tests.factories import chest, png_bytes
from tests.sources import ROOT

FILM = film(**DX)
LATERAL = film(view="LL")
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def url(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    with running(folder, CXR_MODEL=str(tiny_model)) as service:
        yield service.url


@pytest.fixture
def client(url: str) -> Iterator[ChestXrayClient]:
    with ChestXrayClient(url) as client:
        yield client


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


class TestRead:
    def test_gives_reading_and_heatmap_of_the_whole_film(
        self, client: ChestXrayClient, reader: Reader
    ) -> None:
        reading, heatmap = read(client, FILM, KINDS)
        expected, drawn = read_by(reader, FILM)
        assert isinstance(reading, Prediction)
        assert reading.probability == pytest.approx(expected.probability, abs=1e-5)
        assert heatmap is not None
        assert heatmap.grid.shape == drawn.grid.shape
        assert abs(heatmap.grid.astype(int) - drawn.grid).max() <= 1

    def test_pictures_are_those_of_explain_bit_for_bit(self, client: ChestXrayClient) -> None:
        _, heatmap = read(client, FILM, KINDS)
        assert heatmap is not None
        sent = minimal(FILM)
        assert heatmap.overlay == client.explain(sent, form="jpeg", size="reduced").picture
        bare = drawn(client.explain(sent, bare=True).picture)
        np.testing.assert_array_equal(heatmap.grid, bare.grid)

    def test_capture_of_a_large_film_has_half_of_its_pixels_a_side(
        self, client: ChestXrayClient
    ) -> None:
        pixels = chest(1443, 1301)
        data = film(pixels, **DX)
        reading, heatmap = read(client, data, KINDS)
        assert heatmap is not None
        assert heatmap.size == (1443, 1301)
        made = by_kind(data, reading, heatmap)
        assert (made["seg"].Columns, made["sc"].Columns) == (1301, 651)
        shown = made["sc"].pixel_array[:722].mean(axis=2)
        expected = Image.fromarray(pixels.astype(np.float32)).reduce(2)
        assert np.corrcoef(shown.ravel(), np.asarray(expected).ravel())[0, 1] > 0.95

    def test_without_a_capture_the_service_draws_nothing(self, client: ChestXrayClient) -> None:
        reading, heatmap = read(client, FILM, KINDS - {"sc"})
        _, drawn = read(client, FILM, KINDS)
        assert isinstance(reading, Prediction)
        assert heatmap is not None
        assert drawn is not None
        assert heatmap.overlay is None
        np.testing.assert_array_equal(heatmap.grid, drawn.grid)
        with pytest.raises(ValueError, match="capture"):
            report(FILM, reading, heatmap, KINDS)

    @pytest.mark.parametrize("kinds", [KINDS, frozenset({"sr"})])
    def test_film_is_sent_once(self, server: Server, kinds: frozenset[Kind]) -> None:
        server.on("/predict", Answer.json(bodies.with_heatmap(png_bytes())))
        with ChestXrayClient(server.url) as client:
            read(client, FILM, kinds)
        assert len(server.asked) == 1

    def test_asks_for_no_heatmap_where_none_is_needed(self, client: ChestXrayClient) -> None:
        reading, heatmap = read(client, FILM, frozenset({"sr"}))
        assert isinstance(reading, Prediction)
        assert heatmap is None

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (LATERAL, "not_frontal"),
            (png_bytes(), "not_an_image"),
            (FILM[:-500], "truncated_image"),
        ],
    )
    def test_refusal_is_a_problem_with_its_code(
        self, client: ChestXrayClient, data: bytes, code: str
    ) -> None:
        refused, heatmap = read(client, data, KINDS)
        assert isinstance(refused, Problem)
        assert refused.code == code
        assert heatmap is None

    def test_a_service_that_is_away_is_no_refusal(self) -> None:
        with ChestXrayClient(NOBODY, retries=0) as client, pytest.raises(ServiceUnreachable):
            read(client, FILM, KINDS)

    @pytest.mark.parametrize("status", [413, 415])
    def test_what_a_proxy_does_not_let_through_is_no_refusal(
        self, server: Server, status: int
    ) -> None:
        page = Answer(status=status, body=b"<html>Request Entity Too Large</html>")
        server.on("/predict", page, Answer.problem(status, "of_the_film"))
        with ChestXrayClient(server.url) as client:
            with pytest.raises(ImageRefused, match=f"http_{status}"):
                read(client, FILM, KINDS)
            refused, _ = read(client, FILM, KINDS)
        assert isinstance(refused, Problem)
        assert refused.code == "of_the_film"

    def test_service_that_knows_no_reduced_picture_has_refused_no_film(
        self, server: Server
    ) -> None:
        server.on("/predict", Answer.problem(400, "invalid_parameter"))
        with (
            ChestXrayClient(server.url) as client,
            pytest.raises(ImageRefused, match="invalid_parameter"),
        ):
            read(client, FILM, KINDS)

    def test_sends_nobody_s_name(self, server: Server) -> None:
        server.on("/predict", Answer.problem(422, "not_a_chest"))
        with ChestXrayClient(server.url) as client:
            read(client, marked(), KINDS)
        (asked,) = server.asked
        (part,) = asked.parts
        assert not [needle for needle in NEEDLES if needle in part.content.lower()]
        assert part.filename == "image"


def test_sample_in_the_documentation_runs(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / "docs" / "hospital.md"
    (sample,) = re.findall(r"```python\n(.+?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "film.dcm").write_bytes(FILM)
    monkeypatch.chdir(tmp_path)
    exec(sample.replace("http://localhost:3000", url), {})
    written = {file.stem for file in tmp_path.glob("*.dcm")} - {"film"}
    assert written == {"SR", "OT", "PR", "SEG"}


class TestReportCommand:
    def test_writes_the_objects_that_the_function_makes(
        self, url: str, reader: Reader, tmp_path: Path
    ) -> None:
        (tmp_path / "film.dcm").write_bytes(FILM)
        result = run("report", tmp_path / "film.dcm", "--out", tmp_path / "out", "--url", url)
        assert result.exit_code == 0, result.output
        assert NOTICE in result.stderr
        files = [Path(line) for line in result.stdout.splitlines()]
        assert sorted(files) == sorted((tmp_path / "out").iterdir())
        made = {pydicom.dcmread(file).Modality: pydicom.dcmread(file) for file in files}
        assert made.keys() == {"SR", "OT", "PR"}
        for modality, dataset in made.items():
            name = f"{modality}-{dataset.SOPInstanceUID}.dcm"
            assert (tmp_path / "out" / name) in files

    def test_leaves_what_is_there_as_it_is(self, url: str, tmp_path: Path) -> None:
        (tmp_path / "film.dcm").write_bytes(FILM)
        command = (
            "report",
            tmp_path / "film.dcm",
            "--out",
            tmp_path / "out",
            "--url",
            url,
            "--seg",
        )
        assert run(*command).exit_code == 0
        before = {file: file.read_bytes() for file in (tmp_path / "out").iterdir()}
        assert len(before) == 4
        assert run(*command).exit_code == 0
        assert {file: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before

    @pytest.mark.parametrize(("option", "written"), [("--refusals", 1), ("--no-refusals", 0)])
    def test_refused_film_is_named_and_the_others_are_read(
        self, url: str, tmp_path: Path, option: str, written: int
    ) -> None:
        for name, data in {"a": LATERAL, "b": png_bytes(), "c": FILM}.items():
            (tmp_path / name).write_bytes(data)
        result = run(
            *("report", tmp_path / "a", tmp_path / "b", tmp_path / "c"),
            *("--out", tmp_path / "out", "--url", url, "--no-sc", "--no-gsps", option),
        )
        assert result.exit_code == 3
        assert f"{tmp_path / 'a'}: not_frontal: " in result.stderr
        assert f"{tmp_path / 'b'}: " in result.stderr
        assert len(list((tmp_path / "out").iterdir())) == written + 1

    def test_without_a_service_stops_with_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "film.dcm").write_bytes(FILM)
        result = run("report", tmp_path / "film.dcm", "--out", tmp_path / "out", "--url", NOBODY)
        assert result.exit_code == 1
        assert "No answer" in result.stderr
        assert "Traceback" not in result.output

    def test_without_the_extra_says_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "film.dcm").write_bytes(FILM)
        code = (
            "import sys; sys.modules['highdicom'] = None; from clients.cli.main import cli; "
            f"cli(['report', {str(tmp_path / 'film.dcm')!r}, '--out', {str(tmp_path)!r}])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "install nanocxr with its extra `dicom`" in done.stderr

    def test_without_any_kind_is_wrong_usage(self, tmp_path: Path) -> None:
        (tmp_path / "film.dcm").write_bytes(FILM)
        options = ("--no-sr", "--no-sc", "--no-gsps")
        assert run("report", tmp_path / "film.dcm", "--out", tmp_path, *options).exit_code == 2


class TestDeidentifyCommand:
    def test_writes_films_by_their_new_names_and_warns(self, tmp_path: Path) -> None:
        folder = tmp_path / "DOE JANE"
        (folder / "deeper").mkdir(parents=True)
        (folder / "JANE.dcm").write_bytes(film())
        (folder / "deeper" / "quiet.dcm").write_bytes(
            film(SOPInstanceUID="1.2.9", BurnedInAnnotation="NO")
        )
        (folder / "notes.txt").write_text("DOE")
        result = run("deidentify", folder, tmp_path / "out")
        assert result.exit_code == 3
        assert f"{folder / 'notes.txt'}: This is no DICOM file." in result.stderr
        assert result.stderr.count("Burned In Annotation") == 1
        written = [pydicom.dcmread(line) for line in result.stdout.splitlines()]
        assert len(written) == 2
        assert len({dataset.StudyInstanceUID for dataset in written}) == 1
        for file in (tmp_path / "out").iterdir():
            assert b"DOE" not in file.read_bytes()
            assert file.stem == pydicom.dcmread(file).SOPInstanceUID

    def test_key_file_gives_the_same_uids_in_every_run(self, tmp_path: Path) -> None:
        (tmp_path / "film.dcm").write_bytes(film())
        (tmp_path / "key").write_bytes(bytes(range(32)))
        for out, key in (("a", True), ("b", True), ("c", False), ("d", False)):
            options = ("--key", tmp_path / "key") if key else ()
            assert run("deidentify", tmp_path / "film.dcm", tmp_path / out, *options).exit_code == 0
        names = [next((tmp_path / out).iterdir()).name for out in "abcd"]
        assert names[0] == names[1]
        assert len(set(names)) == 3

    def test_another_file_of_that_name_stays_and_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_bytes(bytes(range(32)))
        folder, out = tmp_path / "films", tmp_path / "out"
        folder.mkdir()
        (folder / "a.dcm").write_bytes(film())
        command = ("deidentify", folder, out, "--key", tmp_path / "key")
        assert [run(*command).exit_code for _ in range(2)] == [0, 0]
        (written,) = out.iterdir()
        first = written.read_bytes()
        (folder / "a.dcm").write_bytes(film(BurnedInAnnotation="NO"))
        again = run(*command)
        assert again.exit_code == 3
        assert again.stdout == ""
        assert f"{folder / 'a.dcm'}: {written} is there with other content" in again.stderr
        assert written.read_bytes() == first

    def test_short_key_is_wrong_usage(self, tmp_path: Path) -> None:
        (tmp_path / "film.dcm").write_bytes(film())
        (tmp_path / "key").write_bytes(b"secret")
        result = run(
            "deidentify", tmp_path / "film.dcm", tmp_path / "out", "--key", tmp_path / "key"
        )
        assert result.exit_code == 2
        assert not (tmp_path / "out").exists()

"""The module as mercure starts it."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from clients.dicom.mercure import main
from clients.dicom.objects.common import encoded
from tests.clients.dicom.node.peers import film
from tests.e2e.conftest import Server
from tests.ports import free_port


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    made = {"MERCURE_IN_DIR": tmp_path / "in", "MERCURE_OUT_DIR": tmp_path / "out"}
    for folder in made.values():
        folder.mkdir()
    return {name: str(folder) for name, folder in made.items()}


def task(folders: dict[str, str], *films: bytes, **settings: Any) -> None:
    """A task as mercure writes it."""
    folder = Path(folders["MERCURE_IN_DIR"])
    process = {"module_name": "nanocxr", "settings": settings}
    (folder / "task.json").write_text(json.dumps({"id": "1", "process": process}))
    for number, content in enumerate(films):
        (folder / f"2.25.1#2.25.{number}.dcm").write_bytes(content)


def made(folders: dict[str, str]) -> dict[str, Any]:
    files = Path(folders["MERCURE_OUT_DIR"]).glob("*.dcm")
    return {path.name: dcmread(BytesIO(path.read_bytes())) for path in files}


def result(folders: dict[str, str]) -> dict[str, int]:
    return dict(json.loads((Path(folders["MERCURE_OUT_DIR"]) / "result.json").read_text())["films"])


def test_results_of_each_film(folders: dict[str, str], service: Server) -> None:
    good, hand = film(1), film(2, BodyPartExamined="HAND")
    task(folders, encoded(good), encoded(hand), b"no film", url=service.url, kinds=["sr", "sc"])
    assert main(folders) == 0
    assert result(folders) == {"not_a_chest": 1, "read": 1, "unreportable": 1}
    results = made(folders)
    assert sorted(one.Modality for one in results.values()) == ["OT", "SR", "SR"]
    for name, one in results.items():
        assert name == f"{one.SeriesInstanceUID}#{one.SOPInstanceUID}.dcm"
        assert one.StudyInstanceUID in {good.StudyInstanceUID, hand.StudyInstanceUID}


def test_no_report_of_a_refusal(folders: dict[str, str], service: Server) -> None:
    task(folders, encoded(film(BodyPartExamined="HAND")), url=service.url, refused=False)
    assert main(folders) == 0
    assert made(folders) == {}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kinds": ["pm"]}, "process.settings.kinds.0 in task.json"),
        ({"colour": 1}, "process.settings.colour in task.json"),
        ({"url": "http://127.0.0.1:9"}, "No answer from http://127.0.0.1:9"),
    ],
)
def test_task_that_cannot_be_done_ends_with_1(
    folders: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, Any],
    sentence: str,
) -> None:
    task(folders, encoded(film()), **settings)
    assert main(folders) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line


def test_key_that_is_none_ends_with_1_and_is_not_printed(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXR_API_KEY", "cxr_\u201cabc")
    task(folders)
    assert main(folders) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Error: CXR_API_KEY is no API key")
    assert "abc" not in line


def test_no_film_or_no_variable_ends_with_1(
    folders: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    task(folders, b"no film", url=f"http://127.0.0.1:{free_port()}")
    assert main(folders) == 1
    assert result(folders) == {"unreportable": 1}
    assert main({}) == 1
    assert "MERCURE_IN_DIR" in capsys.readouterr().err

"""An archive is asked again and again, whatever it answers of one film."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from clients.dicom.node import poll
from clients.dicom.node.config import Limits, Poll
from clients.dicom.node.poll import INSTANCE, SERIES, STUDY, Poller
from clients.dicom.node.receive import Inbox
from clients.dicom.node.spool import Spool
from tests.clients.dicom.node.peers import film
from tests.processes import wait_until

FILMS = [film(number) for number in range(3)]


class Archive:
    """Lists three films, and one thing that is none; for a time it cannot give the first film."""

    def __init__(self, fault: Exception) -> None:
        self._fault = fault
        self.asked = 0
        self.mended = False

    def search_for_instances(self, **_: Any) -> list[dict[str, Any]]:
        self.asked += 1
        if self.asked == 1:
            raise self._fault
        names = {STUDY: "StudyInstanceUID", SERIES: "SeriesInstanceUID", INSTANCE: "SOPInstanceUID"}
        return [
            {INSTANCE: {"Value": ["1.2.3"]}},
            *({tag: {"Value": [one[name].value]} for tag, name in names.items()} for one in FILMS),
        ]

    def retrieve_instance(self, study: str, series: str, instance: str) -> Dataset:
        if instance == FILMS[0].SOPInstanceUID and not self.mended:
            raise self._fault
        (found,) = (one for one in FILMS if one.SOPInstanceUID == instance)
        return found


class Lister:
    """Lists films, so many at once at most, and from the first on where it knows no offset."""

    def __init__(self, films: int, most: int, *, knows_offset: bool) -> None:
        self._uids = [f"1.2.3.{number}" for number in range(films)]
        self._most = most
        self._knows_offset = knows_offset
        self.asked: list[str] = []
        self.looks = 0

    def search_for_instances(self, *, limit: int, offset: int, **_: Any) -> list[dict[str, Any]]:
        self.looks += offset == 0
        start = offset if self._knows_offset else 0
        page = self._uids[start : start + min(limit, self._most)]
        return [{tag: {"Value": [uid]} for tag in (STUDY, SERIES, INSTANCE)} for uid in page]

    def retrieve_instance(self, *uids: str) -> Dataset:
        self.asked.append(uids[-1])
        raise KeyError


@contextmanager
def polling(
    archive: object, folder: Path, monkeypatch: pytest.MonkeyPatch, *, seconds: float
) -> Iterator[tuple[Poller, Spool]]:
    """Poll an archive until the block ends."""
    monkeypatch.setattr(poll, "connect", lambda *_: archive)
    spool = Spool(folder / "spool")
    poller = Poller(
        Poll(url="http://127.0.0.1/", query={"Modality": "CR"}, seconds=seconds),
        Inbox(spool, Limits(free_mib=0), for_processing=False),
        spool,
    )
    try:
        yield poller, spool
    finally:
        poller.stop()
        wait_until(lambda: not poller.alive())
        spool.close()


@pytest.mark.parametrize(
    ("films", "most", "knows_offset", "found"),
    [(130, 50, True, 130), (200, 100, True, 200), (130, 100, False, 100)],
)
def test_every_film_is_asked_for_however_few_an_archive_lists_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    films: int,
    most: int,
    knows_offset: bool,
    found: int,
) -> None:
    archive = Lister(films, most, knows_offset=knows_offset)
    with polling(archive, tmp_path, monkeypatch, seconds=0.1):
        wait_until(lambda: archive.looks >= 2 or len(archive.asked) > 9 * found)
        assert archive.looks >= 2
        assert len(set(archive.asked)) == found


@pytest.mark.parametrize(
    "fault", [requests.HTTPError("404"), InvalidDicomError("none"), KeyError("0020000D")], ids=repr
)
def test_one_film_that_cannot_be_fetched_holds_up_no_other_and_is_tried_again(
    fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(fault)
    with polling(archive, tmp_path, monkeypatch, seconds=1) as (poller, spool):
        wait_until(lambda: len(spool.due_films(9)) == 2)
        archive.mended = True
        wait_until(lambda: len(spool.due_films(9)) == 3)
        assert poller.alive()

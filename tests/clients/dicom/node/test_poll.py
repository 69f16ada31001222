"""An archive is asked again and again, whatever it answers of one film."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from clients.dicom.node import poll
from clients.dicom.node.config import Poll
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


@pytest.mark.parametrize(
    "fault", [requests.HTTPError("404"), InvalidDicomError("none"), KeyError("0020000D")], ids=repr
)
def test_one_film_that_cannot_be_fetched_holds_up_no_other_and_is_tried_again(
    fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(fault)
    made: Callable[..., Archive] = lambda *_: archive  # noqa: E731
    monkeypatch.setattr(poll, "connect", made)
    spool = Spool(tmp_path / "spool")
    poller = Poller(
        Poll(url="http://127.0.0.1/", query={"Modality": "CR"}, seconds=1), Inbox(spool, 0), spool
    )
    try:
        wait_until(lambda: len(spool.due_films(9)) == 2)
        archive.mended = True
        wait_until(lambda: len(spool.due_films(9)) == 3)
        assert poller.alive()
    finally:
        poller.stop()
        wait_until(lambda: not poller.alive())
        spool.close()

"""Films are fetched from an archive that sends none: QIDO-RS asks, WADO-RS fetches."""

import logging
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from io import BytesIO
from typing import Any

from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset

from clients.dicom.node.config import Poll, Tls
from clients.dicom.node.dicomweb import connect
from clients.dicom.node.receive import OUT_OF_RESOURCES, Inbox, Refused
from clients.dicom.node.spool import Spool

logger = logging.getLogger("nanocxr.node.poll")

CALLING = "QIDO-RS"  # who films come from, for a destination's rules
PAGE = 100  # instances asked for at once
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
Uids = tuple[str, str, str]


class Full(Exception):
    """The node can keep no film now."""


class Poller:
    """Asks again and again, in a thread of its own."""

    def __init__(self, poll: Poll, inbox: Inbox, spool: Spool) -> None:
        """Start; raises ConfigError where the key file cannot be read."""
        self._poll = poll
        self._inbox = inbox
        self._spool = spool
        self._refused: set[str] = set()
        self._client = connect(
            poll.url, poll.key_file, None if poll.ca is None else Tls(ca=poll.ca)
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poll", daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        """Whether it goes on asking."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look(self._client)
            except Exception as error:  # noqa: BLE001  whatever an archive answers, it is asked again
                _warn("the archive could not be polled", error)
            self._stop.wait(self._poll.seconds)

    def _look(self, client: DICOMwebClient) -> None:
        for uids in self._listed(client):
            if self._stop.is_set():
                return
            try:
                self._fetch(client, uids)
            except Full:
                return
            except Exception as error:  # noqa: BLE001  the films after it are fetched, it is tried again
                _warn("a film could not be fetched", error)

    def _fetch(self, client: DICOMwebClient, uids: Uids) -> None:
        *_, instance = uids
        if instance in self._refused or self._spool.knows(instance):
            return
        film = client.retrieve_instance(*uids)
        try:
            self._inbox.take(_file(film), CALLING)
        except Refused as refusal:
            if refusal.status == OUT_OF_RESOURCES:
                raise Full from None
            self._refused.add(instance)

    def _listed(self, client: DICOMwebClient) -> Iterator[Uids]:
        today = date.today()  # local, as a study's date is
        first, last = today - timedelta(days=self._poll.days), today + timedelta(days=1)
        filters = self._poll.query | {"StudyDate": f"{first:%Y%m%d}-{last:%Y%m%d}"}
        seen: set[Uids] = set()
        offset = 0
        while True:
            page = client.search_for_instances(search_filters=filters, limit=PAGE, offset=offset)
            listed = [_uids(one) for one in page if {STUDY, SERIES, INSTANCE} <= one.keys()]
            found = [uids for uids in listed if uids not in seen]
            if not found:  # an archive without offset gives the first page again
                return
            yield from found
            seen.update(found)
            offset += len(page)  # an archive may give fewer at once than it is asked for


def _warn(what: str, error: Exception) -> None:
    """Name the error alone: some quote an address with a UID in it."""
    logger.warning(what, extra={"facts": {"error": type(error).__name__}})


def _file(film: Dataset) -> bytes:
    file = BytesIO()
    film.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _uids(found: dict[str, Any]) -> Uids:
    study, series, instance = (str(found[tag]["Value"][0]) for tag in (STUDY, SERIES, INSTANCE))
    return study, series, instance

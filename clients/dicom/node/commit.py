"""Storage commitment: senders ask whether their films are safe, and are told.

N-ACTION -> row -> "I will tell you"; what is on the disk -> N-EVENT-REPORT, until it is answered

A film is committed while the node has it. The node is no archive: once results are delivered, the
film goes after ``retention.film_hours``, and what is asked of it then is answered with a failure.
"""

import json
import logging
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.events import Event
from pynetdicom.presentation import build_context

from clients.dicom.node.associate import associated, status_of
from clients.dicom.node.classes import COMMITMENT, PLAIN_ENCODINGS
from clients.dicom.node.config import Commitment
from clients.dicom.node.header import PREFIX_BYTES, UID_TEXT, HeaderError, read_header
from clients.dicom.node.spool import Spool
from service.imaging.dicom.header import MALFORMED, code

logger = logging.getLogger("nanocxr.node.commit")

INSTANCE = UID("1.2.840.10008.1.20.1.1")  # the one that all requests are for: PS3.4 J.3.5
REQUEST_TYPE = 1
ALL_SAFE, SOME_FAILED = 1, 2  # types of event
# What PS3.7 C gives for requests, and PS3.3 C.14.1.1 for films.
ACCEPTED = 0x0000
FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
INVALID_ARGUMENT = 0x0115
CLASS_CONFLICT = 0x0119
NO_SUCH_ACTION = 0x0123
NOT_AUTHORISED = 0x0124
RESOURCE_LIMITATION = 0x0213
MOST_BYTES = 1 << 18  # of a request: some thousand films
MOST_WAITING = 1000  # requests of one sender

Item = tuple[str, str]  # SOP Class and Instance UID


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a sender wants to know.

    Attributes
    ----------
    uid
        Transaction UID (0008,1195).
    calling
        Its AE title.
    items
        The films.
    tries
        Attempts at telling it so far.
    """

    uid: str
    calling: str
    items: tuple[Item, ...]
    tries: int = 0


class Requests:
    """Those that wait for an answer, in the spool."""

    def __init__(self, spool: Spool) -> None:
        self._rows = spool.rows

    def keep(self, request: Request) -> bool:
        """Keep one; when this returns, no cut of the power loses it. Whether there was room."""
        waiting = "select count(*) from commitments where calling=?"
        if self._rows.one(waiting, request.calling) >= MOST_WAITING:
            return False
        self._rows.do(
            "insert into commitments(uid, calling, items, arrived, due) values(?1,?2,?3,?4,?4)"
            " on conflict do update set items=excluded.items, due=excluded.due",
            request.uid,
            request.calling,
            json.dumps(request.items),
            time.time(),
        )
        return True

    def due(self) -> Request | None:
        """What has waited longest, if its turn has come."""
        found = self._rows.all(
            "select uid, calling, items, tries from commitments where due<=? order by due limit 1",
            time.time(),
        )
        for uid, calling, items, tries in found:
            films = tuple((sop_class, sop) for sop_class, sop in json.loads(items))
            return Request(uid=uid, calling=calling, items=films, tries=tries)
        return None

    def put_off(self, request: Request, reason: str, pause: float) -> None:
        """Tell it later, since ``reason`` may pass."""
        self._rows.do(
            "update commitments set tries=tries+1, code=?, due=? where uid=? and calling=?",
            reason,
            time.time() + pause,
            request.uid,
            request.calling,
        )

    def end(self, request: Request) -> None:
        """Forget one."""
        self._rows.do(
            "delete from commitments where uid=? and calling=?", request.uid, request.calling
        )


class CommitmentProvider:
    """Takes requests, of those who have an address to be told at: the SCP of PS3.4 J.3."""

    def __init__(self, spool: Spool, senders: tuple[Commitment, ...]) -> None:
        self._requests = Requests(spool)
        self._titles = {one.ae_title for one in senders}

    def take(self, event: Event) -> tuple[int, None]:
        """Answer N-ACTION."""
        calling = event.assoc.requestor.ae_title
        if calling not in self._titles:
            return NOT_AUTHORISED, None
        refused = _refusal(event.request)
        return (refused or self._keep(event, calling)), None

    def _keep(self, event: Event, calling: str) -> int:
        try:
            request = _read(event.action_information, calling)
        except MALFORMED:
            return INVALID_ARGUMENT
        try:
            kept = self._requests.keep(request)
        except (OSError, sqlite3.Error):
            logger.exception("a request for commitment cannot be kept")
            kept = False
        return ACCEPTED if kept else RESOURCE_LIMITATION


def _refusal(action: object) -> int:
    """Why a command is not understood; 0 where it is."""
    if not isinstance(action, N_ACTION) or action.ActionTypeID != REQUEST_TYPE:
        return NO_SUCH_ACTION
    if action.RequestedSOPInstanceUID != INSTANCE:
        return NO_SUCH_INSTANCE
    if action.ActionInformation is None:
        return INVALID_ARGUMENT
    return RESOURCE_LIMITATION if len(action.ActionInformation.getvalue()) > MOST_BYTES else 0


def _read(information: Dataset, calling: str) -> Request:
    """Read a request; raises one of MALFORMED."""
    uid = code(information, "TransactionUID")
    items = tuple(
        (code(one, "ReferencedSOPClassUID"), code(one, "ReferencedSOPInstanceUID"))
        for one in information.ReferencedSOPSequence
    )
    if not items or not all(UID_TEXT.fullmatch(one) for one in (uid, *sum(items, ()))):
        raise ValueError("a UID is missing or none")
    return Request(uid=uid, calling=calling, items=items)


def answer(spool: Spool, request: Request) -> tuple[int, Dataset]:
    """Type and information of the event that tells what is safe now."""
    told = Dataset()
    told.TransactionUID = request.uid
    safe: list[Dataset] = []
    failed: list[Dataset] = []
    for sop_class, sop in request.items:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop
        reason = _failure(spool, sop_class, sop)
        if reason:
            item.FailureReason = reason
        (failed if reason else safe).append(item)
    if safe:
        told.ReferencedSOPSequence = safe
    if failed:
        told.FailedSOPSequence = failed
    return (SOME_FAILED if failed else ALL_SAFE), told


def _failure(spool: Spool, sop_class: str, sop: str) -> int:
    """Why a film is not committed; 0 where it is."""
    found = spool.rows.all("select key, digest from films where sop=? and kept", sop)
    if not found:
        return NO_SUCH_INSTANCE
    ((key, digest),) = found
    if spool.rows.one("select 1 from asides where key=?", key):
        return FAILURE  # nobody knows which of the two is meant
    try:
        known = _class_of(spool.film_path(key, digest))
    except (OSError, HeaderError):
        return FAILURE
    return 0 if known == sop_class else CLASS_CONFLICT


def _class_of(path: Path) -> str:
    """SOP Class UID of a film; errors as of ``read_header``."""
    with path.open("rb") as film:
        start = film.read(PREFIX_BYTES)
        try:
            return read_header(start).sop_class
        except HeaderError:  # a long element comes first
            return read_header(start + film.read()).sop_class


def tell(spool: Spool, sender: Commitment, own_title: str, request: Request) -> None:
    """Tell a sender what is safe, by N-EVENT-REPORT in an association of the node's.

    Raises
    ------
    Later
        If it cannot be reached, or does not answer.
    NotTaken
        If it takes no such reports.
    """
    context = build_context(COMMITMENT, list(PLAIN_ENCODINGS))
    peer = (sender.ae_title, sender.address, sender.port)
    with associated(peer, sender.tls, own_title, [context], COMMITMENT) as association:
        kind, told = answer(spool, request)
        status = status_of(
            lambda: association.send_n_event_report(told, kind, COMMITMENT, INSTANCE)[0]
        )
    if status != ACCEPTED:
        logger.warning(
            "a sender refused to be told of its films",
            extra={"facts": {"code": f"status_{status:04x}"}},
        )

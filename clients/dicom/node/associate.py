"""Associations that the node asks for, and what can become of what it sends in them."""

import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_role

from clients.dicom.node.classes import PDU_BYTES
from clients.dicom.node.config import Tls
from clients.dicom.node.gate import client_tls

# Files are sent as they are, not decoded and encoded again: the bytes are the same each time.
_config.STORE_SEND_CHUNKED_DATASET = True

Peer = tuple[str, str, int]  # AE title, address, port

CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 60.0


class _Undelivered(Exception):
    """A peer has not got something; ``code`` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Later(_Undelivered):
    """A peer that cannot take something now; ``code`` says why."""


class NotTaken(_Undelivered):
    """A peer that will never take something; ``code`` says why."""


@contextmanager
def associated(
    peer: Peer,
    tls: Tls | None,
    own_title: str,
    contexts: Sequence[PresentationContext],
    served: UID | None = None,
) -> Iterator[Association]:
    """Associate, and release in the end.

    Parameters
    ----------
    peer
        Its AE title, address and port.
    own_title
        AE title to call by.
    contexts
        What is proposed.
    served
        A class of which the node is the provider though it calls.

    Raises
    ------
    Later
        If the peer cannot be reached, or rejects the association.
    NotTaken
        If it accepts none of the contexts.
    """
    entity = AE(own_title)
    entity.connection_timeout = CONNECT_SECONDS
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = ANSWER_SECONDS
    title, address, port = peer
    try:
        association = entity.associate(
            address,
            port,
            list(contexts),
            ae_title=title,
            max_pdu=PDU_BYTES,
            ext_neg=None if served is None else [build_role(served, scp_role=True)],
            tls_args=None if tls is None else (client_tls(tls), address),
            evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once), (evt.EVT_DATA_SENT, _hear_at_once)],
        )
    except OSError as error:  # its name is not known
        raise Later("unreachable") from error
    if association.rejected_contexts and not association.accepted_contexts:
        raise NotTaken("class_refused")
    if not association.is_established:
        raise Later("rejected" if association.is_rejected else "unreachable")
    _keep_answers(association)
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    association.release()


def _keep_answers(association: Association) -> None:
    """Leave each answer to who asked.

    A thread of pynetdicom looks for requests of the peer, and is told to pause while an answer is
    waited for. Where it has just gone on, it may take the answer for a request all the same, and
    nobody gets it until the peer hangs up. A peer that is called has nothing to request.
    """
    take = association.dimse.get_msg

    def get_msg(*, block: bool) -> tuple[Any, Any]:
        return take(block) if block else (None, None)

    association.dimse.get_msg = get_msg  # type: ignore[method-assign,assignment]


def _send_at_once(event: evt.Event) -> None:
    """Have each write go out alone.

    A command and its data set are two writes. Else the second one waits until the peer acknowledges
    the first, which TCP puts off by 40 ms.
    """
    _set(event, socket.TCP_NODELAY)


def _hear_at_once(event: evt.Event) -> None:
    """Acknowledge what comes next at once: DCMTK, and so Orthanc, answers in two writes.

    The system soon forgets it, so it is told again after everything that is sent.
    """
    if sys.platform == "linux":
        _set(event, socket.TCP_QUICKACK)


def _set(event: evt.Event, option: int) -> None:
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, option, 1)


def status_of(send: Callable[[], Dataset]) -> int:
    """Send a message, and return the status of its answer.

    Raises
    ------
    Later
        If there is no answer.
    """
    try:
        answer = send()
    except (RuntimeError, OSError) as error:  # the association has ended meanwhile
        raise Later("connection_lost") from error
    if "Status" not in answer:
        raise Later("no_answer")
    return int(answer.Status)

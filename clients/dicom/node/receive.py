"""Films come in: C-STORE and C-ECHO.

association -> [gate] -> bytes -> header -> spool -> status
"""

import logging
import sqlite3
import threading
import time

from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event

from clients.dicom.film import CLASSES, RAW_CLASSES
from clients.dicom.marks import MANUFACTURER, SERIES
from clients.dicom.node.classes import (
    COMMITMENT,
    ENCODINGS,
    PDU_BYTES,
    PLAIN_ENCODINGS,
    VERIFICATION,
)
from clients.dicom.node.commit import CommitmentProvider
from clients.dicom.node.config import Config, Limits
from clients.dicom.node.gate import Bounds, Gate, server_tls
from clients.dicom.node.header import Header, HeaderError, read_header
from clients.dicom.node.metrics import RECEIVED
from clients.dicom.node.spool import Kept, Spool

logger = logging.getLogger("nanocxr.node.receive")

# What PS3.4 B.2.3 and PS3.7 C give for it.
STORED = 0x0000
CLASS_NOT_SUPPORTED = 0x0122
NOT_AUTHORISED = 0x0124  # the node's own results: whoever sends them has to stop doing so
OUT_OF_RESOURCES = 0xA700  # a sender tries again
NOT_OF_ITS_CLASS = 0xA900
NOT_UNDERSTOOD = 0xC000

LOOK_SECONDS = 0.1  # at whether it is to end


class Refused(Exception):
    """A film that is not taken.

    Attributes
    ----------
    status
        Of DIMSE, and the reason in a response of STOW-RS.
    code
        Stable, for logs and metrics.
    header
        None where it cannot be read.
    """

    def __init__(self, status: int, code: str, header: Header | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.header = header


class Inbox:
    """Takes films into the spool, whichever way they come.

    Parameters
    ----------
    limits
        How long a film may be, and what must stay free on the disk.
    for_processing
        Whether raw detector images are taken.
    """

    def __init__(self, spool: Spool, limits: Limits, *, for_processing: bool) -> None:
        self.spool = spool
        self._limits = limits
        self._classes = CLASSES + (RAW_CLASSES if for_processing else ())

    def take(
        self,
        film: bytes,
        calling: str,
        *,
        announced: tuple[str, str] | None = None,
        study: str | None = None,
    ) -> Header:
        """Keep a film; when this returns it is safe.

        Parameters
        ----------
        film
            A DICOM file.
        calling
            Who sent it.
        announced
            SOP Class and Instance UID that it was announced with.
        study
            Study Instance UID that it was announced with.

        Raises
        ------
        Refused
            If it is not one that is taken, or cannot be kept now.
        """
        try:
            header = self._accepted(film, announced, study)
            kept = self._keep(header, film, calling)
        except Refused as refusal:
            RECEIVED.labels(refusal.code).inc()
            logger.warning("a film was refused", extra={"facts": {"code": refusal.code}})
            raise
        RECEIVED.labels(kept).inc()
        if kept is Kept.DIFFERS:
            logger.warning("a film came again with other bytes; they are kept aside")
        return header

    def _keep(self, header: Header, film: bytes, calling: str) -> Kept:
        try:
            if self.spool.free_bytes() < (self._limits.free_mib << 20) + len(film):
                raise Refused(OUT_OF_RESOURCES, "disk_full", header)
            return self.spool.keep(header.sop, film, calling, header.start)
        except (OSError, sqlite3.Error) as error:
            raise Refused(OUT_OF_RESOURCES, "not_safe", header) from error

    def _accepted(
        self, film: bytes, announced: tuple[str, str] | None, study: str | None
    ) -> Header:
        """The header of a film that is taken; raises Refused."""
        try:
            header = read_header(film)
        except HeaderError as error:
            raise Refused(NOT_UNDERSTOOD, "unreadable") from error
        said = (header.sop_class, header.sop)
        if announced not in (None, said) or study not in (None, header.study):
            raise Refused(NOT_OF_ITS_CLASS, "not_as_announced", header)
        if header.manufacturer == MANUFACTURER and header.descriptions[0].startswith(SERIES):
            raise Refused(NOT_AUTHORISED, "own_result", header)
        if header.sop_class not in self._classes:
            raise Refused(CLASS_NOT_SUPPORTED, "class_refused", header)
        if len(film) > self._limits.film_bytes:
            raise Refused(NOT_UNDERSTOOD, "too_long", header)
        return header


class Receiver:
    """The Storage SCP."""

    def __init__(self, config: Config, inbox: Inbox) -> None:
        """Listen.

        Raises
        ------
        OSError
            If the address cannot be listened on, or a file of TLS cannot be read.
        """
        self._inbox = inbox
        settings, limits = config.receive, config.limits
        self._entity = AE(settings.ae_title)
        self._entity.maximum_pdu_size = PDU_BYTES
        self._entity.maximum_associations = limits.associations
        self._entity.require_called_aet = True
        self._entity.require_calling_aet = list(settings.calling)
        self._entity.network_timeout = self._entity.acse_timeout = limits.silent_seconds
        self._entity.add_supported_context(VERIFICATION, list(PLAIN_ENCODINGS))
        for taken in CLASSES + (RAW_CLASSES if settings.for_processing else ()):
            self._entity.add_supported_context(taken, list(ENCODINGS))
        handlers = Bounds(limits.film_bytes).handlers()
        handlers.append((evt.EVT_C_STORE, self._store))
        if config.commitment:
            self._entity.add_supported_context(COMMITMENT, list(PLAIN_ENCODINGS))
            handlers.append(
                (evt.EVT_N_ACTION, CommitmentProvider(inbox.spool, config.commitment).take)
            )
        self._server: Gate = self._entity.make_server(  # type: ignore[assignment]  # so it says
            (settings.address, settings.port),
            ssl_context=None if settings.tls is None else server_tls(settings.tls),
            evt_handlers=handlers,
            server_class=Gate,
        )
        self._server.networks = settings.networks
        self._server.silent_seconds = limits.silent_seconds
        self._server.most_connections = 2 * limits.associations
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(LOOK_SECONDS,), name="gate"
        )
        self._thread.start()

    def alive(self) -> bool:
        """Whether it listens."""
        return self._thread.is_alive()

    def stop(self, patience: float) -> None:
        """Accept no more, wait for associations under way, then end them."""
        self._server.stop()
        deadline = time.monotonic() + patience
        while self._server.active_associations and time.monotonic() < deadline:
            time.sleep(0.05)
        for association in self._server.active_associations:
            association.abort()

    def _store(self, event: Event) -> int:
        request = event.request
        if not isinstance(request, C_STORE) or request.DataSet is None:
            return NOT_UNDERSTOOD
        announced = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        try:
            self._inbox.take(
                event.encoded_dataset(), event.assoc.requestor.ae_title, announced=announced
            )
        except Refused as refusal:
            return refusal.status
        return STORED

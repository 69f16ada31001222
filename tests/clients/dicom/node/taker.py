"""An archive that takes what it is told to take, and answers as it is told."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from socketserver import BaseServer
from threading import Thread

from pydicom import dcmread
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.events import Event

from clients.dicom.node.classes import SENT
from clients.dicom.node.config import Tls
from tests.ports import free_port

SR_FORMS = (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage)
LOOK_SECONDS = 0.02  # at whether it is to end


@dataclass
class Taker:
    """The archive; ``statuses`` are its first answers, the others are 0x0000."""

    classes: tuple[UID, ...] = (*SR_FORMS, SecondaryCaptureImageStorage)
    statuses: list[int] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    got: list[bytes] = field(default_factory=list)
    proposed: list[list[str]] = field(default_factory=list)
    released: int = 0
    aborts: bool = False
    tls: Tls | None = None

    def store(self, event: Event) -> int:
        """Answer C-STORE."""
        if self.aborts:
            event.assoc.abort()
        self.got.append(event.encoded_dataset())
        return self.statuses.pop(0) if self.statuses else 0

    def requested(self, event: Event) -> None:
        """Note what an association is for."""
        contexts = event.assoc.requestor.requested_contexts
        self.proposed.append(sorted(str(one.abstract_syntax) for one in contexts))

    def done(self, _: Event) -> None:
        """Note that an association ended as it should."""
        self.released += 1

    def sop_classes(self) -> list[str]:
        """What came."""
        return [dcmread(BytesIO(one)).SOPClassUID for one in self.got]


@contextmanager
def listening(made: Taker) -> Iterator[Taker]:
    """Run it."""
    entity = AE("PACS")
    entity.require_called_aet = True
    entity.maximum_pdu_size = 0
    for one in made.classes:
        entity.add_supported_context(one, SENT[one])
    server = entity.make_server(
        ("127.0.0.1", made.port),
        ssl_context=None if made.tls is None else own_tls(made.tls),
        evt_handlers=[
            (evt.EVT_C_STORE, made.store),
            (evt.EVT_REQUESTED, made.requested),
            (evt.EVT_RELEASED, made.done),
        ],
    )
    thread = Thread(target=server.serve_forever, args=(LOOK_SECONDS,))
    thread.start()
    try:
        yield made
    finally:
        BaseServer.shutdown(server)
        server.server_close()
        for association in server.active_associations:
            association.abort()


def own_tls(tls: Tls) -> ssl.SSLContext:
    """An archive's, which asks for the node's certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(str(tls.certificate), tls.key)
    return context

"""Who may connect, and what a connection can make the node hold.

pynetdicom reads a unit of as many bytes as its head claims, joins as many units as a sender sends
to one message, queues messages without end, waits for ever for the rest of a unit, waits on for the
request of an association where the connection is closed, and shakes hands by TLS where others wait
to be accepted. Each of that is bounded here.
"""

import logging
import socket
import ssl
import struct
from ipaddress import ip_address
from queue import Queue
from socketserver import BaseServer
from typing import Any
from weakref import WeakKeyDictionary

from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.transport import ThreadedAssociationServer

from clients.dicom.node.classes import PDU_BYTES
from clients.dicom.node.config import Network, Tls

logger = logging.getLogger("nanocxr.node.gate")

# Its log would quote what it works on, and each association would cost the work of it.
_config.LOG_HANDLER_LEVEL = "none"
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)

HEAD = struct.Struct(">BxL")  # PS3.8 9.3: type, a reserved byte, length
MAX_UNIT_BYTES = 2 * PDU_BYTES  # an association request has no agreed bound yet
MAX_WAITING = 2  # messages that a sender has sent before it has the answer to the first


class UnitTooLong(ConnectionError):
    """The head of a protocol data unit claims more bytes than were agreed."""


class _Units:
    """Follows the units in a stream, to see what the next one claims before it is read."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._rest = 0

    def pass_on(self, received: bytes) -> bytes:
        """Look at what was received; raises UnitTooLong."""
        at = 0
        while at < len(received):
            if self._rest:
                step = min(self._rest, len(received) - at)
                self._rest -= step
                at += step
                continue
            missing = HEAD.size - len(self._head)
            self._head += received[at : at + missing]
            at += missing
            if len(self._head) == HEAD.size:
                _, self._rest = HEAD.unpack(self._head)
                self._head.clear()
                if self._rest > MAX_UNIT_BYTES:
                    raise UnitTooLong("a unit is longer than agreed")
        return received


class _Socket(socket.socket):
    """A connection whose units are bounded."""

    units: _Units

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        return self.units.pass_on(super().recv(size, flags))


class _TlsSocket(ssl.SSLSocket):
    """The same by TLS."""

    units: _Units

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        return self.units.pass_on(super().recv(buflen, flags))


class Gate(ThreadedAssociationServer):
    """Accepts connections of those who may send, so many at once, and each with its time-out."""

    daemon_threads = True  # a handshake does not keep the process from ending
    networks: tuple[Network, ...]
    most_connections: int
    silent_seconds: float
    shaking_hands = 0

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; a handshake by TLS is left to the connection's thread."""
        if self.socket is None:
            raise OSError("the gate is closed")
        accepted, address = self.socket.accept()
        bounded = _Socket(accepted.family, accepted.type, accepted.proto, accepted.detach())
        bounded.settimeout(self.silent_seconds)
        bounded.units = _Units()
        return bounded, address

    def verify_request(self, _request: object, client_address: Any) -> bool:
        """Whether this address may send, and there is room."""
        if not allowed(client_address[0], self.networks):
            logger.warning("a connection from an address that may not send was closed")
            return False
        return len(self.active_associations) + self.shaking_hands < self.most_connections

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands, and start the association; in the connection's own thread."""
        if self.ssl_context is not None:
            self.shaking_hands += 1
            try:
                request = self.ssl_context.wrap_socket(request, server_side=True)
            finally:
                self.shaking_hands -= 1
            request.units = _Units()
        super().finish_request(request, client_address)

    def handle_error(self, _request: object, _client_address: object) -> None:
        """Say that a connection failed; the standard library would print what it holds."""
        logger.warning("a connection failed before its association")

    def stop(self) -> None:
        """Accept no more. pynetdicom's own `shutdown` is for servers that it started itself."""
        BaseServer.shutdown(self)
        self.server_close()


def allowed(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether an address is in one of the networks, or there are none."""
    if not networks:
        return True
    found = ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in networks)


def server_tls(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer for those who send; with ``ca`` they need a certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.ca)
    context.sslsocket_class = _TlsSocket
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    if tls.ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer to an archive, whose name must be that of its certificate."""
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


class Bounds:
    """Ends associations that hold more than they may, or that nobody is at the other end of.

    That is: more than one film in one message, messages before the answer, a closed connection.
    """

    def __init__(self, film_bytes: int) -> None:
        self._most = film_bytes + PDU_BYTES  # the command of a message, too
        self._bytes: WeakKeyDictionary[Association, int] = WeakKeyDictionary()

    def handlers(self) -> list[EventHandlerType]:
        """For pynetdicom."""
        return [
            (evt.EVT_PDU_RECV, self._unit),
            (evt.EVT_DIMSE_RECV, self._message),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]

    def _unit(self, event: Event) -> None:
        if isinstance(event.pdu, P_DATA_TF):
            held = self._bytes.get(event.assoc, 0) + len(event.pdu)
            self._bytes[event.assoc] = held
            if held > self._most:
                logger.warning("a message is longer than a film may be; its association is ended")
                event.assoc.abort()

    def _message(self, event: Event) -> None:
        self._bytes[event.assoc] = 0
        if event.assoc.dimse.msg_queue.qsize() > MAX_WAITING:
            logger.warning("a sender does not wait for answers; its association is ended")
            event.assoc.abort()

    def _closed(self, event: Event) -> None:
        """End the wait for the request of an association whose connection is gone."""
        waiting: Queue[Any] = event.assoc.dul.to_user_queue
        if event.assoc.requestor.primitive is None and waiting.empty():
            waiting.put(None)  # as pynetdicom takes a time-out

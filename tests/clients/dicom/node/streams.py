"""What a sender writes, byte by byte: as it should be, and damaged."""

import random
import socket
import threading
from collections.abc import Iterator
from io import BytesIO

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import P_DATA_TF

from clients.dicom.node.classes import PDU_BYTES, VERIFICATION
from tests.clients.dicom.node.peers import film
from tests.processes import PATIENCE


def request_unit() -> bytes:
    """An association request, as a sender writes it."""
    sent: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        entity = AE("SENDER")
        entity.acse_timeout = 0.2
        entity.add_requested_context(film().SOPClassUID, ExplicitVRLittleEndian)
        entity.add_requested_context(VERIFICATION)

        def accept() -> None:
            connection, _ = server.accept()
            with connection:
                sent.append(connection.recv(1 << 16))

        thread = threading.Thread(target=accept)
        thread.start()
        entity.associate("127.0.0.1", server.getsockname()[1], ae_title="NANOCXR")
        thread.join()
    return sent[0]


def store_units(dataset: Dataset) -> Iterator[bytes]:
    """C-STORE of a film as P-DATA units."""
    store = C_STORE()
    store.MessageID, store.Priority = 1, 0
    store.AffectedSOPClassUID = dataset.SOPClassUID
    store.AffectedSOPInstanceUID = dataset.SOPInstanceUID
    content = encode(dataset, is_implicit_vr=False, is_little_endian=True)
    store.DataSet = BytesIO(content or b"")
    message = C_STORE_RQ()
    message.primitive_to_message(store)
    for part in message.encode_msg(1, PDU_BYTES):
        unit = P_DATA_TF()
        unit.from_primitive(part)
        yield unit.encode()


def closed(connection: socket.socket) -> bool:
    """Whether the other end closes, whatever it sends before."""
    connection.settimeout(PATIENCE)
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


def damaged(stream: bytes, choice: random.Random) -> bytes:
    """The same with other bytes near its start, or cut."""
    changed = bytearray(stream)
    for _ in range(choice.randint(1, 4)):
        changed[choice.randrange(900)] = choice.randrange(256)
    return bytes(changed[: choice.choice([len(changed), choice.randrange(len(changed))])])


def sent(port: int, stream: bytes) -> bool:
    """Send it; whether the connection is closed then."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        try:
            connection.sendall(stream)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return closed(connection)

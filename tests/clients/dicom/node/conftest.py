"""A service with the tiny model, an archive and certificates, for all tests of the node."""

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from clients.dicom.node.config import Tls
from tests.clients.dicom.node.peers import Archive, archive
from tests.clients.dicom.node.taker import Taker, listening
from tests.e2e.conftest import Server, running


@pytest.fixture(scope="session")
def service(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service as an operator starts it."""
    with running(tmp_path_factory.mktemp("service"), CXR_MODEL=str(tiny_model)) as server:
        yield server


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive."""
    with archive(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def taker() -> Iterator[Callable[..., Taker]]:
    """Start an archive that answers as it is told."""
    with ExitStack() as running:
        yield lambda **keys: running.enter_context(listening(Taker(**keys)))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """One certificate for 127.0.0.1 that is its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "node")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    own = folder / "cert.pem"
    return Tls(certificate=own, key=folder / "key.pem", ca=own)

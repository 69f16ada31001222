"""Keys for signed models, in the form in which openssl writes them."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """What `openssl pkey -pubout` writes."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """What `openssl genpkey -algorithm ed25519` writes."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

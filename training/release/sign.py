"""Sign a packaged model; service/model/signature.py is the other half."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from service.model.bundle import MANIFEST, Bundle
from service.model.signature import SIGNATURE


def sign(model: Path, key: Path) -> Path:
    """Write the detached signature of a model's manifest beside it.

    Parameters
    ----------
    model
        Folder of a whole model; every file is verified before.
    key
        PEM file of an Ed25519 private key, not encrypted.

    Returns
    -------
    Path
        The signature, 64 bytes; an older one is replaced.

    Raises
    ------
    ModelUnavailable
        If the model is not whole.
    ValueError
        If the key cannot be used.
    """
    Bundle.open(model)
    signature = _private_key(key).sign((model / MANIFEST).read_bytes())
    path = model / SIGNATURE
    path.write_bytes(signature)
    return path


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:  # TypeError: it is encrypted
        raise ValueError(
            f"{path} is not a private key in PEM without a password ({type(error).__name__})"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path} is not an Ed25519 key: openssl genpkey -algorithm ed25519")  # noqa: TRY004
    return key

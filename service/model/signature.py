"""Check that a manifest was signed by whom the operator trusts.

[signature] -> bundle -> session -> reader
The manifest holds the SHA-256 of every other file, so that its signature covers the whole model.
"""

from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from service.errors import ModelSignatureInvalid, ModelUnavailable, ModelUnsigned

SIGNATURE = "manifest.json.sig"  # 64 bytes, as `openssl pkeyutl -sign -rawin` writes them
KEY_REMEDY = "Set CXR_MODEL_KEY to the public key (Ed25519, PEM) of whom you trust to sign models."


def check_signature(folder: Path, manifest: bytes, key: Path) -> None:
    """Let a manifest pass only with a valid signature beside it.

    Parameters
    ----------
    folder
        Of the model.
    manifest
        The bytes that will be used.
    key
        PEM file of an Ed25519 public key.

    Raises
    ------
    ModelUnsigned
        If there is no signature.
    ModelSignatureInvalid
        If it is not that of these bytes by this key.
    ModelUnavailable
        If the key cannot be used.

    References
    ----------
    RFC 8032 (Ed25519), RFC 8410 (the key's encoding).
    """
    public = _public_key(key)
    try:
        signature = (folder / SIGNATURE).read_bytes()
    except OSError:
        raise ModelUnsigned(
            f"The model has no {SIGNATURE}, and CXR_MODEL_KEY asks for one: cxr-train sign."
        ) from None
    try:
        public.verify(signature, manifest)
    except InvalidSignature:
        raise ModelSignatureInvalid(
            f"{SIGNATURE} is not a signature of this manifest by the key of CXR_MODEL_KEY: one of "
            "the three was exchanged. Get the model from whom you trust, or sign it again."
        ) from None


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ModelUnavailable(
            f"The public key {path.name!r} cannot be read ({type(error).__name__}). {KEY_REMEDY}"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise ModelUnavailable(f"The public key {path.name!r} is not an Ed25519 key. {KEY_REMEDY}")
    return key

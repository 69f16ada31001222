import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.errors import ModelCorrupt, ModelSignatureInvalid, ModelUnavailable, ModelUnsigned
from service.model.bundle import Bundle
from service.model.signature import SIGNATURE
from tests.signing import private_pem, public_pem
from training.cli.main import cli


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model" / "1"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The public half; the private one lies beside it as key.pem."""
    private, public = Ed25519PrivateKey.generate(), tmp_path / "key.pub"
    public.write_bytes(public_pem(private))
    (tmp_path / "key.pem").write_bytes(private_pem(private))
    return public


@pytest.fixture
def signed(folder: Path, key: Path) -> Path:
    arguments = ["sign", str(folder), "--key", str(key.with_suffix(".pem"))]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    return folder


def test_signed_model_opens_and_its_signature_is_left_alone(signed: Path, key: Path) -> None:
    assert Bundle.open(signed, key) == Bundle.open(signed)
    assert (signed / SIGNATURE).stat().st_size == 64


def test_without_a_key_nothing_is_asked_for(folder: Path) -> None:
    (folder / SIGNATURE).write_bytes(b"no signature")
    assert Bundle.open(folder).graph


def test_unsigned_model_is_refused(folder: Path, key: Path) -> None:
    with pytest.raises(ModelUnsigned, match="cxr-train sign"):
        Bundle.open(folder, key)


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(65)])
def test_other_signature_is_refused(signed: Path, key: Path, signature: bytes) -> None:
    (signed / SIGNATURE).write_bytes(signature)
    with pytest.raises(ModelSignatureInvalid):
        Bundle.open(signed, key)


def test_signature_of_another_key_is_refused(signed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pub"
    other.write_bytes(public_pem(Ed25519PrivateKey.generate()))
    with pytest.raises(ModelSignatureInvalid):
        Bundle.open(signed, other)


def test_manifest_that_was_changed_is_refused_before_it_is_parsed(signed: Path, key: Path) -> None:
    (signed / "manifest.json").write_text("no JSON")
    with pytest.raises(ModelSignatureInvalid):
        Bundle.open(signed, key)


def test_graph_that_was_changed_is_refused_by_the_signed_digest(signed: Path, key: Path) -> None:
    (signed / "model.onnx").write_bytes(b"another graph")
    with pytest.raises(ModelCorrupt):
        Bundle.open(signed, key)


def test_key_that_cannot_be_used_lets_nothing_pass(signed: Path, tmp_path: Path) -> None:
    elliptic = generate_private_key(SECP256R1()).public_key()
    other = tmp_path / "other.pub"
    for content in (
        b"no key",
        elliptic.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        private_pem(Ed25519PrivateKey.generate()),
    ):
        other.write_bytes(content)
        with pytest.raises(ModelUnavailable, match="CXR_MODEL_KEY"):
            Bundle.open(signed, other)
    with pytest.raises(ModelUnavailable, match="CXR_MODEL_KEY"):
        Bundle.open(signed, tmp_path / "missing.pub")


def test_sign_refuses_a_model_that_is_not_whole_and_a_key_that_is_none(
    folder: Path, key: Path
) -> None:
    done = CliRunner().invoke(cli, ["sign", str(folder), "--key", str(key)])
    assert done.exit_code == 1
    assert "not a private key" in done.output
    (folder / "model.onnx").write_bytes(b"another graph")
    done = CliRunner().invoke(cli, ["sign", str(folder), "--key", str(key.with_suffix(".pem"))])
    assert done.exit_code == 1
    assert not (folder / SIGNATURE).exists()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_makes_the_same_keys_and_signatures(folder: Path, tmp_path: Path) -> None:
    private, public = tmp_path / "o.pem", tmp_path / "o.pub"
    for command in (
        ["genpkey", "-algorithm", "ed25519", "-out", private],
        ["pkey", "-in", private, "-pubout", "-out", public],
        ["pkeyutl", "-sign", "-inkey", private, "-rawin", "-in", folder / "manifest.json",
         "-out", folder / SIGNATURE],
    ):  # fmt: skip
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
    assert Bundle.open(folder, public).graph

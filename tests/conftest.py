"""A model folder for every test that needs one, and HTTP clients that cost little."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

from tests.shared import made_once
from tests.tiny_model import write_gate, write_golden, write_model


@pytest.fixture(scope="session", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let each HTTP client load one certificate instead of all: that alone takes 20 ms of a core.

    No test leaves this computer, so none needs them; tests that poll would do little else.
    """
    first, end, _ = Path(certifi.where()).read_text("ascii").partition("-----END CERTIFICATE-----")
    path = tmp_path_factory.mktemp("authorities") / "one.pem"
    path.write_text(f"{first}{end}\n", "ascii")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield


@pytest.fixture(scope="session", autouse=True)
def uncompiled_umap() -> Iterator[None]:
    """Compiling UMAP for the few films of a test takes 20 s of a core; running it as Python, one.

    numba reads the variable when it is imported, which a comparison does first.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_DISABLE_JIT", "1")
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a ResNet-18 with random weights for 64-pixel images; made once."""
    made = made_once(tmp_path_factory, "models", lambda folder: write_model(folder / "tiny" / "1"))
    return made / "tiny" / "1"


@pytest.fixture(scope="session")
def gated_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a gate that reads what is brighter below than above."""
    folder = tmp_path_factory.mktemp("gated") / "tiny" / "1"
    shutil.copytree(tiny_model, folder)
    write_gate(folder)
    return folder


@pytest.fixture
def golden_model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model with a golden reading."""
    folder = tmp_path / "golden" / "1"
    shutil.copytree(tiny_model, folder)
    write_golden(folder)
    return folder

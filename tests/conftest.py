"""A model folder for every test that needs one."""

from pathlib import Path

import pytest

from tests.tiny_model import write_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a ResNet-18 with random weights for 64-pixel images; made once."""
    folder = tmp_path_factory.mktemp("models") / "tiny" / "1"
    write_model(folder)
    return folder

"""A service with the tiny model, and an archive, for all tests of the node."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.dicom.node.peers import Archive, archive
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

"""One prepared volume for all tests of the projector."""

import pytest

from tests.training.generate.ct.scans import scan
from training.generate.ct.chest import Chest
from training.generate.ct.volume import Volume, prepare


@pytest.fixture(scope="session")
def volume() -> Volume:
    return prepare(scan())


@pytest.fixture(scope="session")
def chest(volume: Volume) -> Chest:
    return Chest.of(volume)

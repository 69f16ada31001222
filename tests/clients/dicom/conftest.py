"""Readings of the tiny model."""

from pathlib import Path

import pytest

from service.model.reader import Reader


@pytest.fixture(scope="session")
def reader(tiny_model: Path) -> Reader:
    return Reader.open(tiny_model, threads=1)

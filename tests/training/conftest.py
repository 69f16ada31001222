"""One packaged tiny run for all tests of the steps after fit, and 200 films for those of curation;
tests that change them copy them.
"""

import pytest

from tests.training.films import Film, draw_films
from tests.training.model_run import Run, write_config, write_dataset, write_weights
from training.export import export
from training.package import package


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("tiny")
    write_dataset(root / "data")
    config = write_config(root / "tiny.toml", root / "data")
    write_weights(root / "run", config)
    export(config, root / "run")
    model = package(config, root / "run", root / "models" / "tiny" / "1")
    return Run(config, root / "tiny.toml", root / "run", model)


@pytest.fixture(scope="session")
def films() -> list[Film]:
    """200 phantom films, drawn once: about 20 seconds of one core."""
    return draw_films()

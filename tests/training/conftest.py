"""One packaged tiny run for all tests of the steps after fit, films for curation, a Gemini server.

Tests that change a run or films copy them.
"""

from collections.abc import Iterator

import pytest

from tests.training.curate.films import Film, draw_films
from tests.training.generate.nanobanana.gemini_server import KEY, GeminiServer, serving
from tests.training.model_run import Run, write_config, write_dataset, write_weights
from training.release.export import export
from training.release.package import package


@pytest.fixture(scope="session", autouse=True)
def few_resamples() -> Iterator[None]:
    """50 instead of 1,000: no test looks at the ends of an interval, and each model has five."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.release.measures.RESAMPLES", 50)
        yield


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("tiny")
    write_dataset(root / "data")
    config = write_config(root / "tiny.toml", root / "data")
    write_weights(root / "run", config)
    export(config, root / "run")
    model = package(config, root / "run", root / "models" / "tiny" / "1")
    return Run(config, root / "tiny.toml", root / "run", model)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GeminiServer]:
    """A local Gemini server that the SDK takes for the real one."""
    for name in ("GOOGLE_API_KEY", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"):
        monkeypatch.delenv(name, raising=False)
    with serving() as local:
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", local.url)
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", local.url)
        yield local


@pytest.fixture(scope="session")
def films() -> list[Film]:
    """200 phantom films, drawn once: about 20 seconds of one core."""
    return draw_films()

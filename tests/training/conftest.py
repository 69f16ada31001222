"""One packaged tiny run for all tests of the steps after fit, films for curation, a Gemini server.

Tests that change a run or films copy them.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shared import made_once
from tests.training.curate.films import Film, draw_films
from tests.training.generate.nanobanana.gemini_server import KEY, GeminiServer, serving
from tests.training.model_run import Run, write_config, write_dataset, write_weights
from training.config import Config
from training.release.export import export
from training.release.package import package


@pytest.fixture(scope="session", autouse=True)
def few_resamples_and_comparisons() -> Iterator[None]:
    """What is only repeated for a verdict is repeated less.

    50 resamples instead of 1,000: no test looks at the ends of an interval, and each model has
    five. Eight images instead of 32 are compared with Grad-CAM: one that differs fails.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.release.measures.RESAMPLES", 50)
        patch.setattr("training.release.verify.COMPARED_IMAGES", 8)
        yield


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = made_once(tmp_path_factory, "packaged", _package)
    toml = root / "tiny.toml"
    return Run(Config.load(toml), toml, root / "run", root / "models" / "tiny" / "1")


def _package(root: Path) -> None:
    write_dataset(root / "data")
    config = write_config(root / "tiny.toml", root / "data")
    write_weights(root / "run", config)
    export(config, root / "run")
    package(config, root / "run", root / "models" / "tiny" / "1")


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
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Film]:
    """200 phantom films, drawn once: about 20 seconds of one core."""
    drawn: list[Film] = pickle.loads(
        (made_once(tmp_path_factory, "films", _draw) / "200").read_bytes()
    )
    return drawn


def _draw(folder: Path) -> None:
    (folder / "200").write_bytes(pickle.dumps(draw_films()))

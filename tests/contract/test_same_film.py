"""The same film in every file has the same reading.

One film is written in every transfer syntax, depth, sign, polarity, table and structure that the
product reads; prints how many (pytest -rP).
"""

from collections.abc import Callable, Iterator

import pytest

from service.model.reader import Reader
from tests.films.colour import colour
from tests.films.film import Answers, Film, Version, golden_films, open_default
from tests.films.grey import grey_stages, padded
from tests.films.raster import raster
from tests.films.storage import storage
from tests.films.structure import structure

SAME = 0.02  # logits
Writer = Callable[[Film], Iterator[Version]]
LEAST: dict[Writer, int] = {
    grey_stages: 1000,
    padded: 90,
    storage: 500,
    colour: 200,
    raster: 180,
    structure: 110,
}


@pytest.fixture(scope="module")
def reader() -> Reader:
    return open_default()


@pytest.fixture(scope="module")
def film(reader: Reader) -> Film:
    """The one whose reading lies nearest to the threshold from above."""
    return golden_films(reader)[1]


@pytest.mark.parametrize("versions", LEAST, ids=lambda versions: versions.__name__)
def test_same_film_has_the_same_reading(reader: Reader, film: Film, versions: Writer) -> None:
    answers, written = Answers(reader), list[Version]()

    def files() -> Iterator[bytes]:
        for version in versions(film):
            written.append(version)
            yield version.data

    expected: dict[bytes, float | None] = {}
    wrong = []
    for number, answer in enumerate(answers.of_files(files())):
        version = written[number]
        written[number] = Version(version.name, b"", version.shown[:0])  # memory
        key = version.shown.tobytes()
        if key not in expected:
            expected[key] = answers.of_films([version.shown])[0].logit
        right = expected[key]
        assert right is not None, f"{version.name}: the film itself is refused"
        if answer.refusal:
            if answer.refusal not in version.refusals:
                wrong.append(f"{version.name}: {answer.refusal}")
        elif answer.logit is None or abs(answer.logit - right) >= SAME:
            wrong.append(f"{version.name}: logit {answer.logit}, not {right}")
    # Shown by pytest -rP.
    print(f"{versions.__name__}: {len(written):,} files of one film, {len(wrong)} read otherwise")  # noqa: T201
    assert len(written) >= LEAST[versions]
    assert not wrong, "\n".join(wrong[:100])

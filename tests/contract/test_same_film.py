"""The same film in every file has the same reading.

One film is written in every transfer syntax, depth, sign, polarity, table and structure that the
product reads; ``pytest -rP`` shows how many.
"""

import pytest

from service.model.reader import Reader
from tests.films.film import Film, golden_films, open_default
from tests.films.same import WRITERS, faults

LEAST = {  # files
    "tables": 1000,
    "padding": 90,
    "storage": 500,
    "colour": 200,
    "raster": 180,
    "structure": 110,
}


@pytest.fixture(scope="module")
def reader() -> Reader:
    return open_default()


@pytest.fixture(scope="module")
def film(reader: Reader) -> Film:
    return golden_films(reader)[1]


@pytest.mark.parametrize("group", LEAST)
def test_same_film_has_the_same_reading(reader: Reader, film: Film, group: str) -> None:
    found = list(faults(reader, WRITERS[group](film)))
    wrong = [fault for fault in found if fault]
    print(f"{group}: {len(found):,} files of one film, {len(wrong)} read otherwise")  # noqa: T201
    assert len(found) >= LEAST[group]
    assert not wrong, "\n".join(wrong[:100])

"""Every file of one film, and which of them are not read as the film is.

storage, grey, colour, raster, structure -> [same]
"""

from collections import deque
from collections.abc import Callable, Iterator

from service.model.reader import Reader
from tests.films.colour import colour
from tests.films.film import Answer, Answers, Film, Version
from tests.films.grey import grey_stages, padded
from tests.films.raster import raster
from tests.films.storage import storage
from tests.films.structure import structure

Writer = Callable[[Film], Iterator[Version]]
WRITERS: dict[str, Writer] = {
    "tables": grey_stages,
    "padding": padded,
    "storage": storage,
    "colour": colour,
    "raster": raster,
    "structure": structure,
}


def faults(reader: Reader, versions: Iterator[Version]) -> Iterator[str]:
    """What is wrong with the answer to each file, empty where nothing is."""
    answers, under_way = Answers(reader), deque[Version]()
    right: dict[bytes, Answer] = {}

    def files() -> Iterator[bytes]:
        for version in versions:
            under_way.append(version)
            yield version.data

    for answer in answers.of_files(files()):
        version = under_way.popleft()
        key = version.shown.tobytes()
        if key not in right:
            right[key] = answers.of_films([version.shown])[0]
        fault = _fault(version, answer, right[key])
        yield f"{version.name}: {fault}" if fault else ""


def _fault(version: Version, answer: Answer, right: Answer) -> str:
    if right.logit is None:
        raise ValueError(f"the film itself is refused: {right.refusal}")
    if answer.logit is None:
        return answer.refusal
    if abs(answer.logit - right.logit) < version.apart:
        return ""
    return f"logit {answer.logit:.3f}, not {right.logit:.3f}; warnings {list(answer.warnings)}"

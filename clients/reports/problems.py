"""Why images have no reading: counts by code, and the images of each.

scores.parquet -> [problems] -> a list
"""

from collections.abc import Iterator

import pandas as pd

from clients.scoring.decoding import DECODER_FAILED, UNREADABLE_FILE
from service.errors import ReadingError

MEANINGS = {
    UNREADABLE_FILE: "the file is missing, or may not be read",
    DECODER_FAILED: "the decoder failed in a way that is not known; please report it",
}
UNKNOWN = "a code of the service that read the images"


def counted(errors: "pd.Series[str]") -> str:
    """Each code with its number, the most frequent first: ``3 not_frontal, 2 too_small``."""
    counts = errors.dropna().value_counts()
    return ", ".join(f"{number:,} {code}" for code, number in counts.items())


def problem_text(scores: pd.DataFrame) -> str:
    """What each code means, and a line an image; one sentence where every image has a reading.

    Parameters
    ----------
    scores
        Rows as ``cxr score`` writes them.
    """
    refused = scores[scores["error"].notna()].sort_values(["error", "path"])
    if refused.empty:
        return f"all {len(scores):,} images have a reading"
    meanings = dict(_meanings(ReadingError)) | MEANINGS
    counts = refused["error"].value_counts()
    known = [[code, f"{number:,}", meanings.get(code, UNKNOWN)] for code, number in counts.items()]
    images = refused[["error", "path"]].itertuples(index=False)
    width = max(len(code) for code, *_ in known)
    lines = [f"{code:{width}}  {number:>6}  {meaning}" for code, number, meaning in known]
    return "\n".join([*lines, "", *(f"{code:{width}}  {path}" for code, path in images)])


def _meanings(kind: type[ReadingError]) -> Iterator[tuple[str, str]]:
    """Codes of the refusals below one, with the first line of what they say of themselves."""
    yield kind.code, (kind.__doc__ or "").partition("\n")[0].rstrip(".")
    for below in kind.__subclasses__():
        yield from _meanings(below)

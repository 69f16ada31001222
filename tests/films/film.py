"""The film that all files of a test state, and what the default model says of a file.

files -> [readings] -> same_film, damage
A film is uint8 of shape (H, W): of 8 bits, so that every encoding without loss holds the very same
content. It is one of the golden images of the default model, which its gate reads and which lie
on both sides of its threshold.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import ReadingError
from service.imaging.decode import Limits
from service.imaging.prepare import Prepared, prepare
from service.imaging.radiograph import Radiograph
from service.model.reader import Reader, Reading
from service.model.shipped import default_model

Film = NDArray[np.uint8]

DEFAULT_MODEL = default_model()
SIDE = 512
MARGIN = 24
BATCH = 8
SAME = 0.08  # logits that differ by less are one reading: 0.01 of a probability


@dataclass(frozen=True, slots=True)
class Version:
    """One file that states a film.

    Attributes
    ----------
    name
        How it was written, general before particular: ``"native/explicit little endian/..."``.
    data
        The file.
    shown
        Grey values that it states, up to a positive factor and an offset.
    apart
        Logits that the readings of the two may lie apart.
    """

    name: str
    data: bytes
    shown: NDArray[np.generic]
    apart: float = SAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the product says of a file: a reading, or the code of a refusal."""

    logit: float | None
    probability: float | None = None
    call: str = ""
    warnings: tuple[str, ...] = ()
    refusal: str = ""


def golden_films(reader: Reader, side: int = SIDE) -> tuple[Film, Film]:
    """The golden films nearest to the threshold, below and above it, ``side`` x ``side``."""
    golden = json.loads((DEFAULT_MODEL / "golden.json").read_text())["readings"]
    films = [_enlarged(base64.b64decode(entry["image"]), side) for entry in golden]
    answers = Answers(reader).of_films(films)
    threshold = reader.operating_point.threshold
    margins = [(a.probability or 0.0) - threshold for a in answers]
    below = max((m, i) for i, m in enumerate(margins) if m < 0)[1]
    above = min((m, i) for i, m in enumerate(margins) if m >= 0)[1]
    return films[below], films[above]


def _enlarged(image: bytes, side: int) -> Film:
    film = Image.open(BytesIO(image)).convert("L")
    return np.asarray(film.resize((side, side), Image.Resampling.BICUBIC))


def with_margin(film: Film) -> Film:
    """The film with its outermost :data:`MARGIN` pixels black."""
    framed = np.zeros_like(film)
    inner = slice(MARGIN, -MARGIN)
    framed[inner, inner] = film[inner, inner]
    return framed


class Answers:
    """Answers of one model; equal inputs of the network are inferred once."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._spec = reader.manifest.input
        self._known: dict[bytes, Answer] = {}

    def of_files(self, files: Iterable[bytes]) -> Iterator[Answer]:
        """Answer each file, in order, as :meth:`Reader.read` does."""
        files = iter(files)
        while batch := list(islice(files, 4 * BATCH)):
            prepared = [self._prepared(data) for data in batch]
            self._infer([p for p in prepared if isinstance(p, Prepared)])
            for item in prepared:
                yield item if isinstance(item, Answer) else self._answer(item)

    def of_films(self, films: Iterable[NDArray[np.generic]]) -> list[Answer]:
        """Answer grey values that no file was written of: the reference."""
        prepared = [
            Prepared.of(Radiograph(pixels=_scaled(film), format="PNG", photometric="L"), self._spec)
            for film in films
        ]
        self._infer(prepared)
        return [self._answer(p) for p in prepared]

    def _prepared(self, data: bytes) -> Prepared | Answer:
        try:
            return prepare(data, self._reader.limits, self._spec)
        except ReadingError as refusal:
            return Answer(logit=None, refusal=refusal.code)

    def _infer(self, prepared: list[Prepared]) -> None:
        new = {p.tensor.tobytes(): p for p in prepared if p.tensor.tobytes() not in self._known}
        keys = list(new)
        for start in range(0, len(keys), BATCH):
            some = keys[start : start + BATCH]
            for key, entry in zip(some, self._reader.infer([new[k] for k in some]), strict=True):
                if isinstance(entry, Reading):
                    self._known[key] = Answer(
                        logit=entry.logit, probability=entry.probability, call=entry.call
                    )
                else:
                    self._known[key] = Answer(logit=None, refusal=entry.code)

    def _answer(self, prepared: Prepared) -> Answer:
        found = self._known[prepared.tensor.tobytes()]
        return Answer(
            logit=found.logit,
            probability=found.probability,
            call=found.call,
            warnings=prepared.warnings,
            refusal=found.refusal,
        )


def open_default(threads: int = 2) -> Reader:
    """Open the default model."""
    return Reader.open(DEFAULT_MODEL, limits=Limits(), threads=threads)


def _scaled(film: NDArray[np.generic]) -> NDArray[np.float32]:
    low, high = film.min(), film.max()
    return np.asarray((film.astype(np.float32) - low) / np.float32(high - low))

"""What a service can be asked, and how its answers are read: the same for both clients.

[call] -> client -> httpx -> [result]
The name of a file is never sent: it may identify a patient.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from clients.sdk.errors import foreign, refusal, unreachable
from clients.sdk.pictures import Image, content_of
from service.imaging.picture import FORMATS, PictureFormat, PictureSize
from service.schemas import HeatmapForm, ModelInfo, Prediction, PredictionWithHeatmap, Problem

PROBABILITY_HEADER = "X-Probability"

BatchResult = Prediction | Problem
Reading = Prediction | PredictionWithHeatmap
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A heatmap on the radiograph's own pixel grid, or reduced.

    Attributes
    ----------
    picture
        A PNG or JPEG file: the overlay, or the heatmap alone where ``bare`` was asked for.
    probability
        Calibrated probability of pneumonia in [0, 1].
    """

    picture: bytes
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One question to the service.

    Attributes
    ----------
    parse
        Reads a successful answer; raises ServiceFailed where it is not this service's.
    content
        What else ``httpx`` is given for the request.
    """

    method: Literal["GET", "POST"]
    path: str
    parse: Callable[[httpx.Response], T]
    content: Mapping[str, Any] = field(default_factory=dict)

    def result(self, outcome: httpx.Response | httpx.HTTPError, address: httpx.URL) -> T:
        """Read the last outcome, or raise the ChestXrayError that tells of it."""
        if isinstance(outcome, httpx.HTTPError):
            raise unreachable(outcome, address) from outcome
        if not outcome.is_success:
            raise refusal(outcome)
        return self.parse(outcome)


def predict(image: Image, heatmap: HeatmapForm | None, size: PictureSize) -> Call[Reading]:
    """Ask for the reading of one radiograph; one with a heatmap where that has a form."""
    adapter = TypeAdapter[Reading](
        Prediction if heatmap is None else PredictionWithHeatmap | Prediction
    )
    params = ({} if heatmap is None else {"heatmap": heatmap}) | _size(size)

    def parse(answer: httpx.Response) -> Reading:
        reading = _parse(adapter, answer)
        found = reading.heatmap if isinstance(reading, PredictionWithHeatmap) else None
        if heatmap is not None and found is None:
            raise foreign(answer, "no heatmap that can be read; an older release gives none")
        if heatmap in FORMATS and not (found and found.picture):
            raise foreign(answer, "no picture of the heatmap")
        return reading

    content = {"files": [_part("image", image)], "params": params}
    return Call(method="POST", path="/predict", parse=parse, content=content)


def predict_batch(images: Sequence[Image]) -> Call[list[BatchResult]]:
    """Ask for the readings of several radiographs."""

    def parse(answer: httpx.Response) -> list[BatchResult]:
        results = _parse(TypeAdapter(list[BatchResult]), answer)
        if len(results) != len(images):
            raise foreign(answer, f"{len(results)} entries for {len(images)} images")
        return results

    parts = [_part("images", image) for image in images]
    return Call(method="POST", path="/predict_batch", parse=parse, content={"files": parts})


def explain(
    image: Image, *, bare: bool, form: PictureFormat, size: PictureSize
) -> Call[Explanation]:
    """Ask for the heatmap of one radiograph."""

    def parse(answer: httpx.Response) -> Explanation:
        try:
            probability = float(answer.headers[PROBABILITY_HEADER])
        except (KeyError, ValueError):
            raise foreign(answer, f"no number in the header {PROBABILITY_HEADER}") from None
        return Explanation(picture=answer.content, probability=probability)

    params = {"bare": str(bare).lower(), "format": form} | _size(size)
    content = {"files": [_part("image", image)], "params": params}
    return Call(method="POST", path="/explain", parse=parse, content=content)


def model() -> Call[ModelInfo]:
    """Ask which model is served."""
    return Call(method="GET", path="/model", parse=partial(_parse, TypeAdapter(ModelInfo)))


def _size(size: PictureSize) -> dict[str, str]:
    """The parameter, where it says something: an older service has none."""
    return {} if size == "film" else {"size": size}


def _part(name: str, image: Image) -> tuple[str, tuple[str, bytes, str]]:
    return name, ("image", content_of(image), "application/octet-stream")


def _parse(adapter: TypeAdapter[T], answer: httpx.Response) -> T:
    try:
        return adapter.validate_json(answer.content)
    except ValidationError as error:
        raise foreign(answer, f"{error.error_count()} fields are missing or wrong") from error

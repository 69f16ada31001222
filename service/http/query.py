"""What a request asks for beside its files: query parameters, and the header Accept.

No value is repeated: whoever calls may put a patient's name anywhere.
"""

from typing import Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from starlette.requests import Request

from service.errors import InvalidParameter
from service.imaging.picture import FORMATS, PictureFormat, PictureSize
from service.schemas import HeatmapForm


class Query(BaseModel):
    """The parameters that a path takes; by itself none.

    Each is one of some words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def words(cls) -> dict[str, tuple[str, ...]]:
        """The words that each parameter may be."""
        return {name: _words(field.annotation) for name, field in cls.model_fields.items()}


class PredictQuery(Query):
    """Of /predict."""

    heatmap: HeatmapForm | None = None
    size: PictureSize = "film"

    @model_validator(mode="after")
    def _size_is_of_a_picture(self) -> Self:
        if self.size == "reduced" and self.heatmap not in FORMATS:
            pictures = " or ".join(f"heatmap={form}" for form in FORMATS)
            raise InvalidParameter(f"size=reduced needs a picture: send {pictures} with it.")
        return self


class ExplainQuery(Query):
    """Of /explain; without ``format`` the header Accept decides."""

    bare: Literal["false", "true"] = "false"
    format: PictureFormat | None = None
    size: PictureSize = "film"


class ViewQuery(Query):
    """Of /view."""

    reading: Literal["full", "none"] = "full"


Asked = TypeVar("Asked", bound=Query)


def _words(annotation: object) -> tuple[str, ...]:
    """The words of a Literal, also in a union with None."""
    return tuple(
        word
        for part in get_args(annotation)
        for word in ([part] if isinstance(part, str) else _words(part))
    )


def asked(request: Request, kind: type[Asked]) -> Asked:
    """What the query says; raises InvalidParameter for anything that the path does not take."""
    sent = request.query_params
    try:
        if len(sent.multi_items()) > len(sent):
            raise InvalidParameter("A query parameter is there twice. Send each once.")
        return kind.model_validate(dict(sent))
    except ValidationError:
        raise InvalidParameter(_remedy(kind)) from None


def _remedy(kind: type[Query]) -> str:
    known = [f"{name!r} ({' or '.join(words)})" for name, words in kind.words().items()]
    if not known:
        return "This path takes no query parameter. Leave it out."
    return (
        f"A query parameter is unknown, or has a value it cannot have. Known: {', '.join(known)}."
    )


def quality(header: str, wanted: str) -> float:
    """How much a client wants an encoding or a media type, from 0 (not at all) to 1.

    Parameters
    ----------
    header
        Accept or Accept-Encoding; empty where there is none.
    wanted
        ``gzip``, ``image/png``.

    References
    ----------
    RFC 9110, 12.4.2 (quality values) and 12.5.1 (the most specific range counts).
    """
    ranges = dict(map(_range, header.lower().split(",")))
    kind, _, rest = wanted.partition("/")
    names = (wanted, f"{kind}/*", "*/*") if rest else (wanted, "*")
    return next((ranges[name] for name in names if name in ranges), 0.0)


def _range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip() for part in text.split(";"))
    weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
    try:
        return name, float(weight)
    except ValueError:
        return name, 0.0

from typing import Any

import pytest
from starlette.requests import Request

from service.errors import InvalidParameter
from service.http.query import ExplainQuery, PredictQuery, Query, asked, quality


def request(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": []})


class TestAsked:
    def test_words_become_what_is_asked(self) -> None:
        assert asked(request("heatmap=array"), PredictQuery).heatmap == "array"
        assert asked(request(""), PredictQuery).heatmap is None
        query = asked(request("format=jpeg&bare=true"), ExplainQuery)
        assert (query.bare, query.format, query.size) == ("true", "jpeg", "film")
        assert asked(request("heatmap=png&size=reduced"), PredictQuery).size == "reduced"

    @pytest.mark.parametrize(
        ("query", "kind", "known"),
        [
            ("patient=DOE", PredictQuery, "'heatmap' (png or jpeg or array)"),
            ("heatmap=DOE", PredictQuery, "'heatmap' (png or jpeg or array)"),
            ("heatmap=", PredictQuery, "'heatmap'"),
            ("Heatmap=png", PredictQuery, "'heatmap'"),
            ("bare=1", ExplainQuery, "'bare' (false or true), 'format' (png or jpeg)"),
            ("format=png&DOE", ExplainQuery, "'bare'"),
            ("heatmap=png&size=DOE", PredictQuery, "'size' (film or reduced)"),
            ("size=reduced", PredictQuery, "heatmap=png or heatmap=jpeg"),
            ("size=reduced&heatmap=array", PredictQuery, "heatmap=png or heatmap=jpeg"),
            ("DOE=1", Query, "no query parameter"),
        ],
    )
    def test_anything_else_is_refused_and_not_repeated(
        self, query: str, kind: type[Query], known: str
    ) -> None:
        with pytest.raises(InvalidParameter) as caught:
            asked(request(query), kind)
        assert known in str(caught.value)
        assert "DOE" not in str(caught.value)

    def test_one_that_is_there_twice_is_refused(self) -> None:
        with pytest.raises(InvalidParameter, match="twice"):
            asked(request("heatmap=png&heatmap=array"), PredictQuery)


@pytest.mark.parametrize(
    ("header", "wanted", "expected"),
    [
        ("", "image/png", 0),
        ("image/jpeg", "image/jpeg", 1),
        ("image/jpeg", "image/png", 0),
        ("Image/JPEG;q=0.3 , image/png; q=.7", "image/jpeg", 0.3),
        ("image/*;q=0.8, image/png;q=0.1, */*;q=0.5", "image/png", 0.1),
        ("image/*;q=0.8, */*;q=0.5", "image/png", 0.8),
        ("text/html, */*;q=0.5", "image/png", 0.5),
        ("image/png;q=nonsense", "image/png", 0),
        ("gzip, deflate, br", "gzip", 1),
        ("gzip;q=0, *", "gzip", 0),
        ("*;q=0.5", "gzip", 0.5),
        ("br", "gzip", 0),
    ],
)
def test_quality(header: str, wanted: str, expected: Any) -> None:
    assert quality(header, wanted) == expected

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.http.problems import STATUS
from service.schemas import INTENDED_USE
from service.version import VERSION
from tests.serving import serving


@pytest.fixture(scope="module")
def client(tiny_model: Path) -> Iterator[TestClient]:
    with serving(tiny_model) as client:
        yield client


@pytest.fixture
def document(client: TestClient) -> Any:
    return client.get("/docs.json").json()


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        found = {node["$ref"]} if "$ref" in node else set()
        return found.union(*(references(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(references(value) for value in node))
    return set()


def test_own_and_bentoml_endpoints_are_documented(document: Any) -> None:
    assert set(document["paths"]) == {
        *("/predict", "/explain", "/view", "/predict_batch", "/model"),
        *("/livez", "/healthz", "/readyz", "/metrics"),
    }


def test_version_is_that_of_the_release_and_there_is_one_document(
    document: Any, client: TestClient
) -> None:
    assert document["info"]["version"] == VERSION
    assert client.get("/openapi.json").json() == document


def test_parameters_are_those_that_are_taken(document: Any) -> None:
    found = {
        (path, parameter["name"]): parameter["schema"]["enum"]
        for path, operations in document["paths"].items()
        for parameter in operations.get("post", {}).get("parameters", [])
    }
    assert found == {
        ("/predict", "heatmap"): ["png", "jpeg", "array"],
        ("/predict", "size"): ["film", "reduced"],
        ("/explain", "bare"): ["false", "true"],
        ("/explain", "format"): ["png", "jpeg"],
        ("/explain", "size"): ["film", "reduced"],
        ("/view", "reading"): ["full", "none"],
    }


def test_bodies_are_forms_or_a_file_alone(document: Any) -> None:
    for path in ("/predict", "/explain", "/view", "/predict_batch"):
        assert set(document["paths"][path]["post"]["requestBody"]["content"]) == {
            "multipart/form-data", "application/dicom", "image/png", "image/jpeg",
            "application/octet-stream",
        }  # fmt: skip


def test_every_documented_operation_exists(document: Any, client: TestClient) -> None:
    for path, operations in document["paths"].items():
        for method in operations if path != "/metrics" else ():  # only under `bentoml serve`
            assert client.request(method, path).status_code not in {404, 405, 500}


def test_every_reference_resolves_and_every_schema_is_used(document: Any) -> None:
    schemas = document["components"]["schemas"]
    assert references(document) == {f"#/components/schemas/{name}" for name in schemas}


def test_every_code_is_listed_under_its_status(document: Any) -> None:
    responses = document["paths"]["/predict"]["post"]["responses"]
    for error, status in STATUS.items():
        assert f"`{error.code}`" in responses[str(int(status))]["description"]


def test_errors_are_problems(document: Any) -> None:
    for path in ("/predict", "/explain", "/view", "/predict_batch"):
        for status, response in document["paths"][path]["post"]["responses"].items():
            if status != "200":
                assert list(response["content"]) == ["application/problem+json"]


def test_fields_are_described(document: Any) -> None:
    for name, schema in document["components"]["schemas"].items():
        for field, facts in schema["properties"].items():
            assert "description" in facts or "$ref" in facts, (name, field)


def test_page_says_research_only_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/").text
    assert client.get("/docs").text == page
    assert INTENDED_USE in page
    assert "//" not in page
    script = client.get("/docs.js").text
    assert "//" not in script
    for address in re.findall(r'(?:src|href|url:)[= ]"\./([^"]+)"', page + script):
        assert client.get(f"/{address}").status_code == 200


def test_intended_use_is_in_the_document(document: Any) -> None:
    assert INTENDED_USE in document["info"]["description"]

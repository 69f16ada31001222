"""How the files of the page are served; tests/e2e tests the page itself."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from examples import make
from service.http.page import FOLDER
from service.schemas import INTENDED_USE
from tests.serving import problem, serving
from tests.sources import files

FILES = [path.relative_to(FOLDER).as_posix() for path in files(FOLDER)]
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".dcm": "",  # by the computer's own list of types; the page takes bytes
}


@pytest.fixture
def client(tiny_model: Path) -> Iterator[TestClient]:
    with serving(tiny_model) as client:
        yield client


@pytest.mark.parametrize("name", ["", *FILES])
def test_policy_and_validators_are_on_every_file(client: TestClient, name: str) -> None:
    response = client.get(f"/ui/{name}")
    assert response.status_code == 200
    kind = TYPES[Path(name or "index.html").suffix]
    assert response.headers["content-type"].startswith(kind)
    for headers in (
        response.headers,
        client.get(f"/ui/{name}", headers={"If-None-Match": response.headers["ETag"]}).headers,
    ):
        directives = dict(
            directive.strip().partition(" ")[::2]
            for directive in headers["Content-Security-Policy"].split(";")
        )
        assert directives == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' blob: data:",
            "connect-src": "'self'",
            "frame-ancestors": "'none'",
            "base-uri": "'none'",
            "form-action": "'none'",
        }
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-cache"


def test_unchanged_file_is_not_sent_again(client: TestClient) -> None:
    tag = client.get("/ui/").headers["ETag"]
    again = client.get("/ui/", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


def test_address_without_slash_leads_to_the_page_behind_any_prefix(client: TestClient) -> None:
    response = client.get("/ui", follow_redirects=False)
    assert (response.status_code, response.headers["Location"]) == (307, "ui/")
    assert client.get("/ui").url.path == "/ui/"


def test_page_is_served_without_a_model(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        assert INTENDED_USE in re.sub(r"<[^>]+>|\s+", " ", client.get("/ui/").text).replace(
            "  ", " "
        )


@pytest.mark.parametrize("path", ["/ui/none.js", "/ui/..%2f..%2fapp.py", "/ui/%2e%2e/app.py"])
def test_other_files_are_not_found(client: TestClient, path: str) -> None:
    assert problem(client.get(path)) == (404, "not_found")


def test_page_is_light() -> None:
    assert sum((FOLDER / name).stat().st_size for name in FILES) < 200_000


def test_page_asks_for_no_file_that_is_not_there() -> None:
    named = {
        match
        for name in FILES
        if name.endswith((".html", ".js"))
        for match in re.findall(r'"\./([\w-]+\.(?:js|css|svg))"', (FOLDER / name).read_text())
    }
    assert named == {name for name in FILES if "/" not in name} - {"index.html"}


@pytest.mark.parametrize("name", [make.HEALTHY, make.PNEUMONIA])
def test_examples_of_the_page_are_those_of_the_project(client: TestClient, name: str) -> None:
    assert client.get(f"/ui/examples/{name}").content == (make.FOLDER / name).read_bytes()
    assert f'"{name}"' in (FOLDER / "page.js").read_text()


def test_files_name_no_other_host() -> None:
    for name in (name for name in FILES if "/" not in name):
        text = (FOLDER / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(?:https?:)?//\w", text), name


def test_file_may_only_be_fetched(client: TestClient) -> None:
    response = client.post("/ui/page.js")
    assert problem(response) == (405, "method_not_allowed")

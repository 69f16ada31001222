"""The page that shows the interface to people, in a real browser, on a service with keys."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FilePayload, Page, expect

from service.auth.keys import add_key
from tests.e2e.browser import chromium
from tests.e2e.conftest import Server, running
from tests.factories import png_bytes

pytestmark = pytest.mark.e2e

PREDICT = "#operations-Readings-predict"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def critical(page: Page) -> list[str]:
    """Ids of what axe finds critical."""
    violations = Axe().run(page).response["violations"]
    return [found["id"] for found in violations if found["impact"] == "critical"]


def test_page_is_for_everybody_and_reads_a_film_with_a_key(
    browser: Browser, tiny_model: Path, tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys.txt", "reader", None)
    variables = {"CXR_MODEL": str(tiny_model), "CXR_API_KEYS": str(tmp_path / "keys.txt")}
    with running(tmp_path, **variables) as server:
        _use(browser, server, key)


def _use(browser: Browser, server: Server, key: str) -> None:
    page = browser.new_page()
    errors = list[str]()
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.goto(f"{server.url}/v1/docs")
    expect(page.locator(PREDICT)).to_be_visible()
    assert critical(page) == []
    page.get_by_role("button", name="Authorize").click()
    page.locator(".auth-container input").fill(key)
    page.locator(".auth-container button[type=submit]").click()
    page.locator(".btn-done").click()
    page.locator(f"{PREDICT} .opblock-summary-control").click()
    page.locator(f"{PREDICT} .try-out__btn").click()
    assert critical(page) == []
    page.get_by_label("heatmap").select_option("array")
    film = FilePayload(name="film.png", mimeType="image/png", buffer=png_bytes())
    page.locator(f"{PREDICT} input[type=file]").set_input_files(film)
    with page.expect_response("**/predict?heatmap=array") as answer:
        page.locator(f"{PREDICT} .execute").click()
    assert answer.value.status == 200
    assert answer.value.url.startswith(f"{server.url}/v1/")
    assert answer.value.json()["heatmap"]["values"]
    assert errors == []

"""A real Chromium on the page at /ui; no test of it passes unseen where there is none."""

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Request, Response, expect, sync_playwright

from tests.sources import ROOT

# A slow machine must not fail a test that only has to wait longer.
expect.set_options(timeout=30_000)

SHOTS = ROOT / "build" / "ui"
REQUIRE = "NANOCXR_REQUIRE_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No sandbox: it needs rights that a container rarely gives. The rest keeps Chromium from asking
# anything of its maker.
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def executable() -> str:
    """The browser's path; where there is none, skip, or fail if it is required."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        text = f"No browser ({', '.join(NAMES)}). Debian has it: apt-get install chromium."
        if os.environ.get(REQUIRE):
            pytest.fail(text, pytrace=False)
        pytest.skip(f"{text} {REQUIRE}=1 makes this a failure.")
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser, with a profile of its own that is deleted afterwards."""
    path = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Screen:
    """The page, and what it asked for and complained of."""

    page: Page
    url: str
    requests: list[Request] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Playwright cannot take a method of a list.
        self.page.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108
        self.page.on("response", lambda response: self.responses.append(response))  # noqa: PLW0108
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self._hear(message.text))

    def renew(self) -> "Screen":
        """Open the page anew, without what was heard of it and without what a test changed."""
        self.page.unroute_all()
        self.page.context.clear_permissions()
        self.page.context.set_offline(False)
        self.page.goto("about:blank")  # what the last page still asks ends here
        for heard in (self.requests, self.responses, self.complaints):
            heard.clear()
        return self.open()

    def _hear(self, text: str) -> None:
        # Chromium writes a line for every answer of 400 and more; those are tested as answers.
        if not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    def open(self) -> "Screen":
        self.page.goto(f"{self.url}/ui/")
        expect(self.page.get_by_text("Served: ")).to_be_visible()
        return self

    def choose(self, **files: bytes) -> None:
        """Choose files; ``a_dcm`` stands for the name ``a.dcm``."""
        payloads: Any = [
            {"name": name.replace("_", "."), "mimeType": "", "buffer": content}
            for name, content in files.items()
        ]
        self.page.set_input_files("#choose", payloads)

    def read(self, **files: bytes) -> None:
        """Choose files and wait until each has its answer."""
        self.choose(**files)
        self.wait()

    def wait(self) -> None:
        for text in ("waiting", "being read", "busy"):
            expect(self.page.locator(".state", has_text=text)).to_have_count(0, timeout=60_000)

    def uploads(self) -> list[Request]:
        """Requests with a file."""
        return [request for request in self.requests if request.url == f"{self.url}/view"]

    @property
    def options(self) -> Locator:
        """The lines of the list."""
        return self.page.locator("#list").get_by_role("option")

    def option(self, name: str) -> Locator:
        return self.options.filter(has=self.page.get_by_text(name, exact=True))

    def slide(self, label: str, value: float) -> None:
        self.page.get_by_label(label, exact=True).fill(f"{value:g}")

    def lay(self, layout: str) -> None:
        """Choose between one film, film and heatmap, two films."""
        self.page.locator("#layout").get_by_text(layout, exact=True).click()

    def open_examples(self) -> None:
        """Open the films that come with the page and wait until they are read."""
        self.page.get_by_role("button", name="Examples").click()
        expect(self.options).to_have_count(2)
        self.wait()

    def save(self, button: str) -> tuple[str, bytes]:
        """Press a button that saves a file; its name and content."""
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name=button, exact=True).click()
        return download.value.suggested_filename, download.value.path().read_bytes()

    def pixels(self, canvas: str = "canvas") -> NDArray[np.int64]:
        """What a canvas shows: (H, W, 3) in 0 to 255."""
        expect(self.page.locator(f"#{canvas}")).to_be_visible()
        address = self.page.evaluate(
            """(id) => new Promise((resolve) => requestAnimationFrame(() =>
            requestAnimationFrame(() => resolve(document.getElementById(id).toDataURL()))))""",
            canvas,
        )
        with Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
            return np.asarray(image.convert("RGB")).astype(np.int64)

    def shoot(self, name: str, *, whole: bool = False) -> Path:
        """Keep a screenshot from the top of the page in build/ui."""
        self.page.evaluate("scrollTo(0, 0)")
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}.png"
        self.page.screenshot(path=path, full_page=whole)
        return path

    def check(self) -> None:
        """Nothing was asked of another host, no script failed, no policy was violated."""
        assert self.requests
        for request in self.requests:
            assert request.url.startswith((f"{self.url}/", "data:image/png")), request.url
        assert not self.complaints


def assert_accessible(shown: Screen, **options: Any) -> None:
    """Nothing that axe finds, and contrast was among what it looked for."""
    results = Axe().run(shown.page, options={"resultTypes": ["violations", "passes"], **options})
    assert not results.violations_count, results.generate_report()
    assert "color-contrast" in {rule["id"] for rule in results.response["passes"]}


@contextmanager
def screen(browser: Browser, url: str, **context: Any) -> Iterator[Screen]:
    """Open the page with a fresh profile, and check afterwards that it kept to itself."""
    settings = {"viewport": {"width": 1280, "height": 900}, "locale": "en"} | context
    with browser.new_context(**settings) as profile:
        shown = Screen(profile.new_page(), url)
        yield shown.open()
        shown.check()

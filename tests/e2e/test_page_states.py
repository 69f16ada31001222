"""Every state of the page at /ui: a picture of it in build/ui, and nothing that axe finds.

To look at the page: `python -m pytest tests/e2e/test_page_states.py`, then open build/ui.
"""

import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browser import SHOTS, Screen, assert_accessible, screen
from tests.e2e.conftest import Server
from tests.factories import dicom_bytes, png_bytes

pytestmark = pytest.mark.e2e
SMALL = {"width": 1280, "height": 720}  # a common small screen
PHONE = {"width": 390, "height": 844}
SLIDERS = ("opacity", "centre", "width")


@pytest.fixture(scope="module")
def walked(browser: Browser, server: Server) -> Iterator[Screen]:
    """The page with the examples and two refused files, on a small screen."""
    with screen(browser, server.url, viewport=SMALL) as shown:
        keep(shown, "empty")
        shown.open_examples()
        shown.choose(
            noise_png=png_bytes(np.random.default_rng(0).integers(0, 255, (400, 500), np.uint8)),
            lateral_dcm=dicom_bytes(view="LL"),
        )
        shown.wait()
        yield shown


@pytest.fixture
def shown(walked: Screen) -> Screen:
    """The same page, however a test has left it, with the first film alone."""
    walked.page.emulate_media(media="screen", color_scheme="light")
    walked.page.set_viewport_size({"width": SMALL["width"], "height": SMALL["height"]})
    walked.page.get_by_label("Show", exact=True).select_option("all")
    walked.option("phantom-pneumonia.dcm").click()
    walked.lay("One")
    walked.page.get_by_role("button", name="Fit").click()
    return walked


def keep(shown: Screen, name: str, *, whole: bool = False) -> None:
    """Take the picture, light and dark, and ask axe; darkness changes nothing but contrast."""
    shown.page.emulate_media(color_scheme="light")
    shown.shoot(name, whole=whole)
    assert_accessible(shown)
    shown.page.emulate_media(color_scheme="dark")
    shown.shoot(f"{name}-dark", whole=whole)
    assert_accessible(shown, runOnly=["color-contrast"])
    shown.page.emulate_media(color_scheme="light")


def bottom(shown: Screen, identity: str) -> float:
    box = shown.page.locator(f"#{identity}").bounding_box()
    assert box
    return box["y"] + box["height"]


def assert_above_the_fold(shown: Screen) -> None:
    for identity in ("canvas", *SLIDERS):
        assert bottom(shown, identity) <= SMALL["height"], identity


def test_film_and_sliders_are_above_the_fold(shown: Screen) -> None:
    keep(shown, "reading")
    assert_above_the_fold(shown)
    expect(shown.page).to_have_title(re.compile(r"^pneumonia, 0\.\d\d - nanocxr$"))


def test_dark_is_dark(shown: Screen) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    found = []
    for dark in (False, True):
        shown.page.emulate_media(color_scheme="dark" if dark else "light")
        found.append(sum(map(int, re.findall(r"\d+", shown.page.evaluate(background)))))
    assert found[1] < 384 < found[0]


def test_film_beside_its_heatmap(shown: Screen) -> None:
    shown.lay("Film and heatmap")
    expect(shown.page.locator("#other-caption")).to_contain_text("with heatmap")
    keep(shown, "side-by-side")
    assert_above_the_fold(shown)


def test_two_films(shown: Screen) -> None:
    shown.lay("Two films")
    expect(shown.page.locator("#other-caption")).to_contain_text("phantom-healthy.png: no pneum")
    keep(shown, "two-films")
    assert_above_the_fold(shown)


def test_zoomed(shown: Screen) -> None:
    for _ in range(4):
        shown.page.get_by_role("button", name="Zoom in").click()
    expect(shown.page.locator("#zoom-value")).to_have_text("244 %")
    keep(shown, "zoomed")


def test_refused_picture_is_shown_below_the_reason(shown: Screen) -> None:
    shown.option("noise.png").click()
    expect(shown.page.locator("#refused-film")).to_be_visible()
    keep(shown, "refused")
    assert bottom(shown, "refused-film") <= SMALL["height"]
    expect(shown.page).to_have_title("No reading: Unfamiliar image - nanocxr")


def test_refused_header_has_the_reason_alone(shown: Screen) -> None:
    shown.option("lateral.dcm").click()
    expect(shown.page.locator(".film #problem-detail")).to_contain_text("(0018,5101)")
    expect(shown.page.locator("#refused")).to_be_hidden()
    keep(shown, "refused-header")


def test_filtered(shown: Screen) -> None:
    shown.page.get_by_label("Show", exact=True).select_option("refused")
    expect(shown.options).to_have_count(2)
    expect(shown.page.get_by_role("button", name="Remove", exact=True)).to_be_disabled()
    keep(shown, "filter")


def test_dialog_for_the_key(shown: Screen) -> None:
    shown.page.get_by_role("button", name="API key").click()
    shown.page.get_by_label("API key of this service").fill("cxr_é")
    shown.page.keyboard.press("Enter")
    expect(shown.page.get_by_role("alert")).to_contain_text("U+00E9")
    keep(shown, "key-dialog")
    shown.page.keyboard.press("Escape")
    expect(shown.page.get_by_role("dialog")).to_be_hidden()


def test_model_card_unfolds(shown: Screen) -> None:
    card = shown.page.locator("#card")
    expect(card).to_be_hidden()
    shown.page.get_by_role("link", name="Model card").click()
    expect(card).to_be_visible()
    keep(shown, "model-card", whole=True)
    shown.page.locator("summary").click()
    expect(card).to_be_hidden()


@pytest.mark.parametrize("width", [PHONE["width"], 320])
def test_phone_has_the_film_before_the_list_and_nothing_sideways(shown: Screen, width: int) -> None:
    shown.page.set_viewport_size({"width": width, "height": PHONE["height"]})
    keep(shown, f"phone-{width}", whole=True)
    assert bottom(shown, "canvas") < bottom(shown, "reading") < bottom(shown, "list")
    assert shown.page.evaluate(
        """() => {
            const [film, list] = ["film", "list"].map((id) => document.getElementById(id));
            return film.compareDocumentPosition(list) & Node.DOCUMENT_POSITION_FOLLOWING;
        }"""
    )
    assert shown.page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


@pytest.mark.parametrize("layout", ["One", "Two films"])
@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_print_is_one_page(shown: Screen, layout: str, paper: str) -> None:
    shown.lay(layout)
    shown.page.emulate_media(media="print", color_scheme="dark")
    name = f"print-{layout.partition(' ')[0].lower()}-{paper.lower()}.pdf"
    pages = shown.page.pdf(path=SHOTS / name, format=paper)
    assert len(re.findall(rb"/Type /Page\b(?!s)", pages)) == 1
    for hidden in ("#list", "#opacity", "#choose", "#card", "nav"):
        expect(shown.page.locator(hidden)).to_be_hidden()
    expect(shown.page.locator("#sentence")).to_be_visible()
    assert shown.page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    shown.page.set_viewport_size({"width": 703, "height": 900})  # A4 without its margins
    shown.shoot(name.removesuffix(".pdf"), whole=True)

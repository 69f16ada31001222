"""The page at /ui in a real browser: films beside each other, zoomed, arranged and saved."""

import csv
import json
import re
from io import BytesIO, StringIO
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Route, expect

from tests.bombs import huge_png
from tests.e2e.browser import Screen, screen
from tests.e2e.conftest import Server
from tests.factories import chest, dicom_bytes, png_bytes

pytestmark = pytest.mark.e2e


@pytest.fixture
def examples(shown: Screen) -> Screen:
    """The page with both example films: pneumonia, which is chosen, and healthy."""
    shown.open_examples()
    return shown


def transform(shown: Screen, canvas: str = "canvas") -> list[float]:
    """Scale and place of a film: scale, x, y."""
    text = shown.page.locator(f"#{canvas}").evaluate("(it) => getComputedStyle(it).transform")
    scale, _, _, _, x, y = map(float, re.findall(r"-?[\d.]+", text))
    return [scale, x, y]


def middle(film: Locator) -> tuple[float, float]:
    box = film.bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


class TestExamples:
    def test_films_come_with_the_page_and_are_read(self, examples: Screen) -> None:
        expect(examples.option("phantom-pneumonia.dcm")).to_contain_text("pneumonia, 0.")
        expect(examples.option("phantom-healthy.png")).to_contain_text("no pneumonia, 0.")

    def test_address_of_the_demo_opens_them(self, shown: Screen) -> None:
        shown.page.goto("about:blank")
        shown.page.goto(f"{shown.url}/ui/#examples")
        expect(shown.options).to_have_count(2)
        shown.wait()
        expect(shown.page.locator("#canvas")).to_be_visible()


class TestRefused:
    def test_dicom_that_does_not_look_like_a_chest_is_drawn_by_the_service(
        self, shown: Screen
    ) -> None:
        noise = np.random.default_rng(0).integers(0, 4096, (256, 300), np.uint16)
        shown.read(noise_dcm=dicom_bytes(noise, bits_stored=12))
        expect(shown.page.locator("#problem-code")).to_have_text("unfamiliar_image")
        drawn = shown.pixels("refused-film")
        assert drawn.shape == (256, 300, 3)
        np.testing.assert_allclose(drawn[..., 0], noise * (255 / 4095), atol=1)

    def test_dicom_that_was_refused_is_sent_for_its_picture_once(self, shown: Screen) -> None:
        noise = np.random.default_rng(0).integers(0, 4096, (256, 300), np.uint16)
        shown.read(noise_dcm=dicom_bytes(noise, bits_stored=12), film_png=png_bytes())
        for name in ("noise.dcm", "film.png", "noise.dcm"):
            shown.option(name).click()
        expect(shown.page.locator("#refused-film")).to_be_visible()
        asked = [one for one in shown.requests if one.url == f"{shown.url}/view?reading=none"]
        assert len(asked) == 1

    def test_dicom_of_too_few_pixels_is_drawn_too(self, shown: Screen) -> None:
        shown.read(small_dcm=dicom_bytes(np.zeros((64, 64), np.uint16), bits_stored=12))
        expect(shown.page.locator("#problem-code")).to_have_text("too_small")
        assert shown.pixels("refused-film").shape == (64, 64, 3)

    def test_bomb_is_not_given_to_the_browser_either(self, shown: Screen) -> None:
        shown.read(bomb_png=huge_png(30_000))
        expect(shown.page.locator("#problem-code")).to_have_text("too_many_pixels")
        expect(shown.page.locator("#refused")).to_be_hidden()


class TestLayout:
    def test_film_stands_beside_the_same_with_heat(self, examples: Screen) -> None:
        together = examples.pixels()
        examples.lay("Film and heatmap")
        assert np.array_equal(examples.pixels("other"), together)
        bare = examples.pixels()
        assert np.abs(bare - together).max() > 50
        assert np.array_equal(bare[..., 0], bare[..., 2])  # grey

    def test_two_films_stay_whichever_of_them_is_chosen(self, examples: Screen) -> None:
        first = examples.pixels()
        examples.lay("Two films")
        expect(examples.page.get_by_label("Second film")).to_have_text("phantom-healthy.png")
        second = examples.pixels("other")
        assert np.array_equal(examples.pixels(), first)
        examples.option("phantom-healthy.png").click()
        assert np.array_equal(examples.pixels(), second)
        assert np.array_equal(examples.pixels("other"), first)

    def test_second_film_is_any_that_was_read(self, examples: Screen) -> None:
        examples.read(third_png=png_bytes(chest(200, 180)))
        examples.lay("Two films")
        examples.page.get_by_label("Second film").select_option("third.png")
        assert examples.pixels("other").shape == (200, 180, 3)

    def test_without_another_film_it_says_so(self, shown: Screen) -> None:
        shown.read(only_png=png_bytes())
        shown.lay("Two films")
        expect(shown.page.locator("#other-caption")).to_contain_text("no second film")


class TestLook:
    def test_window_and_opacity_stay_from_film_to_film(self, examples: Screen) -> None:
        examples.slide("Heatmap", 20)
        examples.slide("Window centre", 30)
        examples.slide("Window width", 20)
        before = examples.pixels()
        for name in ("phantom-healthy.png", "phantom-pneumonia.dcm"):
            examples.option(name).click()
            for label, value in (
                ("Heatmap", "20"),
                ("Window centre", "30"),
                ("Window width", "20"),
            ):
                expect(examples.page.get_by_label(label, exact=True)).to_have_value(value)
        assert np.array_equal(examples.pixels(), before)

    def test_h_takes_the_heatmap_away_and_brings_it_back(self, examples: Screen) -> None:
        with_heat = examples.pixels()
        examples.page.keyboard.press("h")
        bare = examples.pixels()
        assert np.array_equal(bare[..., 0], bare[..., 2])
        expect(examples.page.get_by_label("Show heatmap")).not_to_be_checked()
        examples.page.keyboard.press("h")
        assert np.array_equal(examples.pixels(), with_heat)

    def test_h_is_a_letter_where_a_name_is_typed(self, examples: Screen) -> None:
        examples.page.get_by_label("Show names with").press_sequentially("healthy")
        expect(examples.page.get_by_label("Show heatmap")).to_be_checked()
        expect(examples.options).to_have_count(1)

    def test_strong_heat_beside_no_pneumonia_is_explained(
        self, shown: Screen, patient: tuple[bytes, bytes]
    ) -> None:
        """The service's answer is real but for heat and call, which no shipped film combines."""
        note = shown.page.locator("#contrast-note")
        shown.read(sick_png=patient[1])
        expect(shown.page.locator("#heat-note")).to_contain_text("100 %")
        expect(note).to_be_hidden()
        shown.page.route("**/view", answer_calmed)
        shown.read(calmed_png=patient[1])
        shown.option("calmed.png").click()
        expect(shown.page.locator("#call")).to_have_text("no pneumonia")
        expect(note).to_be_visible()


def answer_calmed(route: Route) -> None:
    """Pass on what the service answers, but for the call."""
    answer = route.fetch()
    route.fulfill(response=answer, body=answer.body().replace(b'"pneumonia"', b'"no pneumonia"'))


class TestZoom:
    def test_wheel_keeps_what_is_below_the_pointer(self, examples: Screen) -> None:
        film = examples.page.locator("#canvas")
        x, y = middle(film)
        examples.page.mouse.move(x, y)
        examples.page.mouse.wheel(0, -500)
        expect(examples.page.locator("#zoom-value")).not_to_have_text("100 %")
        assert middle(film) == pytest.approx((x, y), abs=1)

    def test_film_is_moved_by_dragging_and_never_out_of_its_pane(self, examples: Screen) -> None:
        examples.page.get_by_role("button", name="Zoom in").click(click_count=3)
        scale, left, _ = transform(examples)
        assert scale == pytest.approx(1.25**3, rel=1e-3)
        mouse = examples.page.mouse
        examples.page.get_by_role("radiogroup", name="Drag").get_by_text("Move").click()
        mouse.move(*middle(examples.page.locator("#panes")))
        mouse.down()
        mouse.move(*(value - 30 for value in middle(examples.page.locator("#panes"))), steps=3)
        mouse.up()
        assert transform(examples)[1] == pytest.approx(left - 30, abs=1)
        expect(examples.page.get_by_label("Window centre", exact=True)).to_have_value("50")
        examples.page.locator("#panes").focus()
        for _ in range(40):
            examples.page.keyboard.press("ArrowLeft")
        assert transform(examples)[1] == 0

    def test_shift_swaps_what_dragging_does(self, examples: Screen) -> None:
        examples.page.locator("#panes").press("+")
        _, left, _ = transform(examples)
        x, y = middle(examples.page.locator("#panes"))
        examples.page.keyboard.down("Shift")
        examples.page.mouse.move(x, y)
        examples.page.mouse.down()
        examples.page.mouse.move(x - 20, y, steps=2)
        examples.page.mouse.up()
        examples.page.keyboard.up("Shift")
        assert transform(examples)[1] == pytest.approx(left - 20, abs=1)
        expect(examples.page.get_by_label("Window width", exact=True)).to_have_value("100")

    def test_films_beside_each_other_move_together_until_another_is_chosen(
        self, examples: Screen
    ) -> None:
        examples.lay("Two films")
        examples.page.locator("#panes").press("+")
        examples.page.locator("#panes").press("ArrowRight")
        assert transform(examples) == transform(examples, "other")
        assert transform(examples)[0] > 1
        examples.option("phantom-healthy.png").click()
        assert transform(examples) == [1, 0, 0]


class TestFingers:
    def test_two_zoom_and_one_moves(self, browser: Browser, server: Server) -> None:
        with screen(browser, server.url, has_touch=True) as shown:
            shown.read(film_png=png_bytes())
            session = shown.page.context.new_cdp_session(shown.page)

            def touch(kind: str, *places: tuple[float, float]) -> None:
                points = [{"x": x, "y": y, "id": at} for at, (x, y) in enumerate(places)]
                session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

            x, y = middle(shown.page.locator("#panes"))
            touch("touchStart", (x - 40, y))
            touch("touchStart", (x - 40, y), (x + 40, y))
            for step in (60, 80):
                touch("touchMove", (x - step, y), (x + step, y))
            touch("touchEnd")
            expect(shown.page.locator("#zoom-value")).to_have_text("200 %")
            _, left, _ = transform(shown)
            touch("touchStart", (x, y))
            for step in (10, 20, 30):
                touch("touchMove", (x - step, y))
            touch("touchEnd")
            assert transform(shown)[1] == pytest.approx(left - 30, abs=1)
            expect(shown.page.get_by_label("Window width", exact=True)).to_have_value("100")


class TestList:
    @pytest.fixture
    def four(self, examples: Screen) -> Screen:
        """Both examples, a file that is no image and a lateral film, in this order."""
        examples.read(a_txt=b"text", lateral_dcm=dicom_bytes(view="LL"))
        return examples

    @staticmethod
    def names(shown: Screen) -> list[str]:
        return shown.page.locator("#list .name").all_text_contents()

    def test_order(self, four: Screen) -> None:
        order = four.page.get_by_label("Order")
        refused = ["a.txt", "lateral.dcm"]
        read = ["phantom-pneumonia.dcm", "phantom-healthy.png"]
        for choice, expected in {
            "name": [*refused, *reversed(read)],
            "highest": [*read, *refused],
            "lowest": [*reversed(read), *refused],
            "added": [*read, *refused],
        }.items():
            order.select_option(choice)
            assert self.names(four) == expected

    def test_filter_and_what_is_saved(self, four: Screen) -> None:
        show = four.page.get_by_label("Show", exact=True)
        for choice, count in {
            "pneumonia": 1,
            "no pneumonia": 1,
            "refused": 2,
            "waiting": 0,
        }.items():
            show.select_option(choice)
            expect(four.options).to_have_count(count)
            expect(four.page.locator("#save-note")).to_have_text(f"Save {count} of 4:")
        expect(four.page.get_by_text("No file matches.")).to_be_visible()
        show.select_option("refused")
        name, content = four.save("CSV")
        assert name == "nanocxr-readings.csv"
        assert content.count(b"\r\n") == 3

    def test_one_is_removed_by_button_and_by_key(self, four: Screen) -> None:
        four.page.get_by_role("button", name="Remove", exact=True).click()
        assert self.names(four) == ["phantom-healthy.png", "a.txt", "lateral.dcm"]
        expect(four.option("phantom-healthy.png")).to_have_attribute("aria-selected", "true")
        four.page.keyboard.press("End")
        four.page.keyboard.press("Delete")
        assert self.names(four) == ["phantom-healthy.png", "a.txt"]
        expect(four.option("a.txt")).to_have_attribute("aria-selected", "true")
        expect(four.page.get_by_role("status")).to_have_text("lateral.dcm removed.")

    def test_progress_is_shown_while_files_wait(self, shown: Screen) -> None:
        progress = shown.page.get_by_role("progressbar", name="Files that have an answer")
        held: list[Route] = []

        def hold(route: Route) -> None:
            if len(held) < 2:
                held.append(route)
            else:
                route.continue_()

        shown.page.route("**/view", hold)
        shown.choose(a_png=png_bytes(), b_txt=b"text", c_png=png_bytes())
        expect(progress).to_have_js_property("max", 3)
        while len(held) < 2:
            shown.page.wait_for_timeout(20)
        held[0].continue_()
        expect(progress).to_have_js_property("value", 2)
        held[1].continue_()
        shown.wait()
        expect(progress).to_be_hidden()


class TestSave:
    def test_json_is_what_the_service_answered(self, shown: Screen, http: httpx.Client) -> None:
        film, lateral = dicom_bytes(), dicom_bytes(view="LL")
        shown.read(film_dcm=film, lateral_dcm=lateral)
        name, content = shown.save("JSON")
        saved = json.loads(content)
        assert name == "nanocxr-readings.json"
        assert "Research use only" in saved["intended_use"]
        read, refused = saved["files"]
        assert read["reading"] == http.post("/predict", files={"image": film}).json()
        assert (refused["file"], refused["problem"]["code"]) == ("lateral.dcm", "not_frontal")

    def test_csv_has_a_line_a_file_and_no_formula(self, shown: Screen, http: httpx.Client) -> None:
        film = png_bytes()
        payloads: Any = [
            {"name": name, "mimeType": "", "buffer": content}
            for name, content in (('=1+1,"x".png', film), ("a.txt", b"text"))
        ]
        shown.page.set_input_files("#choose", payloads)
        shown.wait()
        _, content = shown.save("CSV")
        read, refused = csv.DictReader(StringIO(content.decode("utf-8-sig"), newline=""))
        reading = http.post("/predict", files={"image": film}).json()
        assert read["file"] == '\'=1+1,"x".png'
        assert float(read["probability"]) == reading["probability"]
        assert (read["call"], read["model_sha256"]) == (reading["call"], reading["model"]["sha256"])
        assert (refused["code"], refused["probability"]) == ("not_an_image", "")

    def test_png_is_the_film_as_it_looks_with_its_reading_below(self, examples: Screen) -> None:
        examples.slide("Heatmap", 100)
        name, content = examples.save("Save PNG")
        assert name == "phantom-pneumonia-heatmap.png"
        with Image.open(BytesIO(content)) as picture:
            saved = np.asarray(picture.convert("RGB")).astype(np.int64)
        shown = examples.pixels()
        times = saved.shape[1] // shown.shape[1]
        film = saved[: times * shown.shape[0]]
        small = film.reshape(shown.shape[0], times, shown.shape[1], times, 3).mean((1, 3))
        assert np.abs(small - shown).mean() < 2
        words = saved[times * shown.shape[0] :]
        assert (words > 200).any()

    def test_reading_is_copied(self, examples: Screen) -> None:
        examples.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        examples.page.get_by_role("button", name="Copy").click()
        expect(examples.page.get_by_role("status")).to_have_text("The reading is in the clipboard.")
        copied = examples.page.evaluate("navigator.clipboard.readText()")
        sentence = examples.page.locator("#sentence").text_content()
        assert copied.startswith(f"phantom-pneumonia.dcm: {sentence}.\n")
        assert copied.endswith("Research use only, not a medical device.")

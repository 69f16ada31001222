"""The page at /ui in a real browser, on a really running service: what it shows."""

from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, expect

from service.imaging.decode import Limits, decode
from service.schemas import INTENDED_USE
from tests.e2e.browser import Screen, screen
from tests.e2e.conftest import SHIPPED, Server, running
from tests.factories import chest, dicom_bytes, jpeg_bytes, png_bytes
from tests.sites import write_site

pytestmark = pytest.mark.e2e


def grey(content: bytes) -> NDArray[np.float64]:
    """What a screen should show of a file, (H, W, 1) in 0 to 255, before any window."""
    return decode(content, Limits()).pixels[..., np.newaxis].astype(np.float64) * 255


class TestFilm:
    @pytest.mark.parametrize(
        "content",
        [
            dicom_bytes(chest(), bits_stored=12),
            dicom_bytes(4095 - chest(), bits_stored=12, photometric="MONOCHROME1"),
            dicom_bytes(chest(), bits_stored=12, WindowCenter=900, WindowWidth=1200),
            png_bytes(chest(bits=16)),
            jpeg_bytes(),
        ],
        ids=["DICOM", "MONOCHROME1", "window", "PNG", "JPEG"],
    )
    def test_grey_values_are_those_of_the_file(self, shown: Screen, content: bytes) -> None:
        shown.read(film=content)
        shown.slide("Heatmap", 0)
        assert np.abs(shown.pixels() - grey(content)).max() <= 1

    def test_heat_is_that_of_explain(
        self, shown: Screen, http: httpx.Client, patient: tuple[bytes, bytes]
    ) -> None:
        shown.read(film=patient[1])
        with Image.open(
            BytesIO(http.post("/explain", files={"image": patient[1]}).content)
        ) as picture:
            expected = np.asarray(picture).astype(np.int64)
        assert np.abs(expected - grey(patient[1])).max() > 50
        assert np.abs(shown.pixels() - expected).max() <= 2

    def test_opacity_goes_from_the_film_alone_to_the_colour(
        self, shown: Screen, patient: tuple[bytes, bytes]
    ) -> None:
        shown.read(film=patient[1])
        difference = []
        for opacity in (0, 50, 100):
            shown.slide("Heatmap", opacity)
            difference.append(np.abs(shown.pixels() - grey(patient[1])).max())
        assert difference[0] <= 1
        assert difference[1] == pytest.approx(difference[2] / 2, abs=2)
        expect(shown.page.locator("#opacity-value")).to_have_text("100 %")
        expect(shown.page.locator("#heat-note")).to_contain_text("of the full scale")

    def test_window_stretches_grey_values_and_is_reset(self, shown: Screen) -> None:
        content = dicom_bytes(chest(), bits_stored=12)
        shown.read(film=content)
        shown.slide("Heatmap", 0)
        shown.slide("Window centre", 30)
        shown.slide("Window width", 20)
        expected = np.clip((grey(content) - 0.2 * 255) / 0.2, 0, 255)
        assert np.abs(shown.pixels() - expected).max() <= 1
        shown.page.get_by_role("button", name="Reset window").click()
        assert np.abs(shown.pixels() - grey(content)).max() <= 1

    def test_narrow_window_shows_more_than_8_bits(self, shown: Screen) -> None:
        shown.read(film=png_bytes(chest(480, 512, bits=16)))
        shown.slide("Heatmap", 0)
        shown.slide("Window width", 20)
        stretched = len(np.unique(shown.pixels()[..., 0]))
        assert stretched > 1.5 * 0.2 * 256

    def test_drag_sets_the_window(self, shown: Screen) -> None:
        shown.read(film=png_bytes())
        shown.slide("Window width", 60)
        box = shown.page.locator("#canvas").bounding_box()
        assert box
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        mouse = shown.page.mouse
        mouse.move(*middle)
        mouse.down()
        mouse.move(middle[0] - 0.2 * box["width"], middle[1] + 0.1 * box["height"], steps=5)
        mouse.up()
        mouse.move(*middle)
        centre, width = (
            float(shown.page.get_by_label(label, exact=True).input_value())
            for label in ("Window centre", "Window width")
        )
        assert centre == pytest.approx(60, abs=1)
        assert width == pytest.approx(40, abs=1)

    def test_film_is_named_for_those_who_do_not_see_it(self, shown: Screen) -> None:
        shown.read(film=png_bytes(chest(2100, 300)))
        name = shown.page.get_by_role("img", name="Radiograph, 300 × 2100 pixels")
        expect(name).to_be_visible()
        assert shown.pixels().shape == (2048, 293, 3)


def test_says_on_whose_films_the_probability_was_calibrated(
    browser: Browser, shown: Screen, tmp_path: Path, patient: tuple[bytes, bytes]
) -> None:
    shown.read(film=patient[1])
    expect(shown.page.locator("#point-note")).to_contain_text("fitted to synthetic images")
    site = tmp_path / "site.json"
    write_site(site, SHIPPED)
    with (
        running(tmp_path, CXR_CALIBRATION=str(site)) as server,
        screen(browser, server.url) as calibrated,
    ):
        calibrated.read(film=patient[1])
        note = calibrated.page.locator("#point-note")
        expect(note).to_contain_text("fitted to 240 films of this site")
        expect(note).to_contain_text("sensitivity 0.75 and specificity 0.88")
        assert "calibration site (240 films, SHA-256 " in server.log.read_text()


class TestReading:
    def test_number_meter_and_sentence_agree(
        self, shown: Screen, http: httpx.Client, patient: tuple[bytes, bytes]
    ) -> None:
        reading = http.post("/predict", files={"image": patient[1]}).json()
        shown.read(film=patient[1])
        probability, threshold = reading["probability"], reading["operating_point"]["threshold"]
        assert probability > threshold
        sentence = (
            f"{probability:.2f}, above the threshold {threshold:.2f} of the operating point "
            "“balanced”: pneumonia"
        )
        expect(shown.page.locator("#sentence")).to_have_text(sentence)
        meter = shown.page.get_by_role("meter", name="Probability of pneumonia")
        expect(meter).to_have_attribute("aria-valuetext", sentence)
        expect(meter).to_have_attribute("aria-valuenow", f"{probability:.4f}")
        box, mark = meter.bounding_box(), shown.page.locator("#mark").bounding_box()
        assert box
        assert mark
        place = (mark["x"] + mark["width"] / 2 - box["x"]) / box["width"]
        assert place == pytest.approx(threshold, abs=0.02)

    def test_below_the_threshold_is_said_too(
        self, shown: Screen, patient: tuple[bytes, bytes]
    ) -> None:
        shown.read(film=patient[0])
        expect(shown.page.locator("#sentence")).to_contain_text("below the threshold")
        expect(shown.page.locator("#call")).to_have_text("no pneumonia")

    def test_warnings_and_facts_are_listed(self, shown: Screen, http: httpx.Client) -> None:
        content = dicom_bytes(view=None)
        warnings = http.post("/predict", files={"image": content}).json()["warnings"]
        assert warnings
        shown.read(film=content)
        expect(shown.page.locator("#warnings li")).to_have_text(warnings)
        for fact in ("DICOM", "240 × 256 pixels", "MONOCHROME2", "1.2.840.10008.1.2.1"):
            expect(shown.page.locator("#facts")).to_contain_text(fact)

    def test_refusal_has_title_detail_and_code_and_others_are_read(
        self, shown: Screen, http: httpx.Client
    ) -> None:
        lateral = dicom_bytes(view="LL")
        problem = http.post("/predict", files={"image": lateral}).json()
        shown.read(lateral_dcm=lateral, text=b"text", chest_png=png_bytes())
        panel = shown.page.locator("#problem")
        for text in (problem["title"], problem["detail"], problem["code"]):
            expect(panel).to_contain_text(text)
        expect(panel.get_by_role("button")).to_be_hidden()
        expect(shown.page.locator("#canvas")).to_be_hidden()
        expect(shown.option("text")).to_contain_text("no reading: Not an image")
        shown.option("chest.png").click()
        expect(shown.page.locator("#canvas")).to_be_visible()
        expect(panel).to_be_hidden()


class TestCard:
    def test_card_of_the_model_is_rendered(self, shown: Screen, http: httpx.Client) -> None:
        card = shown.page.locator("#card")
        shown.page.get_by_role("link", name="Model card").click()
        assert "| operating point | threshold |" in http.get("/model").json()["card"]
        expect(card.get_by_role("columnheader", name="operating point")).to_be_visible()
        expect(card.get_by_role("heading", name="Limits")).to_be_visible()
        expect(card).not_to_contain_text("**")
        expect(card).not_to_contain_text("|")

    def test_markup_in_a_card_stays_text(self, shown: Screen) -> None:
        blocks = (
            "# <img src=/x>",
            "<script>x</script> **<b>b</b>**",
            "- <a href=/x>a</a>",
            "| <i> |",
        )
        shown.page.evaluate(
            """async (text) => {
                const { render } = await import("/ui/markdown.js");
                document.getElementById("card").replaceChildren(render(text));
            }""",
            "\n\n".join(blocks),
        )
        card = shown.page.locator("#card")
        expect(card).to_contain_text("<script>x</script>")
        assert card.locator("img, script, b, a, i").count() == 0
        assert card.locator("h3, p, strong, li, th").count() == 5

    def test_research_only_is_said_and_both_pages_are_linked(
        self, shown: Screen, server: Server
    ) -> None:
        expect(shown.page.locator(".notice").first).to_have_text(INTENDED_USE)
        shown.page.get_by_role("link", name="HTTP interface").click()
        expect(shown.page).to_have_url(f"{server.url}/")
        shown.page.get_by_role("link", name="Look at radiographs").click()
        expect(shown.page).to_have_url(f"{server.url}/ui/")

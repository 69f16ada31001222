"""The page at /ui in a real browser, on a really running service: how it is used."""

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Route, expect

from tests.e2e.browser import Screen, screen
from tests.e2e.conftest import Server, running, sample
from tests.factories import chest, dicom_bytes, png_bytes

pytestmark = pytest.mark.e2e
KEY = "cxr_right"


class TestKeyboard:
    def test_everything_is_done_without_a_mouse(self, shown: Screen) -> None:
        keys = shown.page.keyboard
        # Listen early: Playwright begins to catch dialogs some time after the first listener.
        shown.page.on("filechooser", lambda _: None)
        for _ in range(3):
            keys.press("Tab")
        assert focus(shown) == "choose"
        with shown.page.expect_file_chooser() as chooser:
            keys.press("Enter")
        names = ("a.png", "b.png", "c.png")
        payloads: Any = [
            {"name": name, "mimeType": "", "buffer": png_bytes(chest(seed=seed))}
            for seed, name in enumerate(names)
        ]
        chooser.value.set_files(payloads)
        shown.wait()
        keys.press("Tab")
        assert focus(shown) == "list"
        for key, name in (("ArrowDown", "b.png"), ("End", "c.png"), ("Home", "a.png")):
            keys.press(key)
            option = shown.option(name)
            expect(option).to_have_attribute("aria-selected", "true")
            identity = option.get_attribute("id") or ""
            expect(shown.page.locator("#list")).to_have_attribute("aria-activedescendant", identity)
        before = shown.pixels()
        order = []
        for _ in range(5):
            keys.press("Tab")
            order.append(focus(shown))
        assert order == ["clear", "opacity", "centre", "width", "reset"]
        keys.press("Shift+Tab")
        for _ in range(20):
            keys.press("ArrowLeft")
        assert np.abs(shown.pixels() - before).max() > 5
        keys.press("Tab")
        keys.press("Enter")
        assert np.array_equal(shown.pixels(), before)

    def test_what_happens_is_announced(self, shown: Screen) -> None:
        shown.read(chest_png=png_bytes(), text=b"text")
        status = shown.page.get_by_role("status")  # a live region by its role
        expect(status).to_contain_text("2 of 2 done.")
        shown.page.get_by_role("button", name="Remove all").press("Enter")
        expect(status).to_have_text("All files removed.")
        expect(shown.page.locator("#canvas")).to_be_hidden()
        assert focus(shown) == "choose"


def focus(shown: Screen) -> str:
    """The id of the element with the focus, which must be visible."""
    identity, outline = shown.page.evaluate(
        """() => {
            const focused = document.activeElement;
            const seen = focused.id === "choose" ? focused.nextElementSibling : focused;
            return [focused.id, getComputedStyle(seen).outline];
        }"""
    )
    assert "solid 3px" in outline
    return str(identity)


class TestFiles:
    def test_dropped_files_are_read(self, shown: Screen) -> None:
        files = [
            (name, base64.b64encode(content).decode())
            for name, content in (("a.dcm", dicom_bytes()), ("b.png", png_bytes()))
        ]
        dropped = shown.page.evaluate_handle(
            """(files) => {
                const transfer = new DataTransfer();
                for (const [name, content] of files) {
                    const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
                    transfer.items.add(new File([bytes], name));
                }
                return transfer;
            }""",
            files,
        )
        shown.page.dispatch_event("#film-title", "drop", {"dataTransfer": dropped})
        expect(shown.page.get_by_role("option")).to_have_count(2)
        shown.wait()
        expect(shown.page.locator("#facts")).to_contain_text("DICOM")
        assert shown.pixels().shape == (256, 240, 3)

    def test_names_are_not_sent(self, shown: Screen) -> None:
        # Playwright does not show the body of an upload, so the browser is asked to write it twice.
        shown.page.evaluate(
            """() => {
                const { fetch } = window;
                window.fetch = async (address, options) => {
                    window.sent = await new Response(options.body).text();
                    return fetch(address, options);
                };
            }"""
        )
        shown.read(DoeJane_dcm=dicom_bytes())
        body = shown.page.evaluate("window.sent")
        assert 'filename="image"' in body
        assert "Doe" not in body
        assert "Doe" not in str(shown.uploads()[0].headers)

    def test_two_are_under_way_at_once_and_no_more(self, shown: Screen) -> None:
        shown.read(**{f"{seed}_png": png_bytes(chest(seed=seed)) for seed in range(6)})
        times = shown.page.evaluate(
            """() => performance.getEntriesByType("resource")
                .filter(({ name }) => name.endsWith("/view"))
                .map(({ startTime, responseEnd }) => [startTime, responseEnd])"""
        )
        assert len(times) == 6
        overlap = [sum(begin <= moment < end for begin, end in times) for moment, _ in times]
        assert max(overlap) == 2

    def test_films_out_of_memory_are_read_again(self, shown: Screen) -> None:
        names = [f"{seed}.png" for seed in range(14)]
        shown.read(**{name.replace(".", "_"): png_bytes(chest(144, 144)) for name in names})
        assert len(shown.uploads()) == 14
        shown.option("1.png").click()
        expect(shown.page.locator("#canvas")).to_be_visible()
        assert len(shown.uploads()) == 15
        shown.option("13.png").click()
        expect(shown.page.locator("#canvas")).to_be_visible()
        assert len(shown.uploads()) == 15

    def test_busy_service_is_asked_again(self, browser: Browser, tmp_path: Path) -> None:
        film = sample("RG1_J2KI.dcm")
        with (
            running(tmp_path, CXR_MAX_REQUESTS="1") as server,
            screen(browser, server.url) as shown,
        ):
            shown.page.evaluate(
                """() => {
                    window.states = [];
                    const list = document.getElementById("list");
                    const keep = () => window.states.push(list.innerText);
                    new MutationObserver(keep).observe(list, { childList: true, subtree: true });
                }"""
            )
            shown.read(**{f"{number}_dcm": film for number in range(3)})
            statuses = [r.status for r in shown.responses if r.url.endswith("/view")]
            states = "".join(shown.page.evaluate("window.states"))
        assert statuses.count(200) == 3
        assert 503 in statuses
        assert set(statuses) == {200, 503}
        assert "the service is busy, again in 1 s" in states

    def test_without_an_answer_it_can_be_tried_again(self, shown: Screen) -> None:
        shown.page.context.set_offline(True)
        shown.read(chest_png=png_bytes())
        expect(shown.page.locator("#problem-code")).to_have_text("no_answer")
        shown.page.context.set_offline(False)
        shown.page.get_by_role("button", name="Try again").click()
        expect(shown.page.locator("#canvas")).to_be_visible()
        expect(shown.page.locator("#problem")).to_be_hidden()


class TestKey:
    def test_page_asks_for_a_key_and_sends_it(self, browser: Browser, server: Server) -> None:
        """The guard here is the test's: only what it lets pass reaches the service."""
        with browser.new_context() as profile:
            shown = Screen(profile.new_page(), server.url)
            shown.page.route(re.compile("/(model|view)$"), guard)
            shown.page.goto(f"{server.url}/ui/")
            field = shown.page.get_by_label("API key of this service")
            expect(field).to_be_focused()
            shown.choose(chest_png=png_bytes())
            expect(shown.option("chest.png")).to_contain_text("waiting")
            assert_accessible(shown)
            for key in ("wrong", KEY):
                field.fill(key)
                field.press("Enter")
                expect(field).to_have_value("")
                if key == "wrong":
                    expect(field).to_be_visible()
            expect(field).to_be_hidden()
            expect(shown.page.locator("#canvas")).to_be_visible()
            expect(shown.page.get_by_text("Served: ")).to_be_visible()
            assert shown.page.evaluate("sessionStorage.length + localStorage.length") == 0
            assert KEY not in shown.page.content()
            shown.check()


def guard(route: Route) -> None:
    if route.request.headers.get("authorization") == f"Bearer {KEY}":
        route.continue_()
        return
    detail = "An API key is needed. Send one: Authorization: Bearer cxr_..."
    route.fulfill(
        status=401,
        content_type="application/problem+json",
        headers={"WWW-Authenticate": "Bearer"},
        json={"title": "Unauthorized", "status": 401, "detail": detail, "code": "unauthorized"},
    )


class TestAccessibility:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_no_violation_in_any_state(
        self, browser: Browser, server: Server, scheme: str, patient: tuple[bytes, bytes]
    ) -> None:
        with screen(browser, server.url, color_scheme=scheme) as shown:
            shown.shoot(f"empty-{scheme}")
            shown.read(
                pneumonia_png=patient[1], healthy_png=patient[0], lateral_dcm=dicom_bytes(view="LL")
            )
            assert_accessible(shown)
            shown.shoot(f"reading-{scheme}")
            shown.shoot(f"reading-{scheme}-whole", whole=True)
            shown.option("lateral.dcm").click()
            assert_accessible(shown)
            shown.shoot(f"refusal-{scheme}")
            background = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, background[4:-1].split(","))) < 384) == (scheme == "dark")

    def test_narrow_screen_needs_no_sideways_scrolling(
        self, browser: Browser, server: Server
    ) -> None:
        with screen(browser, server.url, viewport={"width": 320, "height": 640}) as shown:
            shown.read(film_png=png_bytes())
            assert_accessible(shown)
            shown.shoot("narrow", whole=True)
            root = "document.documentElement"
            assert shown.page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")

    @pytest.mark.parametrize(("motion", "seconds"), [("reduce", "0s"), ("no-preference", "0.2s")])
    def test_nothing_moves_for_those_who_ask(
        self, browser: Browser, server: Server, motion: str, seconds: str
    ) -> None:
        with screen(browser, server.url, reduced_motion=motion) as shown:
            style = shown.page.evaluate(
                "getComputedStyle(document.getElementById('fill')).transitionDuration"
            )
        assert style == seconds


def assert_accessible(shown: Screen) -> None:
    results = Axe().run(shown.page, options={"resultTypes": ["violations", "passes"]})
    assert not results.violations_count, results.generate_report()
    assert "color-contrast" in {rule["id"] for rule in results.response["passes"]}


class TestPolicy:
    def test_script_cannot_reach_another_host_nor_be_written_inline(
        self, browser: Browser, server: Server
    ) -> None:
        with browser.new_context() as profile:
            shown = Screen(profile.new_page(), server.url).open()
            shown.page.evaluate("fetch('http://127.0.0.1:9/').catch(() => null)")
            shown.page.evaluate(
                """() => {
                    const script = document.createElement("script");
                    script.textContent = "window.ran = true";
                    document.body.append(script);
                }"""
            )
            assert shown.page.evaluate("window.ran") is None
        for directive in ("connect-src 'self'", "script-src 'self'"):
            assert any(directive in complaint for complaint in shown.complaints)

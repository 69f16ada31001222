"""The page at /ui in a real browser, on a really running service: how it is used."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Route, expect

from tests.e2e.browser import Screen, assert_accessible, screen
from tests.e2e.conftest import Server, running, sample
from tests.factories import chest, dicom_bytes, png_bytes

pytestmark = pytest.mark.e2e
KEY = "cxr_right"
FIELD = "API key of this service"


class TestKeyboard:
    def test_everything_is_done_without_a_mouse(self, shown: Screen) -> None:
        keys = shown.page.keyboard
        # Listen early: Playwright begins to catch dialogs some time after the first listener.
        shown.page.on("filechooser", lambda _: None)
        for _ in range(4):
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
        order = tabs(shown, 5)
        assert order == ["examples", "named", "which", "order", "list"]
        for key, name in (("ArrowDown", "b.png"), ("End", "c.png"), ("Home", "a.png")):
            keys.press(key)
            option = shown.option(name)
            expect(option).to_have_attribute("aria-selected", "true")
            identity = option.get_attribute("id") or ""
            expect(shown.page.locator("#list")).to_have_attribute("aria-activedescendant", identity)
        before = shown.pixels()
        assert tabs(shown, 7) == [
            "remove", "clear", "save-csv", "save-json", "layout", "panes", "closer",
        ]  # fmt: skip
        assert tabs(shown, 8) == [
            "farther", "fit", "drag", "heat", "save-png", "opacity", "centre", "width",
        ]  # fmt: skip
        for _ in range(20):
            keys.press("ArrowLeft")
        assert np.abs(shown.pixels() - before).max() > 5
        assert tabs(shown, 1) == ["reset"]
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


def tabs(shown: Screen, count: int) -> list[str]:
    """What gets the focus as Tab is pressed ``count`` times."""
    found = []
    for _ in range(count):
        shown.page.keyboard.press("Tab")
        found.append(focus(shown))
    return found


def focus(shown: Screen) -> str:
    """The id, or the name, of the element with the focus, which must be visible."""
    identity, outline = shown.page.evaluate(
        """() => {
            const focused = document.activeElement;
            const hidden = focused.id === "choose" || focused.type === "radio";
            const seen = hidden ? focused.nextElementSibling : focused;
            return [focused.id || focused.name, getComputedStyle(seen).outline];
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
        expect(shown.options).to_have_count(2)
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
    def test_page_asks_for_a_key_and_sends_it(self, guarded: Screen) -> None:
        """The guard here is the test's: only what it lets pass reaches the service."""
        shown, field = guarded, guarded.page.get_by_label(FIELD)
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

    @pytest.mark.parametrize("pasted", [f"\u200b{KEY}\n", f"cxr_\u00ad{KEY[4:]}\u2060"])
    def test_what_is_invisible_in_a_pasted_key_is_left_out(
        self, guarded: Screen, pasted: str
    ) -> None:
        self.use(guarded, pasted)
        guarded.read(chest_png=png_bytes())
        expect(guarded.page.locator("#canvas")).to_be_visible()

    def test_foreign_character_in_a_key_is_named_and_the_key_can_be_changed_later(
        self, guarded: Screen
    ) -> None:
        guarded.choose(chest_png=png_bytes())
        self.use(guarded, KEY.replace("r", "\u0433", 1))
        fault = guarded.page.get_by_role("alert")
        expect(fault).to_contain_text("Character 3, “\u0433” (U+0433), is in no key")
        expect(guarded.page.get_by_label(FIELD)).to_have_attribute("aria-invalid", "true")
        assert_accessible(guarded)
        guarded.page.get_by_role("button", name="Cancel").click()
        expect(guarded.option("chest.png")).to_contain_text("waiting")
        guarded.page.get_by_role("button", name="API key").click()
        expect(fault).to_be_empty()
        self.use(guarded, KEY)
        expect(guarded.page.locator("#canvas")).to_be_visible()
        expect(guarded.page.locator("#served")).to_contain_text("Served: ")

    @pytest.fixture
    def guarded(self, browser: Browser, server: Server) -> Iterator[Screen]:
        """The page of a service that asks for a key."""
        with browser.new_context(locale="en") as profile:
            shown = Screen(profile.new_page(), server.url)
            shown.page.route(re.compile("/(model|view)$"), guard)
            shown.page.goto(f"{server.url}/ui/")
            expect(shown.page.get_by_label(FIELD)).to_be_focused()
            yield shown
            shown.check()

    @staticmethod
    def use(shown: Screen, key: str) -> None:
        """Paste a key and send it."""
        shown.page.get_by_label(FIELD).focus()
        shown.page.keyboard.insert_text(key)
        shown.page.keyboard.press("Enter")


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
    @pytest.mark.parametrize(("motion", "seconds"), [("reduce", "0s"), ("no-preference", "0.2s")])
    def test_nothing_moves_for_those_who_ask(
        self, browser: Browser, server: Server, motion: str, seconds: str
    ) -> None:
        with screen(browser, server.url, reduced_motion=motion) as shown:
            style = shown.page.evaluate(
                "getComputedStyle(document.getElementById('fill')).transitionDuration"
            )
        assert style == seconds


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

"""The pages: self-contained, parseable, with what the numbers say."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import roc_auc_score

from clients.cli.main import cli
from clients.metrics.evaluate import Method, evaluate
from clients.reports.figures import strata_figure, styled
from clients.reports.report import headline
from tests.clients.samples import frame, two_normals
from tests.e2e.browser import chromium


class Page(HTMLParser):
    """Checks that tags close, and gathers what a browser would fetch, show and read out."""

    VOID: ClassVar[set[str]] = {"meta", "img", "br", "link"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.descriptions: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.tables = 0
        self.cells: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "tags are left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        for name in ("src", "href", "xlink:href", "action", "data"):
            if name in given:
                self.references.append(given[name])
        if tag in {"svg", "img"}:
            self.descriptions.append(given.get("aria-label") or given.get("alt") or "")
        if "id" in given:
            self.ids.append(given["id"])
        self.tables += tag == "table"
        assert tag not in {"script", "iframe", "object", "embed"}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"h1", "h2", "h3"}:
            self.headings.append(data.strip())
        if self.open and self.open[-1] in {"td", "th", "dd"}:
            self.cells.append(data.strip())


def check_self_contained(text: str) -> Page:
    """Parse a page and assert that it loads nothing and describes every picture."""
    page = Page(text)
    outside = [link for link in page.references if not link.startswith(("#", "data:"))]
    assert outside == []
    assert not re.search(r"https?:|[\"'(\s]//[a-z]|@import|url\((?!#)", text), "a URL"
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(page.ids)
    assert {link[1:] for link in page.references if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids)), "an id is used twice"
    assert all(len(words) > 20 for words in page.descriptions)
    assert "Not a medical device" in text
    assert "prefers-color-scheme: dark" in text
    return page


def scores(folder: Path, **columns: object) -> Path:
    table = frame(*two_normals(40, 60, shift=1.2, seed=2)).assign(**columns)
    table["path"] = [f"{number}.png" for number in range(100)]
    table.to_parquet(folder / "scores.parquet")
    return folder / "scores.parquet"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a report with strata, one of which tries to be HTML."""
    folder = tmp_path_factory.mktemp("page")
    out = folder / "report.html"
    result = run(
        "evaluate", scores(folder, ward="<b>A&E</b>"), "--by", "source", "--by", "ward",
        "--report", out, "--replicates", 100, "--prevalence", 0.05,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return out.read_text(encoding="utf-8")


class TestEvaluationPage:
    def test_holds_every_plot_and_table_and_nothing_from_elsewhere(self, text: str) -> None:
        page = check_self_contained(text)
        assert len(page.descriptions) == 5
        described = " ".join(page.descriptions)
        for plot in ("ROC curve", "Precision-recall", "Reliability", "Histograms", "every group"):
            assert plot in described
        assert page.tables == 3
        assert page.headings[1:] == [
            "Discrimination", "Operating points", "Calibration", "Groups", "Method",
        ]  # fmt: skip

    def test_shows_the_numbers_of_the_table(self, text: str, tmp_path: Path) -> None:
        table = pd.read_parquet(scores(tmp_path))
        above = table.loc[table["label"] == 1, "probability"].to_numpy()
        below = table.loc[table["label"] == 0, "probability"].to_numpy()
        area = (above[:, None] > below).mean()
        cells = Page(text).cells
        assert f"{area:.3f}" in cells
        assert "0.400" in cells  # prevalence
        assert "PPV at 0.05" in cells
        assert {"source=north", "source=south"} <= set(cells)

    def test_values_of_the_data_are_escaped(self, text: str) -> None:
        assert "<b>A&E" not in text
        assert "&lt;b&gt;A&amp;E" in text

    def test_colours_follow_the_theme(self, text: str) -> None:
        drawings = text[text.index("<svg") : text.rindex("</svg>")]
        assert "var(--ink)" in drawings
        assert "var(--series-0)" in drawings
        assert not re.search(r"#[0-9a-f]{6}\b", drawings)


class TestHeadline:
    def cards(self, text: str) -> str:
        return text[text.index('<dl class="cards">') : text.index("</dl>")]

    def test_is_of_each_group_and_not_of_all_together(self, text: str) -> None:
        cards = self.cards(text)
        assert re.findall(r"<dt>(.*?)</dt>", cards) == [
            "AUROC, source=north", "AUROC, source=south",
        ]  # fmt: skip
        pooled = re.findall(r"ROC curve: AUROC (0\.\d{3})", text)
        assert pooled
        assert pooled[0] not in cards
        assert "ROC curve of all groups together." in text

    def test_is_of_all_images_where_no_group_was_asked_for(self, tmp_path: Path) -> None:
        out = tmp_path / "report.html"
        run("evaluate", scores(tmp_path), "--report", out, "--replicates", 10)
        text = out.read_text(encoding="utf-8")
        assert "<dt>AUROC</dt>" in self.cards(text)
        assert "all groups together" not in text

    def test_of_many_groups_has_the_lowest_and_the_highest(self) -> None:
        table = frame(*two_normals(100, 100, shift=1.0, seed=3))
        table["ward"] = np.arange(200) % 10
        measured = evaluate(table, ["ward"], Method(replicates=5))
        areas = [row.auroc.value for row in measured[1:] if row.auroc]
        shown = [row.auroc.value for row in headline(measured) if row.auroc]
        assert shown == [min(areas), max(areas)]

    def test_group_that_is_too_few_is_told(self, tmp_path: Path) -> None:
        out = tmp_path / "report.html"
        source = np.where(np.arange(100) % 20 == 0, "few", "many")
        file = scores(tmp_path, source=source)
        run("evaluate", file, "--by", "source", "--report", out, "--replicates", 10)
        assert "source=few: too few, 2 with and 3 without pneumonia" in out.read_text("utf-8")


def test_axes_of_the_groups_do_not_touch() -> None:
    table = frame(*two_normals(40, 60, shift=1.2, seed=2))
    with styled():
        figure = strata_figure(evaluate(table, ["source"], Method(replicates=5)))
        figure.draw_without_rendering()
    left, right = figure.axes
    last, first = left.get_xticklabels()[-1], right.get_xticklabels()[0]
    assert (last.get_text(), first.get_text()) == ("1.0", "0.0")
    assert first.get_window_extent().x0 - last.get_window_extent().x1 > 5  # pixels


def test_page_fits_a_phone_and_what_is_wider_scrolls(text: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto((tmp_path / "report.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        wide = page.evaluate(
            "[...document.querySelectorAll('table, .wide svg')]"
            ".filter(e => e.getBoundingClientRect().width > 390).map(e => e.closest('.scroll'))"
            ".map(box => [box.scrollWidth > box.clientWidth, getComputedStyle(box).overflowX])"
        )
    assert len(wide) >= 3
    assert all(box == [True, "auto"] for box in wide)


class TestWeightedPage:
    def test_says_which_weights_how_much_they_leave_and_what_is_within(
        self, tmp_path: Path
    ) -> None:
        out = tmp_path / "report.html"
        weights = np.where(np.arange(100) < 50, 3.0, 1.0)
        result = run(
            "evaluate", scores(tmp_path, w=weights.astype(str)), "--weights", "w",
            "--within", "source", "--report", out, "--replicates", 20,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        text = out.read_text(encoding="utf-8")
        page = check_self_contained(text)
        assert "weighted by w, as good as 80.0 equal images" in text  # 200 ** 2 / 500
        assert {"effective", "80.0", "AUROC within source"} <= set(page.cells)
        table = pd.read_parquet(tmp_path / "scores.parquet")
        area = roc_auc_score(table["label"], table["probability"], sample_weight=weights)
        assert f"ROC curve: AUROC {area:.3f}" in " ".join(page.descriptions)

    def test_is_silent_without_them(self, text: str) -> None:
        assert "effective" not in text
        assert "AUROC within" not in text


class TestEvaluateCommand:
    def test_one_class_still_makes_a_page(self, tmp_path: Path) -> None:
        out = tmp_path / "report.html"
        result = run("evaluate", scores(tmp_path, label=1), "--report", out, "--replicates", 10)
        assert result.exit_code == 0, result.output
        page = check_self_contained(out.read_text(encoding="utf-8"))
        assert "Calibration" in page.headings

    def test_every_image_refused_still_makes_a_page(self, tmp_path: Path) -> None:
        out = tmp_path / "report.html"
        file = scores(tmp_path, error="corrupt_image", probability=np.nan)
        result = run("evaluate", file, "--report", out, "--replicates", 10)
        assert result.exit_code == 0, result.output
        check_self_contained(out.read_text(encoding="utf-8"))

    def test_prevalence_outside_zero_and_one_is_wrong_usage(self, tmp_path: Path) -> None:
        assert run("evaluate", scores(tmp_path), "--prevalence", 0).exit_code == 2

    def test_model_that_did_not_give_the_scores_is_refused(
        self, tmp_path: Path, tiny_model: Path
    ) -> None:
        result = run("evaluate", scores(tmp_path), "--model", tiny_model)
        assert result.exit_code == 1
        assert "not the model that gave the scores" in result.stderr

    def test_missing_extra_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("clients.reports.report", "clients.reports.figures"):
            monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        out = tmp_path / "report.html"
        result = run("evaluate", scores(tmp_path), "--report", out, "--replicates", 10)
        assert result.exit_code == 1
        assert "matplotlib is not installed; install nanocxr with its extra" in result.stderr
        assert not out.exists()

    def test_file_that_is_no_parquet_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "scores.parquet").write_text("path,label\n")
        result = run("evaluate", tmp_path / "scores.parquet")
        assert result.exit_code == 1
        assert "not a Parquet file" in result.stderr

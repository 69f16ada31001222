"""Weighted comparisons: against repeated films, and what is refused or left out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clients.comparison.compare import Group
from clients.metrics.evaluate import Method
from clients.metrics.intervals import (
    IntArray,
    Resampling,
    bootstrap,
    delong_difference,
)
from clients.metrics.weighting import WeightError
from tests.clients.comparison.test_compare import METHOD, compared, model, run, table
from tests.clients.samples import two_normals


def uneven() -> IntArray:
    return np.random.default_rng(4).integers(1, 6, size=100)


def rows(*, repeated: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two models on the same images; the weights of the first, as text."""
    both = table().assign(w=uneven().astype(str)), table(seed=3, shift=0.8)
    if not repeated:
        return both
    first, second = (each.loc[each.index.repeat(uneven())].reset_index(drop=True) for each in both)
    name = [f"{number:04d}" for number in range(len(first))]
    return first.assign(path=name, sha256=name, w="1"), second.assign(path=name, sha256=name)


def group(first: pd.DataFrame, second: pd.DataFrame, method: Method) -> Group:
    return compared(model("a", first), model("b", second), method=method)


@pytest.mark.parametrize("patient", [None, "patient"])
def test_weights_of_one_change_nothing(patient: str | None) -> None:
    first, second = rows(repeated=False)
    first = first.assign(w="1", patient=np.arange(100) // 2)
    method = replace(METHOD, patient=patient)
    weighted = group(first, second, replace(method, weights="w"))
    plain = group(first, second, method)
    assert weighted.pairs == plain.pairs
    for found, expected in zip(weighted.entries, plain.entries, strict=True):
        assert replace(found.measures, effective=None) == expected.measures


def test_whole_weights_give_the_differences_of_repeated_films() -> None:
    method = replace(METHOD, weights="w")
    (weighted,) = group(*rows(repeated=False), method).pairs
    (expected,) = group(*rows(repeated=True), method).pairs
    (plain,) = group(*rows(repeated=False), METHOD).pairs
    for name in ("auroc", "aupr"):
        value = getattr(weighted, name).value
        assert value == pytest.approx(getattr(expected, name).value)
        assert value != pytest.approx(getattr(plain, name).value, abs=1e-3)
        assert getattr(weighted, name).low < value < getattr(weighted, name).high


def test_variance_of_a_weighted_difference_is_that_of_the_bootstrap() -> None:
    labels, first = two_normals(150, 150, shift=1.0, seed=7)
    second = first + np.random.default_rng(1).normal(size=300)
    weights = np.exp(np.random.default_rng(8).normal(size=300))
    difference, variance = delong_difference(labels, first, second, weights=weights)
    resampling = Resampling(weights=weights, replicates=4000, seed=1)
    drawn = [bootstrap(labels, scores, resampling).auroc for scores in (first, second)]
    assert variance**0.5 == pytest.approx((drawn[0] - drawn[1]).std(), rel=0.08)
    assert difference == pytest.approx((drawn[0] - drawn[1]).mean(), abs=0.01)
    assert variance > 1.3 * delong_difference(labels, first, second)[1]


def test_clusters_which_count_images_alike_are_left_out() -> None:
    first, second = rows(repeated=False)
    points = np.random.default_rng(5).normal(size=(100, 8)).astype(np.float32)
    both = model("a", first, points), model("b", second, points)
    assert compared(*both).entries[0].separation is not None
    weighted = compared(*both, method=replace(METHOD, weights="w"))
    assert [entry.separation for entry in weighted.entries] == [None, None]


def test_only_images_that_are_compared_need_a_weight() -> None:
    first, second = rows(repeated=False)
    first.loc[[0, 99], "w"] = ""
    method = replace(METHOD, weights="w")
    assert group(first, second.drop(index=[0, 99]), method).measures.images == 98
    with pytest.raises(WeightError, match="for 2 of 100 images"):
        group(first, second, method)


class TestCommand:
    @pytest.fixture
    def files(self, tmp_path: Path) -> list[Path]:
        files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
        for file, each in zip(files, rows(repeated=False), strict=True):
            each.to_parquet(file)
        return files

    def test_says_what_weights_did_in_text_json_and_page(self, files: list[Path]) -> None:
        out = files[0].parent / "out"
        result = run("compare", *files, "--out", out, "--replicates", 50, "--weights", "w")
        assert result.exit_code == 0, result.output
        effective = f"{uneven().sum() ** 2 / (uneven() ** 2).sum():.1f}"
        assert f"100 images, 40 positive, {effective} effective" in result.stdout
        page = (out / "report.html").read_text()
        for text in (result.stdout, page):
            assert "weights in the column w" in text
            assert "are left out" in text
        assert f"as good as {effective} equal images" in page
        assert json.loads((out / "compare.json").read_text())["weights"] == "w"

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--weights", "v"), "no column v"),
            (("--weights", "w", "--boxes", "a.parquet"), "without --weights"),
        ],
    )
    def test_what_cannot_be_weighted_is_wrong_usage_and_nothing_is_written(
        self,
        files: list[Path],
        monkeypatch: pytest.MonkeyPatch,
        options: tuple[str, ...],
        words: str,
    ) -> None:
        monkeypatch.chdir(files[0].parent)
        result = run("compare", *files, "--out", "out", *options)
        assert result.exit_code == 2
        assert words in " ".join(result.stderr.split())
        assert not Path("out").exists()

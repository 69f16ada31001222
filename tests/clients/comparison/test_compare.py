"""Models on the same images: matching, paired differences, and what the command writes."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from clients.cli.main import cli
from clients.comparison.compare import Comparison, Group, compare
from clients.comparison.models import ComparedModel, match, open_models
from clients.comparison.table import comparison_text
from clients.datasets.open import open_dataset
from clients.metrics.evaluate import Method
from clients.scoring.scored import EvaluationError
from service.model.reader import Reader
from service.model.shipped import default_model
from service.settings import Settings
from tests.clients.reports.test_report import check_self_contained
from tests.clients.samples import frame, two_normals
from tests.factories import chest, png_bytes
from tests.tiny_model import write_model

METHOD = Method(replicates=300)
IMAGES = 24


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def table(seed: int = 2, shift: float = 1.2) -> pd.DataFrame:
    """40 positives and 60 negatives; the same images whatever the seed."""
    rows = frame(*two_normals(40, 60, shift=shift, seed=seed))
    rows["path"] = [f"{number}.png" for number in range(100)]
    rows["sha256"] = [f"{number:064x}" for number in range(100)]
    return rows


def model(
    label: str, rows: pd.DataFrame, embeddings: NDArray[np.float32] | None = None
) -> ComparedModel:
    return ComparedModel(
        label=label, source=Path(label), table=rows, identity=None, embeddings=embeddings
    )


def compared(*models: ComparedModel, by: tuple[str, ...] = (), method: Method = METHOD) -> Group:
    columns = list(by) + ([method.patient] if method.patient else [])
    found: Comparison = compare(match(models, columns), by, method, {})
    return found.groups[0]


class TestMatch:
    def test_images_come_in_one_order_whatever_their_order_in_the_files(self) -> None:
        embeddings = np.arange(200, dtype=np.float32).reshape(100, 2)
        order = np.random.default_rng(1).permutation(100)
        shuffled = model("b", table().iloc[order], embeddings[order])
        matched = match([model("a", table(), embeddings), shuffled], [])
        assert matched.key == "sha256"
        for found in matched.models:
            by_path = table()["path"].argsort(kind="stable")
            assert found.table["path"].tolist() == table()["path"].iloc[by_path].tolist()
            np.testing.assert_array_equal(found.embeddings, embeddings[by_path])

    def test_files_are_recognised_by_content_when_they_lie_elsewhere(self) -> None:
        moved = table().assign(path=[f"elsewhere/{number}" for number in range(100)])
        assert len(match([model("a", table()), model("b", moved)], []).table) == 100

    def test_path_counts_where_an_image_is_there_twice(self) -> None:
        twice = table().assign(sha256="0" * 64)
        matched = match([model("a", table()), model("b", twice)], [])
        assert (matched.key, len(matched.table)) == ("path", 100)

    def test_images_that_one_lacks_or_refused_are_left_out_and_counted(self) -> None:
        fewer = table().drop(index=[0, 1, 2])
        fewer.loc[50, ["probability", "call", "error"]] = [np.nan, None, "corrupt_image"]
        unlabelled = table().astype({"label": "Int64"})
        unlabelled.loc[99, "label"] = pd.NA
        matched = match([model("a", unlabelled), model("b", fewer)], [])
        assert len(matched.table) == 95
        assert [(d.refused, d.not_in_all) for d in matched.dropped] == [(0, 4), (1, 1)]

    def test_labels_that_differ_are_refused(self) -> None:
        other = table()
        other.loc[[0, 99], "label"] = [0, 1]
        with pytest.raises(EvaluationError, match="2 images have another label in b than in a"):
            match([model("a", table()), model("b", other)], [])

    def test_nothing_in_common_is_refused(self) -> None:
        other = table().assign(sha256=[f"{number:064x}" for number in range(100, 200)])
        with pytest.raises(EvaluationError, match="no image has a reading by all"):
            match([model("a", table()), model("b", other)], [])


class TestPairs:
    def test_identical_scores_differ_by_nothing(self) -> None:
        (pair,) = compared(model("a", table()), model("b", table())).pairs
        assert (pair.auroc.value, pair.auroc.low, pair.auroc.high) == (0, 0, 0)
        assert (pair.aupr.value, pair.aupr.low, pair.aupr.high) == (0, 0, 0)
        assert (pair.auroc_p_bootstrap, pair.auroc_p_delong, pair.aupr_p_bootstrap) == (1, 1, 1)

    def test_differences_are_scikit_learns_and_a_plain_one_is_seen(self) -> None:
        good, bad = table(shift=2.0), table(seed=3, shift=0.2)
        (pair,) = compared(model("a", good), model("b", bad)).pairs
        labels = good["label"]
        for measured, measure in (
            (pair.auroc, roc_auc_score),
            (pair.aupr, average_precision_score),
        ):
            expected = measure(labels, good["probability"]) - measure(labels, bad["probability"])
            assert measured.value == pytest.approx(expected)
            assert 0 < measured.low < measured.value < measured.high
        assert pair.auroc_p_delong is not None
        assert pair.auroc_p_delong < 0.01
        assert pair.auroc_p_bootstrap < 0.01
        assert pair.aupr_p_bootstrap < 0.01

    def test_order_turns_the_sign_and_keeps_the_p_values(self) -> None:
        a, b = model("a", table(shift=1.5)), model("b", table(seed=3, shift=1.0))
        (forth,), (back,) = compared(a, b).pairs, compared(b, a).pairs
        assert forth.auroc.value == pytest.approx(-back.auroc.value)
        assert forth.auroc_p_delong == pytest.approx(back.auroc_p_delong)
        assert forth.auroc_p_bootstrap == back.auroc_p_bootstrap

    def test_pairing_narrows_the_interval_of_scores_that_agree(self) -> None:
        noise = np.random.default_rng(0).normal(scale=0.02, size=100)
        close = table().assign(probability=(table()["probability"] + noise).clip(0, 1))
        group = compared(model("a", table()), model("b", close))
        alone = group.measures.auroc
        (pair,) = group.pairs
        assert alone is not None
        assert pair.auroc.high - pair.auroc.low < 0.5 * (alone.high - alone.low)

    def test_every_pair_is_compared_once(self) -> None:
        group = compared(*(model(name, table(seed=n)) for n, name in enumerate("abc")))
        assert [(p.first, p.second) for p in group.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]

    def test_patients_and_strata_of_the_first_count_for_all(self) -> None:
        known = table().assign(patient=[f"P{number // 4}" for number in range(100)])
        other = table(seed=3).drop(columns="source")
        method = Method(replicates=100, patient="patient")
        group = compared(model("a", known), model("b", other), by=("source",), method=method)
        assert [entry.measures.patients for entry in group.entries] == [25, 25]

    def test_one_class_has_no_pairs(self) -> None:
        rows = table().assign(label=1)
        assert compared(model("a", rows), model("b", rows)).pairs == ()

    def test_a_difference_over_four_films_is_not_certain(self) -> None:
        few = table().iloc[38:42]
        other = few.assign(probability=1 - few["probability"])
        found = compare(match([model("a", few), model("b", other)], []), (), METHOD, {})
        assert found.groups[0].pairs == ()
        (told,) = re.findall("Warning: .*", comparison_text(found))
        assert told.startswith("Warning: all: too few, 2 with and 2 without pneumonia")
        assert told.endswith("and differences are not tested")


class TestSeparation:
    def embeddings(self, distance: float) -> NDArray[np.float32]:
        rng = np.random.default_rng(5)
        points = rng.normal(size=(100, 8)).astype(np.float32)
        points[:40, 0] += distance  # the positives of table()
        return points

    def test_far_classes_are_found_and_mixed_ones_are_not(self) -> None:
        group = compared(
            model("far", table(), self.embeddings(20.0)),
            model("mixed", table(), self.embeddings(0.0)),
            model("none", table()),
        )
        far, mixed, none = (entry.separation for entry in group.entries)
        assert far is not None
        assert mixed is not None
        assert (far.accuracy, far.adjusted_rand, far.images) == (1.0, 1.0, 100)
        assert 0.5 <= mixed.accuracy < 0.7
        assert abs(mixed.adjusted_rand) < 0.2
        assert none is None

    def test_nine_images_are_too_few(self) -> None:
        rows = table().iloc[36:45]
        few = model("few", rows.reset_index(drop=True), self.embeddings(20.0)[36:45])
        assert compared(few, model("b", table())).entries[0].separation is None


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled dataset of simulated films, every other one with a bright patch and its box."""
    folder = tmp_path_factory.mktemp("films")
    rows, boxes = [], []
    for number in range(IMAGES):
        pixels = chest(128, 120, bits=8, seed=number)
        if number % 2:
            pixels[60:90, 20:50] = 200
            boxes.append(f"{number:02d}.png,20,60,30,30")
        (folder / f"{number:02d}.png").write_bytes(png_bytes(pixels))
        rows.append(f"{number:02d}.png,{number % 2},{'north' if number < 12 else 'south'}")
    (folder / "labels.csv").write_text("path,label,site\n" + "\n".join(rows) + "\n")
    (folder / "boxes.csv").write_text("path,x,y,width,height\n" + "\n".join(boxes) + "\n")
    return folder


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "other" / "1"
    write_model(folder, seed=1)
    return folder


@pytest.fixture(scope="module")
def scored(films: Path, tiny_model: Path) -> Path:
    """Scores of the tiny model with embeddings, as ``cxr score`` writes them."""
    out = films / "tiny.parquet"
    result = run("score", films / "labels.csv", "--out", out, "--model", tiny_model)
    assert result.exit_code == 0, result.output
    reader = Reader.open(tiny_model)
    rows = pq.read_table(out)
    vectors = [
        reader.read((films / name).read_bytes()).embedding for name in rows["path"].to_pylist()
    ]
    column = pa.array(vectors, type=pa.list_(pa.float32(), len(vectors[0])))
    if "embedding" not in rows.column_names:
        pq.write_table(rows.append_column("embedding", column), out)
    return out


@pytest.fixture(scope="module")
def comparison(films: Path, scored: Path, tiny_model: Path, other_model: Path) -> Path:
    """Everything ``cxr compare`` can write: a score file with its model, and a model alone."""
    out = films / "comparison"
    result = run(
        "compare", f"trained={scored}", tiny_model, other_model, "--out", out,
        "--data", films / "labels.csv", "--samples", films / "labels.csv",
        "--boxes", films / "boxes.csv", "--by", "site", "--examples", 2, "--replicates", 50,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "trained - other 1" in result.stdout
    return out


class TestCommand:
    def test_writes_every_figure(self, comparison: Path) -> None:
        drawn = {"bars", "features", "localisation"}
        expected = {f"{name}.{suffix}" for name in drawn for suffix in ("png", "svg")}
        expected |= {"gradcam.png", "samples.png", "compare.json", "report.html"}
        assert {file.name for file in comparison.iterdir()} == expected
        for file in comparison.glob("*.png"):
            with Image.open(file) as image:
                assert np.asarray(image.convert("L")).std() > 5, file.name

    def test_page_is_self_contained(self, comparison: Path) -> None:
        text = (comparison / "report.html").read_text(encoding="utf-8")
        page = check_self_contained(text)
        assert text.count("differences are not tested") == 2  # six films of a class at each site
        assert len(page.descriptions) == 5
        assert {"Samples", "Discrimination", "Features", "Heatmaps", "Method"} <= set(page.headings)

    def test_model_lends_its_heatmaps_to_its_score_file(
        self, comparison: Path, tiny_model: Path, other_model: Path
    ) -> None:
        found = json.loads((comparison / "compare.json").read_text())
        assert found["matched_by"] == "sha256"
        assert (found["run"]["by"], found["run"]["replicates"]) == (["site"], 50)
        groups = found["groups"]
        assert [group["entries"][0]["measures"]["images"] for group in groups] == [24, 12, 12]
        assert [entry["label"] for entry in groups[0]["entries"]] == ["trained", "other 1"]
        assert all(e["separation"] for group in groups for e in group["entries"])
        digests = [Reader.open(model).model.sha256 for model in (tiny_model, other_model)]
        for group in groups:
            assert [e["measures"]["model_sha256"] for e in group["entries"]] == digests
        for localisation in found["localisation"].values():
            assert localisation["pointing"]["images"] == localisation["heat"]["images"] == 12
            assert 0 <= localisation["heat"]["share"]["value"] <= 1

    def test_reading_now_gives_what_scoring_gave(
        self, films: Path, scored: Path, tiny_model: Path
    ) -> None:
        dataset = open_dataset(films / "labels.csv")
        other = films / "copy.parquet"
        pq.write_table(pq.read_table(scored).replace_schema_metadata(None), other)
        opened = open_models([str(tiny_model), str(other)], dataset, settings())
        now, then = match(opened, ()).models
        pd.testing.assert_series_equal(now.table["probability"], then.table["probability"])
        assert now.embeddings is not None
        assert then.embeddings is not None
        np.testing.assert_allclose(now.embeddings, then.embeddings)

    def test_score_files_alone_give_numbers_and_bars(self, tmp_path: Path) -> None:
        files = []
        for number in (2, 3):
            files.append(tmp_path / f"{number}.parquet")
            table(seed=number).to_parquet(files[-1])
        out = tmp_path / "out"
        result = run("compare", *files, "--out", out, "--replicates", 50)
        assert result.exit_code == 0, result.output
        written = {"bars.png", "bars.svg", "compare.json", "report.html"}
        assert {file.name for file in out.iterdir()} == written


def settings() -> Settings:
    return Settings.from_env({})


class TestDefaultModel:
    """A model alone is refused with the folder that it was looked for in."""

    def test_is_called_default_wherever_it_lies(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(EvaluationError, match=f"^{re.escape(str(default_model()))} has no"):
            open_models(["first=default"], None, settings())

    def test_a_folder_of_that_name_comes_first(
        self, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        shutil.copytree(tiny_model, tmp_path / "default")
        with pytest.raises(EvaluationError, match=r"^default has no"):
            open_models(["default"], None, settings())


class TestRefusals:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        table().to_parquet(tmp_path / "a.parquet")
        return tmp_path / "a.parquet"

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (lambda file, model: [file], "at least two"),
            (lambda file, model: [file, model], "--data to read"),
            (lambda file, model: [file, "nowhere.parquet"], "neither a score file nor a model"),
            (lambda file, model: [f"x={file}", f"x={file}"], "2 of them are called"),
            (lambda file, model: [file, file, "--by", "ward"], "LABEL=PATH"),
            (lambda file, model: [f"x={file}", file, "--by", "ward"], "no column ward"),
        ],
    )
    def test_is_one_line_and_nothing_is_written(
        self,
        file: Path,
        tiny_model: Path,
        arguments: Callable[[Path, Path], list[object]],
        words: str,
    ) -> None:
        out = file.parent / "out"
        result = run("compare", *arguments(file, tiny_model), "--out", out)
        assert result.exit_code == 1
        assert words in result.stderr
        assert not out.exists()

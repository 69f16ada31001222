from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from clients.cli.main import cli
from clients.datasets.open import Dataset, open_dataset
from clients.metrics.baselines import FEATURES, compare, measure_features
from clients.metrics.evaluate import Method
from clients.scoring.scored import EvaluationError
from tests.factories import chest, png_bytes


def film(*, opaque: bool, seed: int) -> bytes:
    """A film with one lung whitened, or without."""
    pixels = chest(128, 128, seed=seed).astype(np.float64)
    if opaque:
        pixels[30:90, 20:50] = np.percentile(pixels, 90)
    return png_bytes(pixels.astype(np.uint8))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    for number in range(20):
        content = film(opaque=number % 2 == 1, seed=number)
        (tmp_path / f"{number}.png").write_bytes(content)
    lines = [f"{number}.png,{number % 2},{'a' if number < 10 else 'b'}" for number in range(20)]
    (tmp_path / "labels.csv").write_text("path,label,source\n" + "\n".join(lines) + "\n")
    return open_dataset(tmp_path / "labels.csv")


def scores(dataset: Dataset) -> pd.DataFrame:
    unknowing = {"probability": 0.5, "call": "pneumonia", "error": None}
    rows = [
        {"path": item.name, "label": item.label, **unknowing, **item.strata}
        for item in dataset.items
    ]
    return pd.DataFrame(rows)


def test_whitened_lung_is_brighter_and_smoother() -> None:
    clear, opaque = (measure_features(film(opaque=o, seed=3)) for o in (False, True))
    assert opaque["brightness"] > clear["brightness"]
    assert opaque["smoothness"] > clear["smoothness"]


@pytest.mark.parametrize("ill", [(200, 260), (260, 200)])
def test_aspect_that_tells_the_classes_apart_is_seen_whatever_its_sign(
    tmp_path: Path, ill: tuple[int, int]
) -> None:
    lines = ["path,label"]
    for number in range(24):
        side = ill if number % 2 else (230, 230 + number)
        (tmp_path / f"{number}.png").write_bytes(png_bytes(chest(*side)))
        lines.append(f"{number}.png,{number % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    films = open_dataset(tmp_path / "labels.csv")
    aspect = compare(scores(films), films)[-1]
    assert (aspect.feature, aspect.auroc.value) == ("aspect", 1)
    assert aspect.lead is not None
    assert aspect.lead.high < 0


def test_films_of_one_shape_tell_nothing_by_it(dataset: Dataset) -> None:
    shape = compare(scores(dataset), dataset)[-1].auroc
    assert (shape.low, shape.value, shape.high) == (0.5, 0.5, 0.5)


def test_model_that_knows_nothing_trails_a_feature_that_knows(dataset: Dataset) -> None:
    lines = compare(scores(dataset), dataset)
    assert [line.feature for line in lines] == ["brightness", "smoothness", "aspect"]
    assert lines[0].auroc.low > 0.5
    assert lines[0].lead is not None
    assert lines[0].lead.value == lines[0].ahead
    assert lines[0].lead.high < 0


def test_score_that_equals_the_feature_has_no_lead_at_all(dataset: Dataset) -> None:
    table = scores(dataset)
    files = {item.name: item.file for item in dataset.items}
    table["probability"] = [
        measure_features(files[name].read_bytes())["brightness"] for name in table["path"]
    ]
    lead = compare(table, dataset)[0].lead
    assert lead is not None
    assert (lead.low, lead.value, lead.high) == (0, 0, 0)


def test_each_stratum_has_its_own_lines(dataset: Dataset, tmp_path: Path) -> None:
    scores(dataset).to_parquet(tmp_path / "scores.parquet")
    arguments = ["baselines", str(tmp_path / "scores.parquet"), str(tmp_path / "labels.csv")]
    result = CliRunner().invoke(cli, [*arguments, "--by", "source"])
    assert result.exit_code == 0, result.output
    assert [line.split(",")[0] for line in result.stdout.splitlines()] == [
        "source=a", "source=a", "source=a", "source=b", "source=b", "source=b",
    ]  # fmt: skip
    assert [line.split(":")[:2] for line in result.stderr.splitlines()] == [
        ["Warning", " source=a"], ["Warning", " source=b"],
    ]  # fmt: skip


def test_order_of_the_rows_changes_nothing(dataset: Dataset) -> None:
    table = scores(dataset)
    table["probability"] = np.random.default_rng(0).uniform(size=len(table))
    method = Method(replicates=50)
    shuffled = table.sample(frac=1, random_state=1)
    expected = compare(table, dataset, method=method)
    assert compare(shuffled, dataset, method=method) == expected


def test_few_films_make_no_certainty(dataset: Dataset) -> None:
    for line in compare(scores(dataset).iloc[:3], dataset):
        assert (line.images, line.positives, line.too_few, line.lead) == (3, 1, True, None)
        assert line.auroc.high - line.auroc.low > 0.5
        assert str(line).endswith(f"model leads by {line.ahead:+.3f} [too few]")


def test_patients_and_weights_count(dataset: Dataset) -> None:
    number = np.arange(20)
    table = scores(dataset).assign(
        probability=np.random.default_rng(0).uniform(size=20),
        patient=number // 4 * 2 + number % 2,  # ten, of two films each
        weight=number + 1.0,
    )
    plain, clustered, weighted = (
        compare(table, dataset, method=method)[0]
        for method in (
            Method(replicates=50),
            Method(replicates=50, patient="patient"),
            Method(replicates=50, weights="weight"),
        )
    )
    assert (plain.too_few, clustered.too_few) == (False, True)
    assert clustered.ahead == plain.ahead != weighted.ahead


def test_combinations_of_columns_are_groups_of_their_own(dataset: Dataset) -> None:
    table = scores(dataset).assign(view="PA")
    table.loc[table["source"] == "a", "view"] = "AP"
    lines = compare(table, dataset, by=["source,view", "view"])
    assert [line.stratum for line in lines[:: len(FEATURES)]] == [
        "source=a, view=AP", "source=b, view=PA", "view=AP", "view=PA"
    ]  # fmt: skip


def test_images_without_a_value_are_a_stratum(dataset: Dataset) -> None:
    table = scores(dataset)
    table["view"] = table["source"].replace("a", None)
    lines = compare(table, dataset, by=["view"])
    assert [(line.stratum, line.images) for line in lines[:: len(FEATURES)]] == [
        ("view=b", 10),
        ("view=(none)", 10),
    ]


def test_groups_of_one_class_are_refused(dataset: Dataset) -> None:
    with pytest.raises(EvaluationError, match="with and without pneumonia"):
        compare(scores(dataset).assign(site=lambda t: t["label"]), dataset, by=["site"])


def test_scores_of_another_dataset_are_refused(dataset: Dataset) -> None:
    with pytest.raises(EvaluationError, match="not of this dataset"):
        compare(scores(dataset).assign(path="elsewhere.png"), dataset)

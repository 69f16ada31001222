"""Measures against scikit-learn and by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.metrics import (
    average_precision_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from clients import api
from clients.cli.main import cli
from clients.metrics.evaluate import Measures, Method, evaluate
from clients.metrics.operating import values_at
from clients.metrics.proportions import proportion_interval, wilson_interval
from clients.metrics.reliability import reliability
from clients.reports.tables import to_table
from clients.scoring.scored import EvaluationError
from service.findings.calibration import OperatingPoint, expected_calibration_error
from tests.clients.samples import frame, two_normals


class TestReliability:
    def test_bins_hold_all_images_and_their_own_frequency(self) -> None:
        labels = np.array([0, 1, 1, 0, 1])
        bins = reliability(labels, np.array([0.01, 0.05, 0.5, 0.52, 1.0]))
        assert [found.images for found in bins] == [2, 2, 1]
        assert [found.confidence for found in bins] == pytest.approx([0.03, 0.51, 1.0])
        assert [found.frequency for found in bins] == [
            proportion_interval(1, 2),
            proportion_interval(1, 2),
            proportion_interval(1, 1),
        ]

    def test_bins_explain_the_calibration_error(self) -> None:
        labels, scores = two_normals(60, 60, shift=1.0, seed=1)
        probabilities = 1 / (1 + np.exp(-2 * scores))
        bins = reliability(labels, probabilities)
        gaps = [b.images * abs(b.confidence - b.frequency.value) for b in bins]
        error = expected_calibration_error(labels, probabilities)
        assert error == pytest.approx(sum(gaps) / 120)


class TestEvaluate:
    def test_values_equal_scikit_learn_and_strata_add_up(self) -> None:
        labels, scores = two_normals(50, 70, shift=1.2, seed=2)
        table = frame(labels, scores)
        total, north, south = evaluate(table, ["source"], Method(replicates=200))
        assert total.auroc is not None
        assert total.aupr is not None
        assert total.auroc.value == roc_auc_score(labels, scores)
        assert total.aupr.value == average_precision_score(labels, scores)
        assert total.auroc.low < total.auroc.value < total.auroc.high
        assert total.prevalence == 50 / 120
        assert (north.stratum, south.stratum) == ({"source": "north"}, {"source": "south"})
        assert north.images + south.images == total.images == 120

    def test_joined_columns_give_their_combinations(self) -> None:
        table = frame(*two_normals(40, 40, shift=1.0, seed=3))
        table["view"] = np.where(np.arange(80) % 4 < 2, "PA", "AP")
        found = evaluate(table, ["source,view"], method=Method(replicates=50))[1:]
        assert [row.stratum for row in found] == [
            {"source": source, "view": view}
            for source in ("north", "south")
            for view in ("AP", "PA")
        ]
        assert [row.images for row in found] == [20] * 4

    def test_same_seed_same_intervals(self) -> None:
        table = frame(*two_normals(20, 20, shift=1.0, seed=2))
        assert evaluate(table, method=Method(replicates=100)) == evaluate(
            table, method=Method(replicates=100)
        )

    def test_order_of_the_rows_does_not_matter(self) -> None:
        table = frame(*two_normals(20, 30, shift=1.0, seed=3))
        table["path"] = [f"{number:03d}.png" for number in range(len(table))]
        shuffled = table.sample(frac=1, random_state=1)
        method = Method(replicates=100)
        assert evaluate(shuffled, method=method) == evaluate(table, method=method)

    def test_sensitivity_and_specificity_follow_the_call_not_a_threshold_of_a_half(self) -> None:
        labels, scores = two_normals(30, 30, shift=1.0, seed=4)
        strict = evaluate(frame(labels, scores, threshold=0.9), method=Method(replicates=10))[0]
        hits = int((1 / (1 + np.exp(-scores[labels == 1])) >= 0.9).sum())
        assert strict.sensitivity == proportion_interval(hits, 30)

    def test_refused_images_are_counted_and_not_measured(self) -> None:
        table = frame(*two_normals(20, 20, shift=1.0, seed=2))
        table.loc[0, ["probability", "call", "error"]] = [np.nan, None, "corrupt_image"]
        measures = evaluate(table, method=Method(replicates=10))[0]
        assert (measures.images, measures.refused, measures.positives) == (39, 1, 19)

    def test_one_class_leaves_areas_undefined_and_keeps_the_rest(self) -> None:
        measures = evaluate(
            frame(*two_normals(5, 0, shift=1.0, seed=2)), method=Method(replicates=10)
        )[0]
        assert measures.auroc is None
        assert measures.specificity is None
        assert measures.sensitivity is not None
        assert measures.brier is not None

    def test_stratum_where_every_image_was_refused_is_still_a_row(self) -> None:
        table = frame(*two_normals(2, 2, shift=1.0, seed=2))
        table["error"] = "corrupt_image"
        measures = evaluate(table, method=Method(replicates=10))[0]
        assert (measures.images, measures.refused, measures.prevalence) == (0, 4, None)

    def test_missing_column_is_named(self) -> None:
        with pytest.raises(EvaluationError, match="no column hospital"):
            evaluate(frame(*two_normals(2, 2, shift=1.0, seed=2)), ["hospital"])

    def test_labels_other_than_zero_and_one_are_refused(self) -> None:
        table = frame(*two_normals(2, 2, shift=1.0, seed=2))
        table["label"] = [0, 1, 2, 1]
        with pytest.raises(EvaluationError, match="neither 0 nor 1"):
            evaluate(table)

    def test_scores_without_labels_are_refused(self) -> None:
        table = frame(*two_normals(2, 2, shift=1.0, seed=2))
        table["label"] = pd.Series([pd.NA] * 4, dtype="Int64")
        with pytest.raises(EvaluationError, match="no row has a label"):
            evaluate(table)


class TestRepeatedFilms:
    def table(self) -> pd.DataFrame:
        """Twenty films, the first two listed twice, and two that were not read and are alike."""
        once = frame(*two_normals(10, 10, shift=1.0, seed=2))
        once["sha256"] = [f"{number:064x}" for number in range(20)]
        unread = once.head(2).assign(error="empty_file", sha256="f" * 64, label=[0, 1])
        return pd.concat([once, once.head(2), unread], ignore_index=True)

    def test_are_counted_where_they_were_read(self) -> None:
        found = evaluate(self.table(), method=Method(replicates=10))[0]
        assert (found.images, found.refused, found.repeated) == (22, 2, 2)
        unnamed = evaluate(self.table().drop(columns="sha256"), method=Method(replicates=10))[0]
        assert unnamed.repeated == 0

    def test_both_labels_are_refused(self) -> None:
        table = self.table()
        table.loc[20, "label"] = 0
        with pytest.raises(EvaluationError, match="1 films come with both labels"):
            evaluate(table, method=Method(replicates=10))

    def test_python_and_command_warn(self, tmp_path: Path) -> None:
        said = "2 of 22 images repeat the film of another row"
        with pytest.warns(UserWarning, match=said):
            api.evaluate(self.table(), replicates=10)
        self.table().to_parquet(tmp_path / "scores.parquet")
        command = ["evaluate", str(tmp_path / "scores.parquet"), "--replicates", "10"]
        result = CliRunner().invoke(cli, command)
        assert f"Warning: {said}" in result.stderr


class TestPatients:
    def table(self) -> pd.DataFrame:
        """Sixty patients with three images each that score almost alike."""
        once = frame(*two_normals(30, 30, shift=1.0, seed=2))
        once["patient"] = [f"P{number}" for number in range(60)]
        return pd.concat([once] * 3, ignore_index=True)

    def test_every_interval_is_wider_than_without_them_and_no_value_changes(self) -> None:
        method = Method(replicates=500, patient="patient", prevalence=0.1)
        known = evaluate(self.table(), method=method)[0]
        ignored = evaluate(self.table(), method=Method(replicates=500, prevalence=0.1))[0]
        assert (known.images, known.patients, ignored.patients) == (180, 60, None)
        for name in ("auroc", "auroc_delong", "aupr", "sensitivity", "specificity"):
            wide, narrow = getattr(known, name), getattr(ignored, name)
            assert wide.value == pytest.approx(narrow.value)
            assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low), name

    def test_images_without_a_patient_are_patients_of_their_own(self) -> None:
        table = self.table()
        table.loc[:9, "patient"] = None
        measures = evaluate(table, method=Method(replicates=10, patient="patient"))[0]
        assert measures.patients == 70

    def test_column_that_is_not_there_is_named(self) -> None:
        with pytest.raises(EvaluationError, match="no column patient"):
            evaluate(frame(*two_normals(2, 2, shift=1.0, seed=2)), method=Method(patient="patient"))


class TestOperatingPoints:
    def test_each_threshold_is_measured_against_scikit_learn(self) -> None:
        labels, scores = two_normals(50, 70, shift=1.2, seed=2)
        table = frame(labels, scores)
        points = tuple(
            OperatingPoint(name=name, threshold=threshold, sensitivity=0.9, specificity=0.8)
            for name, threshold in (("sensitive", 0.2), ("specific", 0.8))
        )
        found = evaluate(table, method=Method(replicates=10, points=points))[0].operating_points
        assert [point.name for point in found] == ["sensitive", "specific"]
        for point, given in zip(found, points, strict=True):
            called = table["probability"] >= given.threshold
            assert point.threshold == given.threshold
            assert point.called == called.sum()
            expected = {
                "sensitivity": recall_score(labels, called),
                "specificity": recall_score(labels, called, pos_label=0),
                "ppv": precision_score(labels, called),
                "npv": precision_score(labels, called, pos_label=0),
            }
            assert {name: getattr(point, name).value for name in expected} == expected

    def test_without_a_model_the_calls_are_the_only_point(self) -> None:
        measures = evaluate(
            frame(*two_normals(9, 9, shift=1.0, seed=2)),
            method=Method(replicates=10, call_name="balanced"),
        )[0]
        (point,) = measures.operating_points
        assert (point.name, point.threshold) == ("balanced", None)
        assert point.sensitivity == measures.sensitivity

    def test_predictive_values_at_the_samples_own_prevalence_are_the_samples(self) -> None:
        labels, scores = two_normals(50, 70, shift=1.2, seed=2)
        method = Method(replicates=200, prevalence=50 / 120)
        (point,) = evaluate(frame(labels, scores), method=method)[0].operating_points
        assert point.ppv is not None
        assert point.npv is not None
        assert point.at_prevalence is not None
        assert point.at_prevalence.ppv is not None
        assert point.at_prevalence.npv is not None
        assert point.at_prevalence.ppv.value == pytest.approx(point.ppv.value)
        assert point.at_prevalence.npv.value == pytest.approx(point.npv.value)
        assert point.at_prevalence.ppv.low < point.ppv.value < point.at_prevalence.ppv.high

    def test_bayes_by_hand(self) -> None:
        """Of 1,000 patients 20 are ill: 18 of them and 98 of the others are called."""
        rate = wilson_interval(0.9, 100)
        found = values_at(0.02, rate, rate)
        assert found.ppv is not None
        assert found.npv is not None
        assert found.ppv.value == pytest.approx(18 / (18 + 98))
        assert found.npv.value == pytest.approx(882 / (882 + 2))

    def test_nobody_called_leaves_the_predictive_value_undefined(self) -> None:
        table = frame(*two_normals(9, 9, shift=1.0, seed=2), threshold=2.0)
        (point,) = evaluate(table, method=Method(replicates=10, prevalence=0.1))[0].operating_points
        assert point.called == 0
        assert point.ppv is None
        assert point.at_prevalence is not None
        assert point.at_prevalence.ppv is None
        assert point.at_prevalence.npv is not None


class TestTable:
    def measures(self) -> list[Measures]:
        return evaluate(
            frame(*two_normals(9, 9, shift=1.0, seed=2)), ["source"], method=Method(replicates=50)
        )

    def test_columns_are_aligned(self) -> None:
        lines = to_table(self.measures(), Method()).splitlines()
        assert len({len(line) for line in lines}) == 1
        assert [line.split()[0] for line in lines[1:]] == ["all", "source=north", "source=south"]

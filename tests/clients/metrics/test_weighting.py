"""Weighted measures against scikit-learn, against repeated rows, and what is no weight."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from clients.cli.main import cli
from clients.metrics.evaluate import Measures, Method, evaluate
from clients.metrics.intervals import (
    IntArray,
    Resampling,
    bootstrap,
    delong,
    draws,
)
from clients.metrics.weighting import WeightError, sampling_weights
from tests.clients.samples import frame, two_normals

POINTS = ("auroc", "auroc_delong", "auroc_within", "aupr", "sensitivity", "specificity")
METHOD = Method(replicates=200, weights="w", within="source", prevalence=0.1)


def table(weights: object, *, decimals: int = 1) -> pd.DataFrame:
    """Ninety images, many scores tied; weights as text, as columns of a manifest are."""
    sample = frame(*two_normals(40, 50, shift=1.0, seed=3, decimals=decimals))
    return sample.assign(w=pd.Series(np.broadcast_to(np.asarray(weights), 90)).astype(str))


def uneven() -> IntArray:
    return np.random.default_rng(4).integers(1, 6, size=90)


def values(measures: Measures) -> dict[str, float]:
    (point,) = measures.operating_points
    intervals = {name: getattr(measures, name) for name in POINTS}
    intervals |= {"ppv": point.ppv, "npv": point.npv}
    assert point.at_prevalence is not None
    intervals |= {"ppv at": point.at_prevalence.ppv, "npv at": point.at_prevalence.npv}
    found = {name: value.value for name, value in intervals.items()}
    for name in ("prevalence", "brier", "ece"):
        found[name] = getattr(measures, name)
    for number, held in enumerate(measures.reliability):
        found[f"bin {number}"] = held.confidence
        found[f"frequency {number}"] = held.frequency.value
    return found


class TestWeightedMeasures:
    @pytest.mark.parametrize("weight", ["1", "0.3", "700"])
    @pytest.mark.parametrize("patient", [None, "patient"])
    def test_equal_weights_give_exactly_the_unweighted_figures(
        self, weight: str, patient: str | None
    ) -> None:
        sample = table(weight).assign(patient=np.arange(90) // 2)
        method = Method(replicates=100, within="source", patient=patient, prevalence=0.1)
        weighted = evaluate(sample, ["source"], replace(method, weights="w"))
        plain = evaluate(sample, ["source"], method)
        for found, expected in zip(weighted, plain, strict=True):
            assert found.effective == found.images
            for name in Measures.__slots__:
                if name != "effective":
                    assert getattr(found, name) == getattr(expected, name), name

    def test_whole_weights_give_the_values_of_repeated_rows(self) -> None:
        sample = table(uneven())
        repeated = sample.loc[sample.index.repeat(uneven())].assign(w="1")
        weighted, expected = (evaluate(rows, method=METHOD)[0] for rows in (sample, repeated))
        assert values(weighted) == pytest.approx(values(expected))
        assert (weighted.images, weighted.positives) == (90, 40)

    def test_values_are_those_of_scikit_learn(self) -> None:
        sample, weights = table(uneven()), uneven()
        found = values(evaluate(sample, method=METHOD)[0])
        labels, probabilities = sample["label"], sample["probability"]
        called = sample["call"] == "pneumonia"
        expected = {
            "auroc": roc_auc_score(labels, probabilities, sample_weight=weights),
            "aupr": average_precision_score(labels, probabilities, sample_weight=weights),
            "brier": brier_score_loss(labels, probabilities, sample_weight=weights),
            "sensitivity": recall_score(labels, called, sample_weight=weights),
            "specificity": recall_score(labels, called, pos_label=0, sample_weight=weights),
            "ppv": precision_score(labels, called, sample_weight=weights),
            "npv": precision_score(labels, called, pos_label=0, sample_weight=weights),
        }
        assert {name: found[name] for name in expected} == pytest.approx(expected)
        assert found["auroc_delong"] == pytest.approx(expected["auroc"])

    def test_scale_of_the_weights_is_of_no_account(self) -> None:
        small, large = (evaluate(table(uneven() * by), method=METHOD)[0] for by in (1e-9, 1e9))
        assert values(small) == pytest.approx(values(large))
        assert small.aupr is not None
        assert large.aupr is not None
        assert small.aupr.low == pytest.approx(large.aupr.low)

    def test_effective_number_is_kishs_and_of_each_group(self) -> None:
        groups = evaluate(table(uneven()), ["source"], METHOD)
        chosen = (slice(None), slice(1, None, 2), slice(0, None, 2))
        for group, part in zip(groups, chosen, strict=True):
            weights = uneven()[part]
            assert group.effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum())

    def test_shares_of_patients_are_weighted_too(self) -> None:
        sample = table(uneven()).assign(patient=np.arange(90))
        method = Method(replicates=2000, weights="w")
        clustered = evaluate(sample, method=replace(method, patient="patient"))[0].sensitivity
        alone = evaluate(sample, method=method)[0].sensitivity
        assert clustered is not None
        assert alone is not None
        assert clustered.value == alone.value
        assert clustered.low == pytest.approx(alone.low, abs=0.05)
        assert clustered.high == pytest.approx(alone.high, abs=0.05)


class TestWeightedIntervals:
    def test_replicates_equal_scikit_learn_on_the_same_draws(self) -> None:
        labels, scores = two_normals(23, 40, shift=1.0, seed=5, decimals=1)
        weights = np.random.default_rng(1).uniform(0.001, 0.9, size=63)
        resampled = bootstrap(labels, scores, Resampling(weights=weights, replicates=20, seed=9))
        (times,) = draws(labels, Resampling(replicates=20, seed=9))
        for number, drawn in enumerate(times * weights):
            assert resampled.auroc[number] == pytest.approx(
                roc_auc_score(labels, scores, sample_weight=drawn)
            )
            assert resampled.average_precision[number] == pytest.approx(
                average_precision_score(labels, scores, sample_weight=drawn)
            )

    @pytest.mark.parametrize("patients", [None, np.arange(300) // 3])
    def test_variance_by_delong_is_that_of_the_bootstrap(self, patients: IntArray | None) -> None:
        labels, scores = two_normals(150, 150, shift=1.0, seed=7)
        weights = np.exp(np.random.default_rng(8).normal(size=300))
        _, variance = delong(labels, scores, patients, weights)
        resampling = Resampling(patients=patients, weights=weights, replicates=4000, seed=1)
        drawn = bootstrap(labels, scores, resampling).auroc
        assert variance**0.5 == pytest.approx(drawn.std(), rel=0.08)
        assert variance > 1.3 * delong(labels, scores, patients)[1]

    def test_intervals_cover_the_population_that_the_sample_does_not_mirror(self) -> None:
        """Half of the sick are easy in the population, .9 in the sample; each is weighed back.

        True AUROC: the mean of Phi(2 / sqrt(2)) = 0.92135 and Phi(0.5 / sqrt(2)) = 0.63816.
        """
        covered = {"weighted": 0, "as sampled": 0}
        labels = np.repeat([1, 0], [100, 100])
        for seed in range(200):
            rng = np.random.default_rng(seed)
            easy = rng.random(100) < 0.9
            shift = np.r_[np.where(easy, 2.0, 0.5), np.zeros(100)]
            weights = np.r_[np.where(easy, 0.5 / 0.9, 0.5 / 0.1), np.ones(100)]
            scores = rng.normal(size=200) + shift
            for name, given in (("weighted", weights), ("as sampled", None)):
                area, variance = delong(labels, scores, None, given)
                covered[name] += abs(area - 0.779755) < 1.96 * variance**0.5
        assert covered["weighted"] / 200 > 0.88
        assert covered["as sampled"] / 200 < 0.5


class TestSamplingWeights:
    @pytest.mark.parametrize("bad", ["", "-1", "0", "inf", "nan", "heavy", None])
    def test_image_without_a_weight_is_counted_and_its_value_not_shown(
        self, bad: str | None
    ) -> None:
        sample = table(uneven())
        sample.loc[[3, 5], "w"] = bad
        with pytest.raises(WeightError, match="for 2 of 90 images") as error:
            evaluate(sample, method=METHOD)
        assert "heavy" not in str(error.value)

    def test_images_that_are_not_measured_need_none(self) -> None:
        sample = table(uneven())
        sample["label"] = sample["label"].astype("Int64")
        sample.loc[3, ["w", "label"]] = ["", pd.NA]
        sample.loc[5, ["w", "probability", "call", "error"]] = ["", np.nan, None, "corrupt_image"]
        assert evaluate(sample, method=METHOD)[0].images == 88

    def test_numbers_are_numbers_too(self) -> None:
        read = sampling_weights(pd.DataFrame({"w": [1, 4]}), "w")
        assert read is not None
        assert read.tolist() == [0.25, 1.0]


class TestCommand:
    def run(self, folder: Path, sample: pd.DataFrame, *options: str) -> Result:
        sample = sample.assign(path=[f"{number:03d}.png" for number in range(len(sample))])
        sample.to_parquet(folder / "scores.parquet")
        arguments = ["evaluate", str(folder / "scores.parquet"), "--replicates", "50", *options]
        return CliRunner().invoke(cli, arguments)

    @pytest.mark.parametrize(
        ("column", "message"), [("w", "for 1 of 90 images"), ("v", "no column v")]
    )
    def test_bad_weight_is_one_sentence_and_status_2(
        self, tmp_path: Path, column: str, message: str
    ) -> None:
        sample = table(uneven())
        sample.loc[3, "w"] = "0"
        result = self.run(tmp_path, sample, "--weights", column)
        assert result.exit_code == 2
        assert message in result.output
        assert "Traceback" not in result.output

    def test_table_names_the_weights_and_the_effective_number(self, tmp_path: Path) -> None:
        result = self.run(tmp_path, table(uneven()), "--weights", "w", "--within", "source")
        header, row, note = result.output.splitlines()[:3]
        assert "AUROC within source" in header
        assert row.split()[1:3] == ["90", f"{uneven().sum() ** 2 / (uneven() ** 2).sum():.1f}"]
        assert "in the column w" in note
        assert len(header) == len(row)

    def test_without_them_the_table_is_as_before(self, tmp_path: Path) -> None:
        output = self.run(tmp_path, table(uneven())).output
        assert "effective" not in output
        assert "within" not in output

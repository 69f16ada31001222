"""Intervals and tests, against definitions, published examples and simulation."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from clients.metrics.intervals import (
    FloatArray,
    IntArray,
    Resampling,
    bootstrap,
    bootstrap_p_value,
    delong,
    delong_difference,
    delong_interval,
    draws,
    normal_p_value,
    percentile_interval,
)
from tests.clients.samples import two_normals

# Albumin (g/dl), total protein (g/dl), K-G score, benefit from surgery; 43 women with ovarian
# cancer. DeLong et al. 1988, as listed in the SAS/STAT User's Guide, The LOGISTIC Procedure,
# "Comparing Receiver Operating Characteristic Curves".
OVARIAN = """
    3.0 5.8 10 0   3.2 6.3  5 1   3.9 6.8  3 1   2.8 4.8  6 0   3.2 5.8  3 1   0.9 4.0  5 0
    2.5 5.7  8 0   1.6 5.6  5 1   3.8 5.7  5 1   3.7 6.7  6 1   3.2 5.4  4 1   3.8 6.6  6 1
    4.1 6.6  5 1   3.6 5.7  5 1   4.3 7.0  4 1   3.6 6.7  4 0   2.3 4.4  6 1   4.2 7.6  4 0
    4.0 6.6  6 0   3.5 5.8  6 1   3.8 6.8  7 1   3.0 4.7  8 0   4.5 7.4  5 1   3.7 7.4  5 1
    3.1 6.6  6 1   4.1 8.2  6 1   4.3 7.0  5 1   4.3 6.5  4 1   3.2 5.1  5 1   2.6 4.7  6 1
    3.3 6.8  6 0   1.7 4.0  7 0   3.7 6.1  5 1   3.3 6.3  7 1   4.2 7.7  6 1   3.5 6.2  5 1
    2.9 5.7  9 0   2.1 4.8  7 1   2.8 6.2  8 0   4.0 7.0  7 1   3.3 5.7  6 1   3.7 6.9  5 1
    3.6 6.6  5 1
"""


def ovarian() -> dict[str, FloatArray]:
    table = np.array(OVARIAN.split(), dtype=np.float64).reshape(-1, 4)
    return {"albumin": table[:, 0], "protein": table[:, 1], "K-G": 10 - table[:, 2]}


def ovarian_labels() -> IntArray:
    return np.array(OVARIAN.split()[3::4], dtype=np.int64)


def delong_by_definition(labels: IntArray, scores: FloatArray) -> tuple[float, float]:
    """Every pair compared, as in DeLong's 1988 paper, in O(m n)."""
    above, below = scores[labels == 1], scores[labels == 0]
    psi = np.where(above[:, None] > below, 1.0, np.where(above[:, None] == below, 0.5, 0.0))
    area = psi.mean()
    by_positive = ((psi.mean(axis=1) - area) ** 2).sum() / (above.size - 1)
    by_negative = ((psi.mean(axis=0) - area) ** 2).sum() / (below.size - 1)
    return float(area), float(by_positive / above.size + by_negative / below.size)


class TestDeLong:
    @pytest.mark.parametrize("decimals", [12, 1, 0])
    def test_equals_the_definition_with_and_without_ties(self, decimals: int) -> None:
        labels, scores = two_normals(37, 61, shift=0.8, seed=3, decimals=decimals)
        assert delong(labels, scores) == pytest.approx(delong_by_definition(labels, scores))

    def test_reproduces_the_published_interval_of_the_hanley_mcneil_ct_ratings(self) -> None:
        """Data: Hanley & McNeil, Radiology 143 (1982) 29-36, table I; 109 CT images rated 1 to 5.

        Area, standard error and interval: Stata Base Reference Manual, entry roctab.
        """
        normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
        labels = np.repeat(np.array([0, 1]), [sum(normal), sum(abnormal)])
        scores = np.repeat(np.tile(np.arange(1.0, 6.0), 2), normal + abnormal)
        area, variance = delong(labels, scores)
        interval = delong_interval(labels, scores)
        assert interval is not None
        assert round(area, 4) == 0.8932
        assert round(variance**0.5, 4) == 0.0307
        assert (round(interval.low, 5), round(interval.high, 5)) == (0.83295, 0.95339)

    def test_interval_stays_within_zero_and_one(self) -> None:
        labels, scores = two_normals(8, 8, shift=3.0, seed=1)
        interval = delong_interval(labels, scores)
        assert interval is not None
        assert 0 <= interval.low <= interval.value <= interval.high <= 1

    @pytest.mark.parametrize(
        ("score", "area", "error", "low", "high"),
        [
            ("albumin", 0.7366, 0.0927, 0.5549, 0.9182),
            ("protein", 0.6478, 0.1000, 0.4518, 0.8439),
            ("K-G", 0.7258, 0.1028, 0.5243, 0.9273),
        ],
    )
    def test_reproduces_the_published_areas_of_the_ovarian_cancer_scores(
        self, score: str, area: float, error: float, low: float, high: float
    ) -> None:
        found, variance = delong(ovarian_labels(), ovarian()[score])
        interval = delong_interval(ovarian_labels(), ovarian()[score])
        assert interval is not None
        assert (round(found, 4), round(variance**0.5, 4)) == (area, error)
        assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)

    def test_is_undefined_with_one_image_of_a_class(self) -> None:
        labels, scores = two_normals(1, 9, shift=1.0, seed=1)
        assert np.isnan(delong(labels, scores)[1])
        assert delong_interval(labels, scores) is None


class TestDeLongDifference:
    @pytest.mark.parametrize(
        ("score", "difference", "error", "p_value"),
        [("albumin", 0.0108, 0.0953, 0.91), ("protein", -0.0780, 0.1046, 0.46)],
    )
    def test_reproduces_the_published_contrasts_with_the_k_g_score(
        self, score: str, difference: float, error: float, p_value: float
    ) -> None:
        tests = ovarian()
        found, variance = delong_difference(ovarian_labels(), tests[score], tests["K-G"])
        assert (round(found, 4), round(variance**0.5, 4)) == (difference, error)
        assert round(normal_p_value(found, variance), 2) == p_value

    def test_variance_is_that_of_the_covariance_matrix(self) -> None:
        labels, first = two_normals(30, 50, shift=1.0, seed=1)
        second = first + np.random.default_rng(2).normal(size=80)
        found, variance = delong_difference(labels, first, second)
        above = labels == 1

        def components(scores: FloatArray) -> tuple[FloatArray, FloatArray]:
            psi = (scores[above][:, None] > scores[~above]).astype(np.float64)
            return psi.mean(axis=1), psi.mean(axis=0)

        (pos1, neg1), (pos2, neg2) = components(first), components(second)
        covariance = np.cov(pos1, pos2) / 30 + np.cov(neg1, neg2) / 50
        contrast = np.array([1.0, -1.0])
        assert variance == pytest.approx(contrast @ covariance @ contrast)
        assert found == pytest.approx(roc_auc_score(labels, first) - roc_auc_score(labels, second))

    def test_identical_scores_differ_by_nothing_with_p_one(self) -> None:
        labels, scores = two_normals(10, 10, shift=1.0, seed=1)
        assert delong_difference(labels, scores, scores) == (0.0, 0.0)
        assert normal_p_value(0.0, 0.0) == 1.0

    def test_false_alarms_are_as_rare_as_promised(self) -> None:
        """Two noisy readings of the same truth: p below 0.05 about once in 20 times."""
        alarms = 0
        for seed in range(400):
            labels, truth = two_normals(50, 50, shift=1.0, seed=seed)
            noise = np.random.default_rng(1000 + seed).normal(size=(2, 100))
            found = delong_difference(labels, truth + noise[0], truth + noise[1])
            alarms += normal_p_value(*found) < 0.05
        assert 0.025 <= alarms / 400 <= 0.085


class TestPatients:
    def test_one_image_a_patient_changes_nothing(self) -> None:
        labels, scores = two_normals(20, 30, shift=1.0, seed=4)
        alone = np.random.default_rng(0).permutation(50)
        assert delong(labels, scores, alone) == pytest.approx(delong(labels, scores))

    def test_repeating_every_image_of_a_patient_adds_no_certainty(self) -> None:
        labels, scores = two_normals(40, 40, shift=1.0, seed=6)
        patients = np.arange(80)
        twice = [np.tile(values, 3) for values in (labels, patients)]
        repeated = np.tile(scores, 3)
        assert delong(twice[0], repeated, twice[1]) == pytest.approx(delong(labels, scores))
        assert delong(twice[0], repeated)[1] < 0.5 * delong(labels, scores)[1]

    @pytest.mark.parametrize("seed", range(8))
    def test_patients_whose_films_cancel_out_leave_no_variance(self, seed: int) -> None:
        """One score for both classes of each patient: what rounding leaves is no finding."""
        rng = np.random.default_rng(seed)
        labels, patients = np.tile([0, 1], 30 + seed), np.repeat(np.arange(30 + seed), 2)
        first, second = (np.repeat(rng.random(30 + seed), 2) for _ in range(2))
        interval = delong_interval(labels, first, patients)
        assert interval is not None
        assert interval.low == interval.high == pytest.approx(0.5)
        assert normal_p_value(*delong_difference(labels, first, second, patients)) == 1.0

    def test_bootstrap_over_patients_is_wider_where_images_repeat(self) -> None:
        labels, scores = two_normals(40, 40, shift=1.0, seed=6)
        patients = np.tile(np.arange(80), 3)

        def width(known: IntArray | None = None) -> float:
            many = np.tile(labels, 3), np.tile(scores, 3)
            drawn = bootstrap(*many, Resampling(patients=known, replicates=1000, seed=1)).auroc
            interval = percentile_interval(0.0, drawn)
            return interval.high - interval.low

        once = bootstrap(labels, scores, Resampling(replicates=1000, seed=1)).auroc
        whole = percentile_interval(0.0, once)
        assert width(patients) == pytest.approx(whole.high - whole.low)
        assert width() < 0.7 * width(patients)

    def test_draws_keep_patients_whole_and_every_kind_of_patient_present(self) -> None:
        # Patient 0 has both classes, 1 and 2 one positive each, 3 to 5 negatives.
        labels = np.array([1, 0, 1, 1, 0, 0, 0, 0])
        patients = np.array([0, 0, 1, 2, 3, 4, 5, 5])
        resampling = Resampling(patients=patients, replicates=500, seed=2)
        times = np.concatenate(list(draws(labels, resampling)))
        assert times.shape == (500, 8)
        np.testing.assert_array_equal(times[:, 0], 1)
        np.testing.assert_array_equal(times[:, 0], times[:, 1])
        np.testing.assert_array_equal(times[:, 6], times[:, 7])
        np.testing.assert_array_equal(times[:, 2] + times[:, 3], 2)
        np.testing.assert_array_equal(times[:, 4] + times[:, 5] + times[:, 6], 3)
        assert times[:, 2].std() > 0

    def test_interval_over_patients_covers_where_the_one_over_images_does_not(self) -> None:
        """Five images a patient that share most of their score; true AUROC Phi(1 / sqrt(2))."""
        covered = {"patients": 0, "images": 0}
        for seed in range(150):
            labels, scores = two_normals(25, 25, shift=1.0, seed=seed)
            noise = np.random.default_rng(seed).normal(scale=0.01, size=250)
            many, patients = np.repeat(labels, 5), np.repeat(np.arange(50), 5)
            shared = np.repeat(scores, 5) + noise
            for unit, known in (("patients", patients), ("images", None)):
                resampling = Resampling(patients=known, replicates=200, seed=seed)
                drawn = bootstrap(many, shared, resampling).auroc
                interval = percentile_interval(0.0, drawn)
                covered[unit] += interval.low <= 0.76025 <= interval.high
        assert covered["patients"] / 150 > 0.88
        assert covered["images"] / 150 < 0.75


class TestPValue:
    def test_no_difference_anywhere_gives_one(self) -> None:
        assert bootstrap_p_value(np.zeros(100)) == 1.0

    def test_all_on_one_side_gives_the_least_that_the_replicates_can_show(self) -> None:
        assert bootstrap_p_value(np.full(99, 0.1)) == pytest.approx(0.02)

    def test_is_two_sided(self) -> None:
        differences = np.r_[np.full(90, 0.1), np.full(9, -0.1)]
        assert bootstrap_p_value(differences) == bootstrap_p_value(-differences) == 0.2


class TestBootstrap:
    @pytest.mark.parametrize("decimals", [12, 1])
    def test_replicates_equal_scikit_learn_on_the_same_draws(self, decimals: int) -> None:
        labels, scores = two_normals(23, 40, shift=1.0, seed=5, decimals=decimals)
        resampled = bootstrap(labels, scores, Resampling(replicates=20, seed=9))
        rng = np.random.default_rng(9)
        above = scores[labels == 1][rng.integers(0, 23, size=(20, 23))]
        below = scores[labels == 0][rng.integers(0, 40, size=(20, 40))]
        drawn = np.hstack([above, below])
        np.testing.assert_allclose(resampled.auroc, [roc_auc_score(labels, r) for r in drawn])
        np.testing.assert_allclose(
            resampled.average_precision, [average_precision_score(labels, r) for r in drawn]
        )

    def test_memory_chunks_do_not_lose_replicates(self, monkeypatch: pytest.MonkeyPatch) -> None:
        labels, scores = two_normals(10, 10, shift=1.0, seed=5)
        monkeypatch.setattr("clients.metrics.intervals.CELLS_AT_ONCE", 60)
        assert bootstrap(labels, scores, Resampling(replicates=10, seed=1)).auroc.size == 10

    def test_interval_covers_the_true_area_about_95_times_in_100(self) -> None:
        # Two normals one standard deviation apart: AUROC = Phi(1 / sqrt(2)) = 0.76025.
        covered = 0
        for seed in range(300):
            labels, scores = two_normals(60, 60, shift=1.0, seed=seed)
            replicates = bootstrap(labels, scores, Resampling(replicates=400, seed=seed)).auroc
            interval = percentile_interval(0.0, replicates)
            covered += interval.low <= 0.76025 <= interval.high
        assert 0.90 <= covered / 300 <= 0.98

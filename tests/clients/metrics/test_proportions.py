"""Wilson's intervals of counts and of weights."""

import numpy as np
import pytest
from scipy.stats import binomtest

from clients.metrics.intervals import Interval
from clients.metrics.proportions import effective_size, proportion_interval, share_interval


def same(first: Interval, second: Interval) -> bool:
    return (first.value, first.low, first.high) == pytest.approx(
        (second.value, second.low, second.high)
    )


class TestEffectiveSize:
    def test_is_the_number_of_images_where_weights_are_equal(self) -> None:
        assert effective_size(np.full(7, 3.0)) == pytest.approx(7)

    def test_by_hand(self) -> None:
        """Weights 3, 1, 1, 1: 36 / 12 images."""
        assert effective_size(np.array([3.0, 1.0, 1.0, 1.0])) == pytest.approx(3)


class TestProportionInterval:
    @pytest.mark.parametrize("hits", [0, 1, 12, 29, 30])
    def test_is_wilsons_as_the_library_has_it(self, hits: int) -> None:
        found = proportion_interval(hits, 30)
        due = binomtest(hits, 30).proportion_ci(method="wilson")
        assert (found.low, found.high) == pytest.approx((due.low, due.high), rel=1e-12)

    def test_ends_are_exact_where_none_and_where_all_hit(self) -> None:
        """Sums alone leave 3e-17 of three images, and 1 - 1e-16 of ten."""
        assert proportion_interval(0, 3).low == 0
        assert proportion_interval(10, 10).high == 1


class TestShareInterval:
    def test_counts_where_there_are_no_weights(self) -> None:
        hits = np.arange(30) < 12
        assert share_interval(hits) == proportion_interval(12, 30)

    @pytest.mark.parametrize("hit", [0, 12, 30])
    def test_weights_of_one_value_count_as_none(self, hit: int) -> None:
        hits = np.arange(30) < hit
        assert same(share_interval(hits, np.full(30, 0.2)), proportion_interval(hit, 30))

    def test_interval_is_that_of_as_many_images_as_tell_as_much(self) -> None:
        """Weights 3, 1, 1, 1 tell as much as three images, of which one of three is a hit."""
        hits = np.array([False, True, True, False])
        weights = np.array([3.0, 1.0, 1.0, 1.0])
        assert same(share_interval(hits, weights), proportion_interval(1, 3))
